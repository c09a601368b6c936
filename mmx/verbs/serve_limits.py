"""What a request must keep to before it is read: token, origin, size and time; and its count."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
AsgiSend = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, AsgiSend], Awaitable[None]]

FREE = ("/health",)
"""Paths that need no token."""
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of seconds."""
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)


@dataclass
class Counts:
    """What ``/metrics`` shows, in Prometheus' text format."""

    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0
    rows: int = 0
    batches: int = 0

    def add_request(self, path: str, code: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self.requests[path, code] = self.requests.get((path, code), 0) + 1
        self.seconds += seconds
        self.buckets[sum(seconds > bound for bound in BOUNDS)] += 1

    def add_batch(self, rows: int) -> None:
        """Count a call of the model."""
        self.rows += rows
        self.batches += 1

    def format(self, waiting: int) -> str:
        """Return all numbers as text."""
        lines = ["# TYPE mmx_requests_total counter"]
        for (path, code), count in sorted(self.requests.items()):
            lines.append(f'mmx_requests_total{{path="{path}",code="{code}"}} {count}')
        lines.append("# TYPE mmx_request_seconds histogram")
        total = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.buckets, strict=True):
            total += count
            lines.append(f'mmx_request_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"mmx_request_seconds_sum {self.seconds}", f"mmx_request_seconds_count {total}"]
        for name, kind, value in (
            ("mmx_rows_total", "counter", self.rows),
            ("mmx_batches_total", "counter", self.batches),
            ("mmx_rows_waiting", "gauge", waiting),
        ):
            lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"


class RequestTooLargeError(Exception):
    """A request has more bytes than are read."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the request has more than {most:,} bytes")


class BusyError(RuntimeError):
    """There is more to do than the server takes on."""


@dataclass
class Limits:
    """Answers requests that break a limit, and passes all others on.

    Args:
        app: The application.
        counts: Where requests are counted.
        paths: The paths that are counted by name.
        most_bytes: Of a request.
        timeout: Seconds for reading and answering a request.
        token: What a client must send as ``Authorization: Bearer TOKEN``; empty for none.
        hosts: Names by which clients may call this server; empty for any.
        most_held: Bytes of all requests under way.
    """

    app: App
    counts: Counts
    paths: frozenset[str]
    most_bytes: int
    timeout: float
    token: str = ""
    hosts: frozenset[str] = frozenset()
    most_held: int = 2**29
    held: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: AsgiSend) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, sent = time.perf_counter(), list[int]()

        async def note(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                sent.append(int(message["status"]))
                message["headers"] = [*message.get("headers", []), *SECURITY]
            await send(message)

        try:
            await self._answer(scope, receive, note, sent)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.counts.add_request(path, sent[0] if sent else 499, time.perf_counter() - began)

    async def _answer(
        self, scope: Scope, receive: Receive, send: AsgiSend, sent: list[int]
    ) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self._refuse(scope, headers):
            await _say(send, *refusal)
            return
        left = [self.most_bytes]

        async def bounded() -> MutableMapping[str, Any]:
            message = await receive()
            size = len(message.get("body", b""))
            left[0] -= size
            self.held += size
            if left[0] < 0:
                raise RequestTooLargeError(self.most_bytes)
            if self.held > self.most_held and self.held > self.most_bytes:
                raise BusyError("too much is being read")
            return message

        try:
            await asyncio.wait_for(self.app(scope, bounded, send), self.timeout)
        except asyncio.TimeoutError:
            if not sent:
                await _say(send, 504, f"there was no answer within {self.timeout:g} s", close=True)
        finally:
            self.held -= self.most_bytes - left[0]

    def _refuse(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, str] | None:
        """Return status and reason where a request is refused by its headers."""
        host = headers.get(b"host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # such as "[", an address without its end
            return 400, "the header Host is malformed"
        if self.hosts and name not in self.hosts:
            # A page of elsewhere may have pointed a name of its own at this machine.
            return 421, f"this server is not called {host}"
        origin = headers.get(b"origin")
        if origin not in (None, f"http://{host}", f"https://{host}"):
            return 403, f"requests of pages of {origin} are not answered"
        if self.token and scope["path"] not in FREE and not self._is_allowed(scope, headers):
            return 401, "a token is needed: Authorization: Bearer TOKEN"
        length = headers.get(b"content-length", "0")
        # Python refuses to read a number of very many digits.
        if not length.isdecimal() or len(length) > 20 or int(length) > self.most_bytes:
            return 413, str(RequestTooLargeError(self.most_bytes))
        if headers.get(b"content-encoding", "identity") != "identity":
            return 415, "compressed requests are not read"
        return None

    def _is_allowed(self, scope: Scope, headers: dict[bytes, str]) -> bool:
        """Return whether a request has the token; a browser opens the page with ?token=TOKEN."""
        kind, _, given = headers.get(b"authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = ""
        if not given and scope["method"] == "GET":
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            given = query.get("token", [""])[0]
        return hmac.compare_digest(given.strip().encode(), self.token.encode())


async def _say(send: AsgiSend, status: int, text: str, *, close: bool = False) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    headers += [(b"connection", b"close")] if close or status == 413 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
