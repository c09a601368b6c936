"""A server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A hub with one repository, ``owner/tiny``, of a model or of a data set."""

    files: dict[str, bytes]
    home: Path
    asked: list[str] = field(default_factory=list)
    damage: str = ""
    kind: str = "models"
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def log_message(self, *given: object) -> None:
                """Say nothing."""

            def answer(self, *, body: bool) -> None:
                path = self.path.split("?")[0]
                hub.asked.append(path)
                front = "" if hub.kind == "models" else f"/{hub.kind}"
                name = path.removeprefix(f"{front}/owner/tiny/resolve/{COMMIT}/")
                if path.startswith(f"/api/{hub.kind}/owner/tiny/tree"):
                    listed = [
                        {"type": "file", "path": each, "size": len(data), "oid": "0" * 40}
                        for each, data in hub.files.items()
                    ]
                    data = json.dumps(listed).encode()
                    self.reply(200, data, {"Content-Type": "application/json"}, body)
                elif path.startswith(f"/api/{hub.kind}/owner/tiny"):
                    names = [{"rfilename": each} for each in hub.files]
                    data = json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": names})
                    self.reply(200, data.encode(), {"Content-Type": "application/json"}, body)
                elif name in hub.files:
                    data = hub.files[name]
                    large = name.endswith((".safetensors", ".parquet"))
                    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                    etag = hashlib.sha256(data).hexdigest() if large else git
                    if large and hub.damage == "changed":
                        data = data[:-1] + bytes([data[-1] ^ 1])
                    self.reply(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body)
                else:
                    self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

            def reply(self, code: int, data: bytes, headers: dict[str, str], body: bool) -> None:
                self.send_response(code)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if body:
                    self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def use_in_this_process(self, change: Any) -> None:
        """Let the hub's library, which has its address already, ask this hub alone."""
        from huggingface_hub import constants

        port = self.server.server_address[1] if self.server else 9
        address = f"http://127.0.0.1:{port}"
        change.setattr(constants, "ENDPOINT", address)
        files = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        change.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        change.setattr(constants, "HF_HUB_CACHE", str(self.home / "hub"))
        change.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for key in ("NO_PROXY", "no_proxy"):
            change.setenv(key, "127.0.0.1")

    def run(self, code: str) -> str:
        """Run Python in a process that knows this hub alone, and return what it prints."""
        port = self.server.server_address[1] if self.server else 9
        around = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))},
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_ETAG_TIMEOUT": "2",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        done = subprocess.run(
            [sys.executable, "-c", code], env=around, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
