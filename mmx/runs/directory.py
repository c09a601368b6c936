"""A run directory: made at once, never reused, readable at any moment.

<date-time>_<source>-<target>-<fusion>_<fingerprint6>-<random4>/
  status.json      pending | running | done | failed | interrupted; pid, heartbeat, error
  config.yaml      the resolved config, which reproduce reads; after a search, the winner's
  config.auto.yaml the config given to a search (transfer=auto); auto.json: what it tried
  .hydra/          choices, overrides, the unresolved config
  manifest.json    argv, choices, fingerprint, seed, versions, device, data, cached, git, parent
  code.patch  env.txt  run.log  traceback.txt
  metrics.jsonl    one line for each event
  summary.json     the final numbers
  transfer.json    every tensor: copied, adapted, frozen, fresh, beside (training only); classes
  checkpoints/<stage>/best.safetensors; last.safetensors, events.jsonl (while the stage trains)
  adapters/<modality>/  LoRA weights on published ones, in the layout of peft
  report.html
  digests.json     the digest of each file, so that damage is noticed
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmx import renamed_options, untrusted
from mmx.errors import NoRunError, RunError, UnreadableFileError
from mmx.json_object import Json
from mmx.runs import recorded, records
from mmx.runs.atomic import append_text, as_json, make_folder, write_json, write_text
from mmx.runs.digests import prepare_seal, seal_text
from mmx.runs.manifest import Manifest
from mmx.runs.plain_files import require_plain_files
from mmx.runs.summary import Summary, require_whole
from mmx.stage_id import StageId
from mmx.yaml_text import dump_yaml

HEARTBEAT_SECONDS = 5.0
SUMMARY_LIMIT = 64 * 2**20
"""In bytes: a thousand classes make a confusion matrix of a million numbers."""
NAME_DIGITS = 6
"""Digits of the fingerprint in the name of a directory."""
LABEL_BYTES = 200
"""Most bytes of a label in the name of a directory; file systems allow names of 255 bytes."""
OUTPUTS = Path("outputs")
"""Where runs lie unless ``output_dir`` says otherwise, in the working directory."""


def find_listed(path: Path) -> Path:
    """Return a run by its path, or as ``mmx list`` names it: relative to ``outputs``."""
    if path.is_absolute() or path.exists():
        return path
    places = (OUTPUTS / path, OUTPUTS / "runs" / path)
    return next((each for each in places if each.is_dir()), path)


class RunDirectory:
    """One run on disk.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(str(path / ".lock"))
        self._beat = 0.0

    @classmethod
    def create(
        cls,
        where: Path,
        *,
        label: str,
        fingerprint: str,
        config: Json,
        manifest: Manifest,
        files: dict[str, str],
        exactly: Path | None = None,
    ) -> RunDirectory:
        """Make a new run directory, which appears together with its first files.

        Args:
            where: Folder of runs.
            label: A description of the run, for its name.
            fingerprint: The fingerprint of the config.
            config: The resolved config.
            manifest: The initial content of ``manifest.json``, without the fingerprint.
            files: Further files, relative path to text.
            exactly: The directory to make, instead of a new name in ``where``.

        Raises:
            RunError: ``exactly`` exists and is not empty, or the folder cannot be made.
        """
        # To the microsecond: the newest run of a job is the one whose name comes last.
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        name = f"{stamp}_{_as_name(label)}_{fingerprint[:NAME_DIGITS]}-{secrets.token_hex(2)}"
        path = exactly or where / name
        make_folder(path.parent)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise RunError(
                f"{path} exists and is not empty: a run directory is never reused",
                tip="leave hydra.run.dir out, or name a new directory",
            )
        # Written under a hidden name and renamed, so that readers never see half a directory.
        new = path.with_name(f".new-{secrets.token_hex(4)}")
        make_folder(new)
        try:
            for relative, text in files.items():
                (new / relative).parent.mkdir(parents=True, exist_ok=True)
                (new / relative).write_text(text, encoding="utf-8")
            write_text(new / "config.yaml", dump_yaml(config))
            marks = {"fingerprint": fingerprint, recorded.MARK: recorded.FILE}
            write_json(new / "manifest.json", manifest.model_copy(update=marks).to_json())
            write_text(new / "status.json", seal_text({"status": "pending", "since": _now()}))
            (new / "metrics.jsonl").touch()
            recorded.begin(new)
            new.rename(path)
        except BaseException:  # such as a full disk
            shutil.rmtree(new, ignore_errors=True)
            raise
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Return an existing run.

        Raises:
            RunError: It is not a run directory.
        """
        if not (path / "config.yaml").exists():
            why = (
                "is not a run directory: it has no config.yaml"
                if path.exists()
                else "does not exist"
            )
            found = [*path.glob("*/config.yaml"), *path.glob("runs/*/config.yaml")]
            inside = sorted(str(each.parent) for each in found)
            others = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
            tip = f"it holds runs: {', '.join(inside[:5])}{others}" if inside else None
            raise NoRunError(f"{path} {why}", tip=tip or "mmx list shows the runs")
        return cls(path)

    def require_plain_files(self, *, appends: bool = False) -> None:
        """Check everything in the directory before something is written there.

        Args:
            appends: Whether files will be appended to, as by a run that is resumed.

        Raises:
            RunError: There is a link, a pipe, a device, or a folder in place of a file.
        """
        require_plain_files(self.path, appends=appends)

    def _read(self, name: str, limit: int) -> Json:
        """Return one of the JSON files; empty if it is absent."""
        path = self.path / name
        recorded.check_file(self.path, [name])
        try:
            found: Json = untrusted.read_json(path, dict, limit=limit)
        except UnreadableFileError as error:
            if error.missing:
                return {}
            raise RunError(error.message, tip=error.tip) from error
        return found

    def require_undamaged(self, *, checkpoints: bool = False) -> None:
        """Check every file of the run against its recorded digest.

        Args:
            checkpoints: Whether to check checkpoints too, although each read checks them anyway.

        Raises:
            DamagedFileError: One is not what mmx wrote.
        """
        self.status()
        recorded.check_all(self.path, checkpoints=checkpoints)

    def config(self) -> Json:
        """Return the resolved config, with renamed options translated to this version of mmx.

        Raises:
            RunError: It cannot be read, or is not what mmx wrote.
        """
        return renamed_options.translate_config(self.written_config())

    def written_config(self) -> Json:
        """Return the resolved config as the version of mmx that made the run wrote it.

        Raises:
            RunError: It cannot be read, or is not what mmx wrote.
        """
        recorded.check_file(self.path, ["config.yaml"])
        return _read_written(self.path / "config.yaml")

    def names(self) -> dict[str, str]:
        """Return the options with which the parts were chosen, without those that are gone."""
        return renamed_options.translate_names(self.manifest().names, self.written_config())

    def set_chosen_config(self, config: Json) -> None:
        """Replace the config by the one that a search has chosen; keep the given one as a file."""
        path, given = self.path / "config.yaml", self.path / "config.auto.yaml"
        if not given.exists():
            recorded.replace(self.path, given.name, path.read_text(encoding="utf-8"))
        recorded.replace(self.path, path.name, dump_yaml(config))

    def manifest(self) -> Manifest:
        """Return the manifest; entries that the file lacks have their defaults, as without a file.

        Raises:
            RunError: It cannot be read, or is not what mmx wrote.
        """
        found = self._read(recorded.MANIFEST, untrusted.MAX_BYTES)
        return records.read_record(found, Manifest, self.path / recorded.MANIFEST)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        recorded.replace(self.path, recorded.MANIFEST, as_json(manifest.to_json()))

    def status(self) -> Json:
        """Return the status; it is ``killed`` if the process of a running run is gone.

        Raises:
            RunError: It cannot be read, or is not what mmx wrote.
        """
        path = self.path / "status.json"
        try:
            status = records.check_record(recorded.read_status(self.path), records.Status, path)
        except UnreadableFileError as error:
            if error.missing:
                return {}
            raise RunError(error.message, tip=error.tip) from error
        if status.get("status") == "running" and not self._alive(status):
            return {**status, "status": "killed"}
        return status

    def _alive(self, status: Json) -> bool:
        """Return whether the process of a running run exists."""
        if status.get("host") != socket.gethostname():
            return True  # it runs on another machine, and this one cannot know
        try:
            os.kill(status["pid"], 0)  # signal 0 only asks whether the process exists
        except (ProcessLookupError, KeyError, TypeError):
            return False
        except PermissionError:
            return True
        return True

    def set_status(self, status: str, **facts: Any) -> None:
        """Write the status."""
        own = {"pid": os.getpid(), "host": socket.gethostname(), "heartbeat": _now()}
        self.write_json("status.json", {"status": status, "since": _now(), **own, **facts})
        self._beat = time.monotonic()

    def beat(self) -> None:
        """Write a heartbeat, at most once every few seconds."""
        if time.monotonic() - self._beat >= HEARTBEAT_SECONDS:
            self.write_json("status.json", {**self.status(), "heartbeat": _now()})
            self._beat = time.monotonic()

    def acquire(self) -> None:
        """Become the only process that works on this run.

        Raises:
            RunError: Another process works on it.
        """
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            pid = self.status().get("pid", "?")
            raise RunError(
                f"{self.path} is being worked on by process {pid}", tip="wait for it, or stop it"
            ) from error

    def release(self) -> None:
        """Let others work on this run."""
        self._lock.release()

    def stage_file(self, stage: StageId) -> Path:
        """Return the file of a stage's best weights, written when it has ended."""
        return self.path / "checkpoints" / str(stage) / "best.safetensors"

    def state_file(self, stage: StageId) -> Path:
        """Return the file of a stage's training state, written while it trains."""
        return self.path / "checkpoints" / str(stage) / "last.safetensors"

    def write_json(self, name: str, data: Any) -> None:
        """Write one of the run's JSON files; the status contains its own digest."""
        write_json(self.path / name, prepare_seal(data) if name == recorded.STATUS else data)

    def summary(self) -> Json:
        """Return the summary as JSON; empty before the run is done.

        Raises:
            RunError: It cannot be read, or is not what mmx wrote.
        """
        found = self._read("summary.json", SUMMARY_LIMIT)
        return records.check_record(found, Summary, self.path / "summary.json")

    def read_summary(self) -> Summary:
        """Return the summary; entries that the file lacks have their defaults.

        Raises:
            RunError: It cannot be read, or is not what mmx wrote.
        """
        return Summary.from_json(self.summary())

    def finished_summary(self) -> Summary:
        """Return the complete summary of a finished run.

        Raises:
            RunError: There is none, it is not complete, or it is not what mmx wrote.
        """
        found = self.summary()
        require_whole(found, self.path / "summary.json")
        return Summary.from_json(found)

    def append_metric(self, **entry: Any) -> None:
        """Append one line to ``metrics.jsonl``."""
        append_text(self.path / "metrics.jsonl", json.dumps(entry) + "\n")

    def metrics(self) -> list[Json]:
        """Return the lines of ``metrics.jsonl``; an incomplete last line is left out.

        Raises:
            RunError: Another line is not what mmx wrote.
        """
        path = self.path / "metrics.jsonl"
        recorded.check_file(self.path, [path.name])
        try:
            lines = untrusted.read_text(path, limit=SUMMARY_LIMIT).splitlines()
        except UnreadableFileError as error:
            raise RunError(error.message, tip=error.tip) from error
        found: list[Json] = []
        for number, line in enumerate(lines, 1):
            try:
                entry: Json = untrusted.parse_json(line, dict, path)
                found.append(records.check_record(entry, records.MetricLine, path))
            except (UnreadableFileError, RunError) as error:
                if number < len(lines):  # the last line may be cut short by a kill
                    tip = f"remove line {number}, which only the curves of the report need"
                    raise RunError(error.message, tip=tip) from error
        return found

    def forget_metrics(self, keep: dict[str, int]) -> None:
        """Drop metrics that a resumed run will write again.

        Args:
            keep: Stage to the number of epochs whose lines stay.
        """
        lines = [
            json.dumps(entry)
            for entry in self.metrics()
            if entry.get("epoch", 0) <= keep.get(str(entry.get("stage")), 0)
        ]
        write_text(self.path / "metrics.jsonl", "".join(f"{line}\n" for line in lines))

    def remove(self) -> None:
        """Delete the directory."""
        shutil.rmtree(self.path)


def read_config(path: Path) -> Json:
    """Return a resolved config file as plain data, with renamed options translated.

    Raises:
        RunError: It cannot be read, or contains interpolations.
    """
    return renamed_options.translate_config(_read_written(path))


def _read_written(path: Path) -> Json:
    """Return a resolved config file as it was written; nothing in it is evaluated."""
    try:
        data: Json = untrusted.read_yaml(path, dict)
    except UnreadableFileError as error:
        raise RunError(error.message, tip=error.tip) from error
    if strange := next((key for key in data if not isinstance(key, str)), None):
        raise RunError(f"{path} is not a config: the key {strange!r} is no text")
    data.pop("hydra", None)
    if where := _find_interpolation(data):
        raise RunError(
            f"{path} holds an interpolation at {where}: a config that is read back is data",
            tip="give the resolved config.yaml of a run directory",
        )
    return data


def _find_interpolation(node: Any, path: str = "") -> str | None:
    if isinstance(node, dict):
        found = (_find_interpolation(value, f"{path}.{key}") for key, value in node.items())
    elif isinstance(node, list):
        found = (_find_interpolation(value, f"{path}[{i}]") for i, value in enumerate(node))
    else:
        return path.lstrip(".") if isinstance(node, str) and "${" in node else None
    return next(filter(None, found), None)


def _as_name(label: str) -> str:
    """Return a label as part of a folder's name, which must be safe for a task named ``../x``."""
    name = re.sub(r"[^\w.+-]+", "-", label).strip(".-") or "run"
    return name.encode()[:LABEL_BYTES].decode(errors="ignore")


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
