"""``mmx serve`` as a process: 50 requests at once, a browser on its page, its end by a signal."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn")

from browser import Browser, find_browser

from mmx.cli import main
from mmx.runs.directory import RunDirectory

pytestmark = pytest.mark.slow


@dataclass
class Server:
    process: subprocess.Popen[str]
    address: str

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and answer."""
        at = urlsplit(self.address)
        assert at.hostname is not None
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=120)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, headers)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, json.loads(text) if text.startswith("{") else text

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=120)


@pytest.fixture
def start(served: RunDirectory, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return ``start(*flags, code="")``: a server of the run on a free port; code: run as this."""
    begun: list[subprocess.Popen[str]] = []

    def run(*flags: str, code: str = "") -> Server:
        words = ["serve", str(served.path), "--port", "0", *flags]
        process = subprocess.Popen(
            [sys.executable, *(("-c", code) if code else ("-m", "mmx")), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "MMX_SERVE_TOKEN": ""},
        )
        begun.append(process)
        assert process.stdout is not None
        return Server(process, process.stdout.readline().strip())

    yield run
    for process in begun:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_fifty_at_once_are_answered_together_and_a_signal_ends_it(start, asked, predicted):
    server = start("--wait-ms", "50")
    gate = threading.Barrier(50)

    def ask(place: int) -> tuple[int, Any]:
        gate.wait()
        return server.ask("POST", "/predict", {"rows": [asked[place % len(asked)]]})

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(ask, range(50)))
    assert [status for status, _ in found] == [200] * 50
    for place, (_, reply) in enumerate(found):
        line = predicted[place % len(asked)]
        (answer,) = reply["answers"]
        assert answer["prediction"] == line["prediction"]
        for name, chance in answer["probabilities"].items():
            assert chance == pytest.approx(float(line[f"p({name})"]), abs=1.1e-6)
    _, text = server.ask("GET", "/metrics")
    counts = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert counts["mmx_rows_total"] == "50"
    assert int(counts["mmx_batches_total"]) < 50
    assert server.stop() == 0


def test_what_was_accepted_is_answered_after_a_signal(start, asked):
    server = start("--wait-ms", "1000")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.ask, "POST", "/predict", {"rows": asked[:1]})
        while "mmx_rows_waiting 1" not in server.ask("GET", "/metrics")[1]:
            assert not waiting.done()
        server.process.send_signal(signal.SIGTERM)
        status, reply = waiting.result()
    assert (status, len(reply["answers"])) == (200, 1)
    assert server.process.wait(timeout=120) == 0


HANGS = """
import sys, time
from mmx.cli import main
from mmx.modalities import image
read = image.read_pixels
def read_or_hang(source, *rest):
    while source.endswith(b"HANG"):
        time.sleep(1)
    return read(source, *rest)
image.read_pixels = read_or_hang
raise SystemExit(main())
"""


def test_a_decoder_that_hangs_keeps_nobody_else_from_an_answer(start, asked):
    server = start("--timeout", "8", "--wait-ms", "200", code=HANGS)
    usual = next(each for each in asked if "image" in each)
    picture = base64.b64decode(usual["image"]) + b"HANG"
    hangs = {**usual, "image": base64.b64encode(picture).decode()}
    with ThreadPoolExecutor(4) as pool:
        ask = [pool.submit(server.ask, "POST", "/predict", {"rows": [hangs]}) for _ in range(2)]
        beside = pool.submit(server.ask, "POST", "/predict", {"rows": [usual]})
        status, reply = beside.result()
        assert status == 200
        assert server.ask("GET", "/health")[0] == 200
        assert server.ask("POST", "/predict", {"rows": [usual]}) == (200, reply)
        late = (504, {"error": "there was no answer within 8 s"})
        assert [each.result() for each in ask] == [late, late]
    assert server.ask("POST", "/predict", {"rows": [usual]}) == (200, reply)
    assert server.stop() == 0


def test_a_full_queue_says_when_to_come_again(start, asked):
    server = start("--queue", "1", "--batch", "1")
    with ThreadPoolExecutor(20) as pool:
        body = {"rows": asked[:4]}
        found = list(pool.map(lambda _: server.ask("POST", "/predict", body), range(20)))
    assert {status for status, _ in found} == {200, 503}
    assert "come again" in next(reply["error"] for status, reply in found if status == 503)
    assert server.stop(signal.SIGINT) == 0


@pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")
def test_the_page_in_a_browser(start, asked, predicted, tmp_path):
    server = start("--new-token")
    assert "?token=" in server.address
    row = next(place for place, each in enumerate(asked) if len(each) == 4)
    given = asked[row]
    sound = tmp_path / "a sound.wav"
    sound.write_bytes(base64.b64decode(given["audio"]))
    with Browser(tmp_path / "browser") as browser:
        for width in (1200, 400):
            for dark in (False, True):
                browser.ask(
                    "Emulation.setDeviceMetricsOverride",
                    width=width,
                    height=900,
                    deviceScaleFactor=1,
                    mobile=width < 600,
                )
                browser.emulate(dark=dark)
                browser.ask("Page.navigate", url=server.address)
                browser.wait("document.readyState === 'complete' && !!document.forms.try")
                assert browser.find_wide() == []
        browser.evaluate(  # a picture that is dropped, a sound that is chosen, words and cells
            f"""(() => {{
              const bytes = Uint8Array.from(atob("{given["image"]}"), (c) => c.charCodeAt(0));
              const moved = new DataTransfer();
              moved.items.add(new File([bytes], "a picture.png"));
              const drop = document.querySelector("[data-kind=image] .drop");
              drop.dispatchEvent(new DragEvent("drop", {{dataTransfer: moved, bubbles: true}}));
              document.querySelector("[name=text]").value = {json.dumps(given["text"])};
              document.querySelector("[name='tabular.a']").value = "{given["tabular"]["a"]}";
              document.querySelector("[name='tabular.b']").value = "{given["tabular"]["b"]}";
            }})()"""
        )
        document = browser.ask("DOM.getDocument")["root"]["nodeId"]
        node = browser.ask("DOM.querySelector", nodeId=document, selector="[name=audio]")["nodeId"]
        browser.ask("DOM.setFileInputFiles", nodeId=node, files=[str(sound)])
        names = "[...document.querySelectorAll('[data-name]')].map((each) => each.textContent)"
        assert sorted(browser.evaluate(names)) == ["a picture.png", "a sound.wav"]
        browser.evaluate("document.forms.try.requestSubmit()")
        browser.wait("document.querySelectorAll('#chances tr').length > 0")
        shown = browser.evaluate("document.getElementById('answer').textContent")
        assert shown == predicted[row]["prediction"]
        cells = browser.evaluate(
            "[...document.querySelectorAll('#chances tr')].map((tr) => "
            "[tr.cells[0].textContent, tr.cells[2].textContent])"
        )
        browser.wait("document.querySelectorAll('[data-preview] > *').length === 2")
        if kept := os.environ.get("MMX_SCREENSHOTS"):
            for name, width, dark in (("dark", 400, True), ("light", 1200, False)):
                browser.ask(
                    "Emulation.setDeviceMetricsOverride",
                    width=width,
                    height=900,
                    deviceScaleFactor=1,
                    mobile=width < 600,
                )
                browser.emulate(dark=dark)
                browser.shoot(Path(kept) / f"serve_{name}.png")
        assert browser.find_wide() == []
        first = "document.querySelector('#chances tr')"
        browser.evaluate(f"{first}.cells[0].textContent = 'a label of some words '.repeat(4)")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert browser.evaluate(f"{first}.cells[1].clientWidth") > 90  # room for the bars
        line = predicted[row]
        assert {name: float(text) for name, text in cells} == {
            name[2:-1]: pytest.approx(float(text), abs=6e-4)
            for name, text in line.items()
            if name.startswith("p(")
        }
        browser.evaluate("document.forms.try.reset(); document.forms.try.requestSubmit()")
        browser.wait("document.getElementById('answer').className.includes('bad')")
        assert "no input" in browser.evaluate("document.getElementById('answer').textContent")
        own = server.address.partition("?")[0]
        assert all(each.startswith(own) for each in browser.shown.requests)
        complaints = [each for each in browser.shown.errors if "422" not in each]
        assert complaints == []
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 --new-token"),
        (["--token", "short"], "--new-token"),
        (["--port", "70000"], "not from 0 to 65,535"),
        (["--batch", "0"], "not from 1 to 4,096"),
        (["--host", "192.0.2.1", "--token", "a-token-that-is-long"], "cannot be listened on"),
        (["trainer.epochs=3"], "mmx serve"),
    ],
)
def test_refusals_say_what_to_type(served, flags, said, capsys, monkeypatch):
    monkeypatch.delenv("MMX_SERVE_TOKEN", raising=False)
    assert main(["serve", str(served.path), *flags]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken(start, served, capsys):
    port = urlsplit(start().address).port
    assert main(["serve", str(served.path), "--port", str(port)]) == 2
    assert "--port 0" in capsys.readouterr().err
