"""How a run ends on a disk that is full, wherever it fills up."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmx import execution
from mmx.cli import main
from mmx.errors import RunError
from mmx.runs import ending
from mmx.runs.atomic import make_folder
from mmx.runs.directory import RunDirectory

Prepared = Callable[..., Any]


class Disk:
    """A disk with room for so many writes; each is made durable by one call of ``fsync``."""

    def __init__(self, room: int | None) -> None:
        self.room, self.writes = room, 0
        self.real = os.fsync

    def fsync(self, descriptor: int) -> None:
        self.writes += 1
        if self.room is not None and self.writes > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.real(descriptor)


@pytest.fixture
def line(overrides: Callable[..., list[str]], tables: dict[str, Path]) -> list[str]:
    more = ("trainer.epochs=1", "control=none", "trainer.checkpoint_seconds=0")
    return overrides(None, tables["two"], ("tabular",), *more)


def test_a_disk_that_fills_up_is_said_and_room_lets_the_run_go_on(
    line: list[str], prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(None)
    experiment, whole = prepared(line, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk.fsync)
        assert execution.execute(experiment, whole, print)["status"] == "done"
    assert disk.writes > 8
    for room in range(1, disk.writes - 1, max(1, disk.writes // 5)):
        experiment, run = prepared(line, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", Disk(room).fsync)
            outcome = execution.execute(experiment, run, print)
        assert outcome["status"] == "failed", room
        assert (outcome["exit_code"], outcome["expected"]) == (1, True)
        assert str(outcome["error"]).startswith("no room to write ")
        assert str(outcome["error"]).endswith(
            f"No space left on device\n  tip: make room, then mmx resume {run.path}"
        )
        assert run.status()["status"] == "failed"
        assert run.status()["error"] == outcome["error"]
        assert half_made(run) == []
        again = execution.execute(experiment, run, print)
        assert again == {"status": "done", "exit_code": 0}
        assert run.summary()["target"] == whole.summary()["target"]
        assert run.status()["status"] == "done"


def half_made(run: RunDirectory) -> list[str]:
    hidden = [path.name for path in run.path.rglob(".*")]
    return [name for name in hidden if name not in (".lock", ".hydra")]


def test_a_second_failure_does_not_hide_the_first(
    line: list[str], prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, run = prepared(line, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:

        def broken(*_: object, **__: object) -> None:
            patch.setattr(Path, "write_text", full)
            patch.setattr(Path, "replace", full)
            raise ValueError("the first error")

        patch.setattr("mmx.stages.run", broken)
        outcome = execution.execute(experiment, run, print)
    assert outcome["error"] == "ValueError: the first error"
    assert json.loads((run.path / "status.json").read_text())["error"] == outcome["error"]
    assert not (run.path / "traceback.txt").exists()
    assert half_made(run) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    mine = [".hydra", ".lock", "report.html", ".best.safetensors.newer", ".summary.json.1"]
    gone = [
        ".status.json.4194305",
        ".best.safetensors.new",
        f".report.html.{os.getpid()}",
        f".report.html.{os.getpid()}-0a1b",
    ]
    folder = tmp_path / "checkpoints" / "target"
    folder.mkdir(parents=True)
    for name in (*mine, *gone):
        (folder / name).touch()
    ending.remove_half_written(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(mine)


def test_no_room_for_a_run_directory_says_what_to_type(
    line: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Disk(1).fsync)  # the second file of the directory
        assert main(["train", *line, f"output_dir={out}"]) == 1
    assert capsys.readouterr().err.endswith(
        f"no room to write {out}/runs: No space left on device\n"
        "  tip: make room, then type the same command again\n"
    )
    assert list((out / "runs").iterdir()) == []


def test_no_room_for_a_folder_is_not_mended_by_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(RunError) as refused:
        make_folder(tmp_path / "runs")
    assert str(refused.value) == (
        f"the folder {tmp_path}/runs cannot be made: No space left on device\n"
        "  tip: make room, then type the same command again"
    )
