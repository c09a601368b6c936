"""The endpoints of ``mmx serve``: answers by value, refusals, limits and counts."""

from __future__ import annotations

import base64
import html
import io
import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from PIL import Image

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from mmx.modalities.tabular import Tabular, TabularColumn, TabularSpec
from mmx.stage_id import Role
from mmx.verbs.serve_app import ServeOptions, Service, make_app

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TOKEN = "a-token-of-thirty-letters-or-so"


@pytest.fixture
def options() -> ServeOptions:
    return ServeOptions(
        most_bytes=200_000, most_rows=100, most_pixels=100_000, most_samples=100_000
    )


@pytest.fixture
def service(opened: Any, options: ServeOptions) -> Service:
    return Service(opened, options)


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        yield client


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def make_png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def check_same(answers: list[dict[str, Any]], lines: list[dict[str, str]]) -> None:
    for answer, line in zip(answers, lines, strict=True):
        assert answer["prediction"] == line["prediction"]
        for name, chance in answer["probabilities"].items():
            assert chance == pytest.approx(float(line[f"p({name})"]), abs=1.1e-6)


def test_answers_are_those_of_predict(client, asked, predicted):
    reply = client.post("/predict", json={"rows": asked})
    assert reply.status_code == 200, reply.text
    check_same(reply.json()["answers"], predicted)


def test_a_row_alone_is_answered_as_among_others(client, asked, predicted):
    for place in (0, 7, 20):
        reply = client.post("/predict", json={"rows": [asked[place]]})
        check_same(reply.json()["answers"], [predicted[place]])


def test_a_form_is_answered_as_json(client, asked, predicted):
    row = next(place for place, each in enumerate(asked) if len(each) == 4)
    given = asked[row]
    files = {name: (f"x.{name}", base64.b64decode(given[name])) for name in ("image", "audio")}
    cells = {f"tabular.{key}": str(value) for key, value in given["tabular"].items()}
    reply = client.post("/predict/upload", files=files, data={"text": given["text"], **cells})
    assert reply.status_code == 200, reply.text
    check_same(reply.json()["answers"], [predicted[row]])
    whole = {"text": given["text"], "tabular": json.dumps(given["tabular"])}
    reply = client.post("/predict/upload", files=files, data=whole)
    check_same(reply.json()["answers"], [predicted[row]])


def test_inputs_may_be_missing_but_not_all(client, asked):
    for name in ("image", "audio", "text", "tabular"):
        row = next(each for each in asked if name in each)
        alone = client.post("/predict", json={"rows": [{name: row[name], "text": row.get("text")}]})
        assert alone.status_code == 200
        assert sum(alone.json()["answers"][0]["probabilities"].values()) == pytest.approx(
            1, abs=1e-5
        )
    for row in ({}, {"text": None}, {"tabular": {"a": None}}, {"text": ""}):
        reply = client.post("/predict", json={"rows": [row]})
        assert (reply.status_code, "no input" in reply.json()["error"]) == (422, True)


@pytest.mark.parametrize(
    ("row", "given", "said"),
    [
        ({"imag": "x"}, "rows[0].imag", "image"),
        ({"tabular": {"q": 1}}, "rows[0].tabular.q", "a, b"),
        ({"tabular": {"a": [1]}}, "rows[0].tabular.a", "a number or a text"),
        ({"tabular": 3}, "rows[0].tabular", "an object with a, b"),
        ({"text": 7}, "rows[0].text", "a text"),
        ({"image": 7}, "rows[0].image", "base64"),
        ({"image": "/etc/passwd"}, "rows[0].image", "base64"),
        ({"image": "../../etc/hosts"}, "rows[0].image", "base64"),
        ({"image": {"path": "/etc/passwd"}}, "rows[0].image", "base64"),
        ({"image": ""}, "rows[0].image", "base64"),
        ("image", "rows[0]", "an object with image"),
    ],
    ids=str,
)
def test_what_is_refused_says_what_is_accepted(client, row, given, said):
    reply = client.post("/predict", json={"rows": [row]})
    assert reply.status_code == 422
    (problem,) = reply.json()["problems"]
    assert problem["given"] == given
    assert said in f"{problem.get('accepted')} {problem.get('closest')}"


def test_a_name_of_a_file_of_the_server_is_content_and_no_name(client, tmp_path, served):
    picture = tmp_path / "aaaa.png"
    picture.write_bytes(make_png(8, 8))
    for text in (str(picture), encode(str(picture).encode()), f"file://{picture}"):
        assert client.post("/predict", json={"rows": [{"image": text}]}).status_code == 422
    reply = client.post("/predict/upload", files={"image": (None, str(picture))})
    assert reply.status_code == 422
    assert reply.json()["problems"][0]["accepted"] == "a file"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"rows": []}', b'{"rows": {}}', b'{"rows": [{"a": NaN}]}', b"[" * 100_000],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_request(client, body):
    reply = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422
    assert reply.json()["problems"][0]["given"] in ("the request", "rows[0].a")


@pytest.mark.parametrize("content", [b"not a picture", make_png(8, 8)[:45], b"\x89PNG" + b"0" * 99])
def test_a_malformed_picture_is_named_and_others_are_answered(client, asked, content):
    rows = [asked[0], {"image": encode(content)}]
    reply = client.post("/predict", json={"rows": rows})
    assert reply.status_code == 422
    assert reply.json()["problems"][0]["given"] == "rows[1]"
    assert "cannot read image" in reply.json()["error"]
    assert client.post("/predict", json={"rows": rows[:1]}).status_code == 200


def test_a_picture_that_unfolds_is_refused_before_it_is_decoded(client):
    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size)
    content += chunk(b"IDAT", zlib.compress(bytes(60_001 * 1000), 9)) + chunk(b"IEND", b"")
    assert len(content) < 100_000
    reply = client.post("/predict", json={"rows": [{"image": encode(content)}]})
    assert reply.status_code == 422
    assert "3,600,000,000 pixels" in reply.json()["error"]
    assert "at most 100,000" in reply.json()["error"]


def test_a_sound_that_unfolds_is_refused_before_it_is_decoded(client, monkeypatch):
    def refuse(*_: Any) -> Any:
        raise RuntimeError("decoded")

    file = io.BytesIO()
    soundfile.write(file, np.zeros((60_000, 2), np.int16), 8000, format="FLAC")
    assert len(file.getvalue()) < 10_000
    monkeypatch.setattr("mmx.modalities.sounds._decode", refuse)
    reply = client.post("/predict/upload", files={"audio": ("x", file.getvalue())})
    assert (reply.status_code, "100,000 samples" in reply.json()["error"]) == (422, True)


def test_size_rows_and_types(client, asked):
    large = {"rows": [{"text": "x" * 300_000}]}
    assert client.post("/predict", json=large).status_code == 413

    def stream() -> Iterator[bytes]:  # without a length: counted while it is read
        for _ in range(30):
            yield b" " * 10_000

    chunked = client.post(
        "/predict", content=stream(), headers={"Content-Type": "application/json"}
    )
    assert chunked.status_code == 413
    assert "200,000 bytes" in chunked.json()["error"]
    many = client.post("/predict", json={"rows": [{"text": "x"}] * 101})
    assert (many.status_code, many.json()["problems"][0]["accepted"]) == (422, "at most 100")
    plain = client.post("/predict", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (plain.status_code, "application/json" in plain.json()["error"]) == (415, True)
    packed = client.post("/predict", json={}, headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415
    assert client.get("/nothing").status_code == 404


def test_requests_together_hold_a_bounded_number_of_bytes(service, asked):
    app = make_app(service)
    app.most_held = 1000
    app.held = 199_900  # of others, which are being read
    with TestClient(app) as client:
        reply = client.post("/predict", json={"rows": asked[:1]})
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
        app.held = 0
        assert client.post("/predict", json={"rows": asked[:1]}).status_code == 200
    assert app.held == 0


def test_no_answer_in_time(service, asked, monkeypatch):
    monkeypatch.setattr(service.batcher, "answer", lambda rows: time.sleep(0.5) or [{}])
    service.options = replace(service.options, timeout=0.1)
    with TestClient(make_app(service)) as client:
        reply = client.post("/predict", json={"rows": asked[:1]})
    assert reply.status_code == 504
    assert "0.1 s" in reply.json()["error"]


def test_a_fault_of_the_model_tells_nothing_of_the_server(service, asked, monkeypatch):
    def fail(rows: Any) -> Any:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(service.batcher, "answer", fail)
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        reply = client.post("/predict", json={"rows": asked[:1]})
    assert (reply.status_code, reply.json()) == (500, {"error": "the model failed"})


def test_a_token_is_needed_everywhere_but_for_health(service, asked):
    service.options = replace(service.options, token=TOKEN)
    body = {"json": {"rows": asked[:1]}}
    with TestClient(make_app(service)) as client:
        assert client.get("/health").status_code == 200
        for path in ("/", "/docs", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 401
            assert client.get(f"{path}?token={TOKEN}").status_code == 200
        for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer é"):
            headers = {"Authorization": wrong.encode("latin-1")}
            assert client.post("/predict", **body, headers=headers).status_code == 401
        assert client.post(f"/predict?token={TOKEN}", **body).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/predict", **body, headers=headers).status_code == 200


def test_pages_of_elsewhere_cannot_ask(service, asked):
    service.options = replace(service.options, hosts=frozenset({"localhost", "127.0.0.1"}))
    body = {"json": {"rows": asked[:1]}}
    with TestClient(make_app(service), base_url="http://127.0.0.1:8000") as client:
        own = {"Origin": "http://127.0.0.1:8000"}
        assert client.post("/predict", **body, headers=own).status_code == 200
        for origin in ("http://evil.example", "null", "http://127.0.0.1:9000"):
            assert client.post("/predict", **body, headers={"Origin": origin}).status_code == 403
        assert client.post("/predict", **body, headers={"Host": "evil.example"}).status_code == 421
        assert "access-control-allow-origin" not in client.get("/health").headers


def test_counts_and_the_schema(client, asked, served):
    client.post("/predict", json={"rows": asked[:3]})
    client.post("/predict", json={"rows": [{}]})
    client.get("/no/such/path")
    text = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['mmx_requests_total{path="/predict",code="200"}'] == "1"
    assert lines['mmx_requests_total{path="/predict",code="422"}'] == "1"
    assert lines['mmx_requests_total{path="other",code="404"}'] == "1"
    assert (lines["mmx_rows_total"], lines["mmx_rows_waiting"]) == ("3", "0")
    assert lines["mmx_request_seconds_count"] == lines['mmx_request_seconds_bucket{le="+Inf"}']
    schema = client.get("/openapi.json").json()
    content = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = content["schema"]["properties"]["rows"]["items"]
    assert set(row["properties"]) == {"image", "audio", "text", "tabular"}
    assert set(row["properties"]["tabular"]["properties"]) == {"a", "b"}
    assert client.get("/health").json() == {"status": "ok", "run": served.path.name}


def test_pages_ask_nobody_else(client):
    for path in ("/", "/docs"):
        page = client.get(path).text
        assert "http://" not in page.replace("http://…", "")
        assert "https://" not in page
        assert "connect-src 'self'" in html.unescape(page)


def test_vectors_and_sequences_are_checked_by_their_width(service):
    from mmx.verbs.serve_inputs import Input, RefusedError, _read_numbers

    vector, steps = Input("vector", "vector", width=3), Input("sequence", "sequence", width=2)
    assert _read_numbers(vector, [1, 2.5, 3], "x").tolist() == [1, 2.5, 3]
    assert _read_numbers(steps, [[1, 2], [3, 4]], "x").shape == (2, 2)
    for about, wrong in (
        (vector, [1, 2]),
        (vector, ["/etc/passwd"]),
        (vector, "x.npy"),
        (steps, [[1, 2], [3]]),
        (steps, []),
    ):
        with pytest.raises(RefusedError):
            _read_numbers(about, wrong, "x")


def test_no_file_of_the_server_is_opened(client, asked, monkeypatch):
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("mmx.modalities.files.read_file", refuse)
    assert client.post("/predict", json={"rows": asked[:2]}).status_code == 200


@pytest.mark.parametrize(
    ("numbers", "at"),
    [
        ('[1, "2", 3]', "x[1]"),
        ("[1, 2, true]", "x[2]"),
        ("[1e999, 2, 3]", "x[0]"),
        ("[1, -1e999, 3]", "x[1]"),
        (f"[1, 2, {'9' * 400}]", "x[2]"),
        ("[1, 2, [3]]", "x[2]"),
        ("[1, 2, {}]", "x[2]"),
    ],
)
def test_a_list_of_numbers_holds_nothing_else(numbers, at):
    from mmx.verbs.serve_inputs import Input, RefusedError, _read_numbers

    with pytest.raises(RefusedError) as error:
        _read_numbers(Input("vector", "vector", width=3), json.loads(numbers), "x")
    assert error.value.problem["given"] == at
    steps = json.loads(f"[[1, 2, 3], {numbers}]")
    with pytest.raises(RefusedError) as error:
        _read_numbers(Input("sequence", "sequence", width=3), steps, "x")
    assert error.value.problem["given"] == at.replace("x", "x[1]")


def test_null_is_a_missing_number_of_a_vector_alone():
    from mmx.verbs.serve_inputs import Input, RefusedError, _read_numbers

    found = _read_numbers(Input("vector", "vector", width=3), [1, None, 3.5], "x")
    np.testing.assert_array_equal(found, [1, np.nan, 3.5])
    with pytest.raises(RefusedError, match=r"x\[0\]\[1\]: is null"):
        _read_numbers(Input("sequence", "sequence", width=2), [[1, None]], "x")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [(1.125, 1.125), (900, 900), ("1,125", 1.125), ("900.000", 900_000), ("1.290", 1290)],
)
def test_numbers_have_the_decimal_mark_of_the_training_rows_only_as_texts(cell, expected):
    from mmx.verbs.serve_inputs import RowReader

    spec = TabularSpec(("n",), (0.0,), (1.0,), (), (), (("n", ",", ""),))
    trained = SimpleNamespace(specs={"tabular": spec}, target=None)
    experiment = SimpleNamespace(target=None, modalities={Role.TARGET: {"tabular": Tabular()}})
    reader = RowReader(cast(Any, SimpleNamespace(trained=trained, experiment=experiment)), 9, 9)
    row = reader.read({"tabular": {"n": cell}}, "rows[0]")
    column = cast(TabularColumn, reader.collect([row]).data.columns["tabular"])
    assert Tabular().read_numbers(column, [0], spec)["n"].tolist() == [expected]


@pytest.mark.parametrize(
    ("row", "given"),
    [
        ('{"tabular": {"a": 1e999}}', "rows[0].tabular.a"),
        (f'{{"tabular": {{"a": {"9" * 400}}}}}', "rows[0].tabular.a"),
        ('{"tabular": {"b": "\\ud83d"}}', "rows[0].tabular.b"),
        ('{"text": "\\ud83d"}', "rows[0].text"),
    ],
    ids=["infinite", "400 digits", "half a cell", "half a text"],
)
def test_cells_that_are_no_numbers_or_texts_are_named(client, row, given):
    body = f'{{"rows": [{row}]}}'
    reply = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422, reply.text
    assert reply.json()["problems"][0]["given"] == given


@pytest.mark.parametrize("hosts", [frozenset(), frozenset({"localhost"})])
def test_malformed_headers_are_refused(hosts):
    import asyncio

    from mmx.verbs.serve_limits import Counts, Limits

    async def ask(name: bytes, value: bytes) -> int:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            statuses.append(message.get("status", 0))

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def answer(*_: Any) -> None:
            raise AssertionError("it was passed on")

        headers = [(b"host", b"localhost"), (name, value)]
        scope = {"type": "http", "path": "/", "method": "GET", "headers": headers}
        limits = Limits(answer, Counts(), frozenset(), 100, 5, hosts=hosts)
        await limits(scope, receive, send)
        return statuses[0]

    assert asyncio.run(ask(b"host", b"[")) == 400
    assert asyncio.run(ask(b"content-length", b"9" * 5000)) == 413
