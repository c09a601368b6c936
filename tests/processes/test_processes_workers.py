"""A sweep in several workers: the numbers of one by one, and what is left when one dies."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmx.cli import main
from mmx.runs.directory import RunDirectory
from mmx.training.fit import _Run as Run

pytestmark = pytest.mark.slow
SEEDS = 4


@pytest.fixture(scope="module")
def words(tables: dict[str, Path], overrides: Callable[..., list[str]]) -> list[str]:
    """Return a sweep of four seeds, long enough to be stopped in the middle."""
    given = overrides(None, tables["two"], ("tabular",), "control=none", "seed=1,2,3,4")
    more = ["trainer.epochs=40", "trainer.checkpoint_seconds=0.01", "trainer.threads=1"]
    return ["train", "-m", *given, *more, "device=cpu", "hydra.sweep.dir=sweep"]


def start(folder: Path, words: list[str], jobs: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mmx", *words, f"jobs={jobs}"]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path, words: list[str], jobs: str) -> tuple[int, str]:
    process = start(folder, words, jobs)
    _, err = process.communicate(timeout=300)
    return process.returncode, err


def numbers(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    apart = ("run", "seconds", "job")
    return [{key: value for key, value in row.items() if key not in apart} for row in rows]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the sweep, run one job after the other."""
    folder = tmp_path_factory.mktemp("whole")
    code, err = finish(folder, words, "1")
    assert code == 0, err
    return folder


@pytest.mark.parametrize("jobs", ["2", "4"])
def test_workers_give_the_numbers_of_one_by_one(
    whole: Path, words: list[str], tmp_path: Path, jobs: str
) -> None:
    code, err = finish(tmp_path, words, jobs)
    assert code == 0, err
    assert err.startswith(f"4 jobs, {jobs} at the same time (jobs={jobs}), 1 thread each\n")
    lines = err.splitlines()
    assert sum(line.startswith("job ") for line in lines) == SEEDS
    assert {line.split(":")[0] for line in lines if line.startswith("done ")} == {
        f"done seed={seed}" for seed in (1, 2, 3, 4)
    }
    assert numbers(tmp_path) == numbers(whole)


def workers(folder: Path, process: subprocess.Popen[str]) -> Iterator[tuple[RunDirectory, int]]:
    """Yield a run in training and the process that works on it, once there are two."""
    until = time.monotonic() + 120
    while True:
        found = [
            metrics.parent
            for metrics in sorted(folder.glob("sweep/runs/2*/metrics.jsonl"))
            if metrics.read_text().count("\n") >= 3
            and RunDirectory(metrics.parent).status()["status"] == "running"
        ]
        if len(found) >= 2:
            break
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    for path in found:
        yield RunDirectory(path), int(str(RunDirectory(path).status()["pid"]))


def test_a_killed_worker_loses_its_job_alone(whole: Path, words: list[str], tmp_path: Path) -> None:
    process = start(tmp_path, words, "2")
    run, pid = next(workers(tmp_path, process))
    os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    (lost,) = [line for line in err.splitlines() if line.startswith("lost ")]
    assert "its worker was killed (signal 9" in lost
    assert sum(line.startswith("done ") for line in err.splitlines()) == SEEDS - 1
    code, err = finish(tmp_path, words, "2")
    assert (code, err.count("\nskipped ")) == (0, SEEDS - 1)
    (resumed,) = [line for line in err.splitlines() if line.startswith("resuming ")]
    assert resumed.endswith(run.path.name)
    assert numbers(tmp_path) == numbers(whole)


def test_a_sweep_is_cancelled_and_resumed_from_another_terminal(
    words: list[str], tmp_path: Path
) -> None:
    # Long enough for two commands to start meanwhile.
    words = [word.replace("trainer.epochs=40", "trainer.epochs=600") for word in words]
    words = [word.replace("seed=1,2,3,4", "seed=1,2,3") for word in words]
    whole = tmp_path / "whole"
    assert finish(whole, words, "2")[0] == 0

    def sweep(*given: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mmx", "sweep", *given]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    process = start(tmp_path, words, "2")
    running = [run for run, _ in workers(tmp_path, process)]
    shown = sweep("status", "sweep")
    assert shown.stdout.count(" running ") >= 2
    assert f"process {process.pid} on " in shown.stdout
    done = sweep("cancel", "sweep")
    assert done.returncode == 0, done.stderr
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert [run.status()["error"][:16] for run in running] == ["stopped in stage"] * 2
    assert sweep("cancel", "sweep").returncode == 1  # nothing runs any more
    resumed = sweep("resume", "sweep", "trainer.checkpoint_seconds=0.01", "jobs=2")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count("resuming ") == 2
    assert numbers(tmp_path) == numbers(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_sweep_saves_its_runs_and_goes_on(
    whole: Path, words: list[str], tmp_path: Path, number: int
) -> None:
    process = start(tmp_path, words, "2")
    running = [run for run, _ in workers(tmp_path, process)]
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert [run.status()["status"] for run in running] == ["interrupted"] * 2
    assert [run.status()["error"] for run in running] != ["stopped at once"] * 2
    assert "not started: 2 jobs; the same command goes on with what is not done" in err
    code, err = finish(tmp_path, words, "2")
    assert (code, err.count("resuming ")) == (0, 2)
    assert numbers(tmp_path) == numbers(whole)


def test_memory_that_is_full_loses_one_job_and_says_which(
    whole: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """What torch itself says where the system gives it no memory, in a worker."""
    real = Run.train_epoch

    def train_epoch(self: Run, *given: Any) -> None:
        if self.recipe.seed == 2 and full:
            torch.empty(1 << 60)
        real(self, *given)

    full = True
    monkeypatch.setattr(Run, "train_epoch", train_epoch)
    monkeypatch.chdir(tmp_path)
    assert main([*words, "jobs=2"]) == 1
    said = capsys.readouterr().err
    (lost,) = [line for line in said.splitlines() if line.startswith("failed seed=2: ")]
    assert lost.endswith("this machine is out of memory in stage target at trainer.batch_size=12")
    assert "trainer.batch_size=6 trainer.accumulate=2 takes the same steps" in said
    assert "in a sweep also jobs=1" in said
    assert sum(line.startswith("done ") for line in said.splitlines()) == SEEDS - 1
    full = False
    assert main([*words, "jobs=2"]) == 0
    assert numbers(tmp_path) == numbers(whole)
