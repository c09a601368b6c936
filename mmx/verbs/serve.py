"""``mmx serve RUN``: answer requests with a run's model, over HTTP.

    mmx serve RUN                                  http://127.0.0.1:8000, a page to try it
    curl -F image=@dog.png http://127.0.0.1:8000/predict/upload
    curl --json '{"rows": [{"text": "a sentence"}]}' http://127.0.0.1:8000/predict

POST /predict takes rows as JSON, with pictures, sounds and videos as base64; POST
/predict/upload takes one row as a form. A row may lack inputs. What comes at the same time is
answered together. /health, /metrics (Prometheus), /docs and /openapi.json say the rest.

Only this machine can ask, unless --host says otherwise; then a token is needed, which clients
send as "Authorization: Bearer TOKEN": --token TOKEN, MMX_SERVE_TOKEN, or --new-token, which
prints one. Clients send content; names of files are never read. SIGTERM and Ctrl-C end it
once all requests that were accepted are answered. Needs pip install 'mmx[serve]'.
"""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mmx.errors import MmxError, UsageError
from mmx.runs.directory import RunDirectory
from mmx.verbs.arguments import Parser
from mmx.verbs.opening import NOTHING_IS_MADE, read_typed

if TYPE_CHECKING:
    from uvicorn import Server

SUMMARY = "answer requests with a run's model, over HTTP"
PLACE = 45
COMPLETES = {
    "runs": 1,
    "flags": {
        "--host": (),
        "--port": (),
        "--token": (),
        "--new-token": None,
        "--device": ("auto", "cpu", "cuda"),
        "--allow": (),
    },
}

TOKEN = "MMX_SERVE_TOKEN"
LEAST_TOKEN = 16
"""Characters of a token at least."""
LIBRARIES = ("fastapi", "uvicorn", "multipart")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def main(arguments: Sequence[str]) -> int:
    """Serve a run until a signal ends it."""
    given = _parse(arguments)
    token = _find_token(given)
    _require_libraries()
    RunDirectory.open(given.run)  # what is no run is refused before anything is said
    with _open_socket(given.host, given.port) as listening:
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"loading {given.run}", file=sys.stderr)
        server = _make_server(given, token, _is_loopback(host))
        address = f"http://{shown}:{port}/"
        print(f"{address}?token={token}" if given.new_token else address, flush=True)
        # Its handlers end it and raise the signal again: without this the process would die of it.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        server.run(sockets=[listening])
    _end_without_calls()
    return 0


def _end_without_calls() -> None:
    """End the process where a call of the model hangs, for which Python would wait."""
    from mmx.verbs.serve_threads import is_any_left

    if is_any_left():
        sys.stdout.flush()
        os._exit(0)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("serve", description=__doc__).with_run().with_allow().with_device()
    parser.add_argument("settings", nargs="*", metavar="key=value", help="where data has moved")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_bounded(int, 0, 65535), default=8000, help="0: any free")
    parser.add_argument("--token", default=None, help=f"what clients must send; also {TOKEN}")
    parser.add_argument("--new-token", action="store_true", help="draw a token and print it")
    for name, kind, low, high, usual, text in (
        ("max-mb", float, 0.001, 4000, 20, "largest request, in MB"),
        ("max-pixels", int, 1, 2**31, 50_000_000, "largest picture, width times height"),
        ("max-samples", int, 1, 2**31, 50_000_000, "longest sound, in samples over all channels"),
        ("max-rows", int, 1, 10**6, 1000, "rows of a request"),
        ("timeout", float, 0.01, 3600, 30, "seconds for a request"),
        ("queue", int, 1, 10**6, 1000, "rows that may wait"),
        ("batch", int, 1, 4096, 64, "rows that are answered together"),
        ("wait-ms", float, 0, 1000, 5, "milliseconds that a row waits for others"),
    ):
        limited = _bounded(kind, low, high)
        parser.add_argument(f"--{name}", type=limited, default=usual, help=f"{text}: {usual}")
    return parser.parse_args(arguments)


def _bounded(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """Return a reader of a number within bounds."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:,}")
        return value

    return read


def _find_token(given: argparse.Namespace) -> str:
    """Return the token that clients must send; empty for none.

    Raises:
        UsageError: Others than this machine could ask without one, or it can be guessed.
    """
    if given.new_token:
        return secrets.token_urlsafe(24)
    token = str(given.token or os.environ.get(TOKEN, ""))
    if token and (len(token) < LEAST_TOKEN or not token.isascii() or " " in token):
        raise UsageError(
            f"the token is not one of at least {LEAST_TOKEN} letters and digits",
            tip=f"mmx serve {shlex.quote(str(given.run))} --new-token",
        )
    if not token and not _is_loopback(given.host):
        raise UsageError(
            f"--host {given.host}: others than this machine can ask, so a token is needed",
            tip=f"mmx serve {shlex.quote(str(given.run))} --host {given.host} --new-token",
        )
    return token


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_libraries() -> None:
    for name in LIBRARIES:
        if importlib.util.find_spec(name) is None:
            raise MmxError(
                f"mmx serve needs {name}, which is not installed", tip="pip install 'mmx[serve]'"
            )


def _open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: The address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"--host {host} --port {port}: cannot be listened on: {reason}",
            tip="--port 0   (any that is free)",
        ) from error


def _make_server(given: argparse.Namespace, token: str, local: bool) -> Server:
    """Return the server of a run's model; nothing listens to its signals yet."""
    import uvicorn

    from mmx.verbs.predict import open_model
    from mmx.verbs.serve_app import ServeOptions, Service, make_app

    typed = read_typed(given.settings, "serve", given.run, NOTHING_IS_MADE)
    opened = open_model(RunDirectory.open(given.run), typed, given.allow, device=given.device)
    options = ServeOptions(
        token=token,
        hosts=LOOPBACK if local else frozenset(),
        most_bytes=int(given.max_mb * 1e6),
        most_rows=given.max_rows,
        most_pixels=given.max_pixels,
        most_samples=given.max_samples,
        timeout=given.timeout,
        queue=given.queue,
        batch=given.batch,
        wait=given.wait_ms / 1000,
    )
    app = make_app(Service(opened, options))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # it would show tokens
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(given.timeout) + 1,
        limit_concurrency=None,
        lifespan="on",
    )
    return uvicorn.Server(config)
