"""A server of MLflow's REST calls, as far as a tracker makes them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Service:
    """Experiments and runs in memory.

    Args:
        files: Where files of runs go.
    """

    def __init__(self, files: Path) -> None:
        self.files = files
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.address = ""

    def answer(self, call: str, given: dict[str, Any]) -> Any:
        """Return the answer to a call; None where there is no such thing."""
        self.calls.append(call)
        name = re.sub(r"\W+", "_", call)
        return getattr(self, name)(**given)

    def experiments_get_by_name(self, experiment_name: str) -> Any:
        if experiment_name not in self.experiments:
            return None
        found = {"experiment_id": self.experiments[experiment_name], "name": experiment_name}
        return {"experiment": {**found, "lifecycle_stage": "active"}}

    def experiments_create(self, name: str, **_: Any) -> Any:
        self.experiments[name] = str(len(self.experiments) + 1)
        return {"experiment_id": self.experiments[name]}

    def runs_search(self, experiment_ids: list[str], filter: str = "", **_: Any) -> Any:
        tag, value = re.fullmatch(r"tags\.`([^`]+)` = '([^']*)'", filter).groups()
        return {"runs": [self.show(run) for run in self.runs.values() if run["tags"][tag] == value]}

    def runs_create(self, experiment_id: str, run_name: str, tags: Any, **_: Any) -> Any:
        key = f"{len(self.runs):032x}"
        own = {each["key"]: each["value"] for each in tags}
        self.runs[key] = {
            "id": key,
            "name": run_name,
            "experiment": experiment_id,
            "status": "RUNNING",
            "tags": own,
            "params": {},
            "metrics": [],
        }
        return {"run": self.show(self.runs[key])}

    def runs_get(self, run_id: str, **_: Any) -> Any:
        return {"run": self.show(self.runs[run_id])}

    def runs_update(self, run_id: str, status: str | None = None, **_: Any) -> Any:
        self.runs[run_id]["status"] = status or self.runs[run_id]["status"]
        return {"run_info": self.show(self.runs[run_id])["info"]}

    def runs_log_batch(self, run_id: str, metrics: Any = (), params: Any = (), **_: Any) -> Any:
        self.runs[run_id]["metrics"] += metrics
        self.runs[run_id]["params"] |= {each["key"]: each["value"] for each in params}
        return {}

    def runs_set_tag(self, run_id: str, key: str, value: str, **_: Any) -> Any:
        self.runs[run_id]["tags"][key] = value
        return {}

    def metrics_get_history(self, run_id: str, metric_key: str, **_: Any) -> Any:
        every = self.runs[run_id]["metrics"]
        return {"metrics": [each for each in every if each["key"] == metric_key]}

    def show(self, run: dict[str, Any]) -> Any:
        """Return a run as MLflow shows it: of each metric the last value."""
        last = {each["key"]: each for each in run["metrics"]}
        pairs = {
            kind: [{"key": key, "value": value} for key, value in run[kind].items()]
            for kind in ("tags", "params")
        }
        info = {
            "run_id": run["id"],
            "run_uuid": run["id"],
            "run_name": run["name"],
            "experiment_id": run["experiment"],
            "status": run["status"],
            "artifact_uri": (self.files / run["id"]).as_uri(),
            "lifecycle_stage": "active",
        }
        return {"info": info, "data": {**pairs, "metrics": list(last.values())}}


@contextmanager
def serve(files: Path, *, stalls: threading.Event | None = None) -> Iterator[Service]:
    """Serve on the loopback address inside the ``with`` block.

    Args:
        files: Where files of runs go.
        stalls: Answers wait for it.
    """
    service = Service(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self._answer({key: value[0] for key, value in query.items()})

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            self._answer(json.loads(self.rfile.read(size) or b"{}"))

        def _answer(self, given: dict[str, Any]) -> None:
            if stalls is not None:
                stalls.wait(60)
            call = urlsplit(self.path).path.partition("/mlflow/")[2]
            found = service.answer(call, given)
            missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"}
            body = json.dumps(missing if found is None else found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
