"""A headless Chromium for tests of pages, driven through a pipe by its own protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OWN = ("file:", "data:", "about:", "blob:")
"""Addresses that no network is asked for."""
COMPLAINTS = ("error", "warning", "assert")
KEYS: dict[str, dict[str, Any]] = {
    "Tab": {"windowsVirtualKeyCode": 9},
    "Enter": {"windowsVirtualKeyCode": 13, "text": "\r"},
}
PATIENCE = 120.0
"""Seconds until a browser that does not answer is taken for dead."""
START = """
import fcntl, os, sys
there, back = (fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3])
os.dup2(there, 3)
os.dup2(back, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""A program that becomes the browser, which reads commands from 3 and answers to 4."""
FIND_WIDE = """
[...document.querySelectorAll('body *')].filter((each) => {
  const inside = each.closest('.scroll, pre, svg *');
  return !inside && each.getBoundingClientRect().right > innerWidth + 1;
}).map((each) => `${each.tagName}.${each.getAttribute('class')}`)
"""
SETTLED = "!document.querySelector('figure.chart:not([data-drawn])')"
"""Whether all charts of a page are drawn, or are known not to be."""


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Shown:
    """What a page did while it was shown."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


class Browser:
    """A browser with one page.

    Args:
        folder: Where it keeps its files.
    """

    def __init__(self, folder: Path) -> None:
        name = find_browser()
        assert name is not None
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", START, str(theirs_in), str(theirs_out), name),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-dev-shm-usage", "--disable-background-networking"),
                *("--disable-component-update", "--force-color-profile=srgb"),
                *("--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"),
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._read, self._write = ours_in, ours_out
        self._left = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.shown = Shown()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._session = None
        with contextlib.suppress(OSError, AssertionError):
            self.ask("Browser.close")
        os.close(self._write)
        os.close(self._read)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        for found in self._messages():
            if found.get("id") == number:
                assert "error" not in found, found["error"]
                result: dict[str, Any] = found["result"]
                return result
            self._notice(found)
        raise AssertionError("the browser has ended")

    def _messages(self) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + PATIENCE
        while True:
            while b"\0" in self._left:
                text, _, self._left = self._left.partition(b"\0")
                yield json.loads(text)
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 16)
            assert part, "the browser has ended"
            self._left += part

    def _notice(self, found: dict[str, Any]) -> None:
        method, facts = found.get("method"), found.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.shown.errors.append(json.dumps(facts["exceptionDetails"])[:600])
        elif method == "Runtime.consoleAPICalled" and facts["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.shown.errors.append(json.dumps(facts["args"])[:600])
        elif method == "Log.entryAdded" and facts["entry"]["level"] in COMPLAINTS:
            self.shown.errors.append(facts["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            address = facts["request"]["url"]
            if not address.startswith(OWN):
                self.shown.requests.append(address)

    def open(
        self, path: Path, *, width: int = 1200, dark: bool = False, scripts: bool = True
    ) -> Shown:
        """Show a file, wait until its charts are drawn, and return what it did."""
        self.shown = Shown()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.emulate(dark=dark)
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        if scripts:
            self.wait(SETTLED)
        return self.shown

    def emulate(self, *, dark: bool = False, media: str = "") -> None:
        """Set what the system prefers, and whether the page is shown on screen or paper."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True,
                         awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a condition holds in the page."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"never: {condition}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        for key in keys:
            facts: dict[str, Any] = {"key": key, "code": key, **KEYS[key]}
            self.ask("Input.dispatchKeyEvent", type="keyDown", **facts)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **facts)

    def find_wide(self) -> Sequence[str]:
        """Return what leaves the screen to the right, but for what scrolls in its own frame."""
        found: list[str] = self.evaluate(FIND_WIDE)
        return found

    def shoot(self, path: Path) -> None:
        """Keep a picture of the whole page."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {
            "x": 0,
            "y": 0,
            "width": size["width"],
            "height": min(size["height"], 12000),
            "scale": 1,
        }
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))
