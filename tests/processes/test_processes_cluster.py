"""A sweep on a cluster of real processes, of which many are killed: each job is done, none twice.

    MMX_CLUSTER_JOBS=200 MMX_CLUSTER_KILLS=30 pytest tests/processes/test_processes_cluster.py

has more jobs and kills than the test of every day. Each job is a process of its own, as on a node
of SLURM; only the queue is not SLURM's.
"""

from __future__ import annotations

import csv
import os
import pickle
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mmx.cli import main
from mmx.runs.directory import RunDirectory
from mmx.runs.stored_sweep import read_sweep

pytestmark = pytest.mark.slow
JOBS = int(os.environ.get("MMX_CLUSTER_JOBS", "12"))
KILLS = int(os.environ.get("MMX_CLUSTER_KILLS", "4"))
SEED = int(os.environ.get("MMX_CLUSTER_SEED", "1"))
NODES = 8
CHANCE = 0.1
"""Of a process that is to be killed, to be killed when it is looked at."""
MOST_OF_ONE = 2
"""Kills of one job: after five losses a job is given up."""


@dataclass
class Cluster:
    """Runs each job in a process, and kills some of them in the middle or just before they answer.

    Attributes:
        planned: How often the process of each job is to be killed.
    """

    folder: Path
    lost: type[Exception]
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    kills: Counter[int] = field(default_factory=Counter)
    submitted: Counter[int] = field(default_factory=Counter)
    running: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        self.planned = Counter(self.chance.sample([*range(JOBS)] * MOST_OF_ONE, KILLS))

    def map_array(self, work: Callable[[int], Any], numbers: Sequence[int]) -> list[Process]:
        return [Process(self, work, number) for number in numbers]


class Process:
    """A job in a process of its own, as submitit shows it."""

    state = "RUNNING"

    def __init__(self, cluster: Cluster, work: Callable[[int], Any], number: int) -> None:
        self.cluster, self.number, self.ended = cluster, number, False
        cluster.submitted[number] += 1
        cluster.running += 1
        cluster.most = max(cluster.most, cluster.running)
        self.doomed = cluster.kills[number] < cluster.planned[number]
        self.answer = cluster.folder / f"{number}-{cluster.submitted[number]}"
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                answer = work(number)
                while self.doomed and os.getppid() == parent:  # killed here at the latest
                    time.sleep(1)
                self.answer.with_suffix(".new").write_bytes(pickle.dumps(answer))
                self.answer.with_suffix(".new").rename(self.answer)
            finally:
                os._exit(0)

    def done(self) -> bool:
        if self.ended:
            return True
        pid, _ = os.waitpid(self.pid, os.WNOHANG)
        if self.doomed and self.cluster.chance.random() < CHANCE:
            os.kill(self.pid, signal.SIGKILL)
            pid, _ = os.waitpid(self.pid, 0)
            self.cluster.kills[self.number] += 1
        self.ended = pid != 0
        self.cluster.running -= self.ended
        return self.ended

    def result(self) -> Any:
        if not self.answer.exists():
            raise self.cluster.lost("its process was killed")
        return pickle.loads(self.answer.read_bytes())


def test_jobs_whose_processes_are_killed_are_all_done_and_none_twice(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitit = pytest.importorskip("submitit")
    answers = tmp_path / "answers"
    answers.mkdir()
    cluster = Cluster(answers, submitit.core.utils.UncompletedJobError)
    monkeypatch.setattr("mmx.workers.submitit_jobs._make_executor", lambda *_: cluster)
    monkeypatch.chdir(tmp_path)
    seeds = ",".join(map(str, range(1, JOBS + 1)))
    given = overrides(None, tables["two"], ("tabular",), "control=none", f"seed={seeds}")
    more = ["trainer.epochs=3", "trainer.checkpoint_seconds=0.01", "trainer.threads=1"]
    launcher = ["hydra/launcher=submitit", f"hydra.launcher.array_parallelism={NODES}"]
    words = [*given, *more, "device=cpu", "cache=off", *launcher, "hydra.launcher.cluster=local"]
    assert main(["train", "-m", *words, "hydra.sweep.dir=sweep"]) == 0
    assert cluster.kills.total() == KILLS
    assert cluster.submitted.total() == JOBS + KILLS  # each again once for each kill
    assert cluster.most == min(NODES, JOBS)
    assert read_sweep(Path("sweep")).count()["done"] == JOBS
    runs = [RunDirectory(path) for path in Path("sweep/runs").glob("[!.]*")]
    assert sorted(run.manifest().seed or 0 for run in runs) == list(range(1, JOBS + 1))
    assert {run.status()["status"] for run in runs} == {"done"}
    with Path("sweep/summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done"] * JOBS
    # Those that were killed have the numbers of those that nobody disturbs.
    killed = max(cluster.kills, key=lambda number: cluster.kills[number])
    alone = [text for text in words if not text.startswith(("hydra", "seed="))]
    assert main(["train", *alone, f"seed={killed + 1}", "hydra.run.dir=alone"]) == 0
    run = RunDirectory(Path(rows[killed]["run"]))
    assert run.summary()["target"] == RunDirectory(Path("alone")).summary()["target"]
