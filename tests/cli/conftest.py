"""``mmx`` in this process: exit code, stdout, stderr; no data, no run directory."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.errors import ConfigError, Problem
from mmx.experiment import opened_tasks
from mmx.tasks import Task


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def mmx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """Run ``mmx`` in an empty folder, where opening data is an error."""

    def opened(task: Task, *_: object) -> None:
        raise AssertionError(f"{task.name} was opened")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("MMX_ALLOW", raising=False)
    monkeypatch.setattr(Task, "load", opened)
    monkeypatch.setattr(Task, "divide", opened)  # of rows that several seeds share
    monkeypatch.setattr(opened_tasks, "_OPENED", OrderedDict())
    monkeypatch.setattr(opened_tasks, "_READ", OrderedDict())

    def run(*words: str) -> Said:
        before = sorted(tmp_path.rglob("*"))
        try:
            code = main(words)
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            assert sorted(tmp_path.rglob("*")) == before, "something was written"
        return Said(code, *capsys.readouterr())

    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield run
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.fixture
def refuse(mmx: Callable[..., Said]) -> Callable[..., tuple[Problem, ...]]:
    """Run ``mmx``, which must refuse the line; return the problems it finds."""

    def run(*words: str) -> tuple[Problem, ...]:
        with pytest.raises(ConfigError) as caught:
            mmx("--debug", *words)
        assert caught.value.exit_code == 2
        return caught.value.problems

    return run
