"""Runs whose stderr nobody reads: they go on, end with 0, and name their directory on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.cli import main

pytestmark = pytest.mark.slow

UNHEARD = {
    "its reader goes away": "2> >(head -c 10 >/dev/null)",
    "closed from the start": "2>&-",
    "a disk that is full": "2>/dev/full",
}


@pytest.mark.parametrize("name", UNHEARD)
def test_a_run_whose_stderr_nobody_reads_ends_as_any_other(
    name: str, overrides: Callable[..., list[str]], tables: dict[str, Path], tmp_path: Path
) -> None:
    line = overrides(None, tables["two"], ("tabular",), "trainer.threads=1", "device=cpu")
    words = " ".join(f"'{word}'" for word in line)
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m mmx train {words} {UNHEARD[name]}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0
    run = tmp_path / done.stdout.strip()
    assert json.loads((run / "status.json").read_text())["status"] == "done"
    assert done.stdout.count("\n") == 1
    assert "BrokenPipe" not in (run / "run.log").read_text()


@pytest.mark.parametrize("closed", [False, True])
def test_an_error_that_nobody_reads_keeps_its_exit_code(
    closed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stderr", None if closed else stream)
        assert main(["eval", "nowhere"]) == 2
        assert main(["train", "seed=x"]) == 2
        assert sys.stderr is (None if closed else stream)
