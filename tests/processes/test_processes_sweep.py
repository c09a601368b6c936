"""One sweep in several real processes: at once, and after one was killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.runs.directory import RunDirectory

pytestmark = pytest.mark.slow

JOBS = 2


@pytest.fixture(scope="module")
def words(tables: dict[str, Path], overrides: Callable[..., list[str]]) -> list[str]:
    """Return a sweep of two seeds, long enough to be killed in the middle."""
    given = overrides(None, tables["two"], ("tabular",), "control=none", "seed=1,2")
    more = ["trainer.epochs=60", "trainer.checkpoint_seconds=0.01", "trainer.threads=1"]
    return ["train", "-m", *given, *more, "device=cpu", "hydra.sweep.dir=sweep"]


def start(folder: Path, words: list[str], name: str) -> subprocess.Popen[bytes]:
    """Start ``mmx words`` in a folder; what it says on stderr goes to the file ``name``."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mmx", *words]
    with (folder / name).open("wb") as err:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=err
        )


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the sweep's table."""
    with (folder / "sweep" / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def numbers(folder: Path) -> list[dict[str, str]]:
    """Return the rows without what no two runs have in common."""
    return [{k: v for k, v in row.items() if k not in ("run", "seconds")} for row in rows(folder)]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep that two processes have run at the same time."""
    folder = tmp_path_factory.mktemp("whole")
    both = [start(folder, words, name) for name in ("one", "two")]
    codes = [each.wait(timeout=300) for each in both]
    assert codes == [0, 0], [(folder / name).read_text() for name in ("one", "two")]
    return folder


def test_two_processes_that_run_one_sweep_run_each_job_once(whole: Path) -> None:
    said = [(whole / name).read_text() for name in ("one", "two")]
    lines = [line for text in said for line in text.splitlines()]
    assert sum(line.startswith("job ") for line in lines) == JOBS
    assert sum(line.startswith("skipped ") for line in lines) == JOBS
    assert len(list((whole / "sweep" / "runs").iterdir())) == JOBS
    assert [row["status"] for row in rows(whole)] == ["done"] * JOBS
    one, two = (text.partition("\nJobs ")[2] for text in said)
    assert one == two != ""


def test_a_sweep_whose_process_was_killed_goes_on_to_the_same_numbers(
    whole: Path, words: list[str], tmp_path: Path
) -> None:
    process = start(tmp_path, words, "killed")
    run = RunDirectory(_in_training(tmp_path, process))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert run.status()["status"] != "done"
    again = start(tmp_path, words, "again")
    assert again.wait(timeout=300) == 0
    said = (tmp_path / "again").read_text()
    (resumed,) = [line for line in said.splitlines() if line.startswith("resuming ")]
    assert resumed.endswith(f"sweep/runs/{run.path.name}")
    assert {Path(row["run"]).name for row in rows(tmp_path)} >= {run.path.name}
    assert len(list((tmp_path / "sweep" / "runs").iterdir())) == JOBS
    assert numbers(tmp_path) == numbers(whole)


def _in_training(folder: Path, process: subprocess.Popen[bytes]) -> Path:
    """Wait until a run has written its first epochs; return its directory."""
    for _ in range(30000):
        for metrics in folder.glob("sweep/runs/2*/metrics.jsonl"):
            if metrics.read_text().count("\n") >= 3:
                return metrics.parent
        assert process.poll() is None, (folder / "killed").read_text()
        time.sleep(0.01)
    raise AssertionError(f"no training under {folder}")
