"""Real processes, killed and interrupted, then resumed.

    MMX_KILLS=50 pytest tests/processes/test_processes_signals.py

kills more often; the seed of a failure is in its message, and MMX_KILLS_SEED repeats it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmx.runs.directory import RunDirectory

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MMX_KILLS", "3"))
SEED = int(os.environ.get("MMX_KILLS_SEED", time.time_ns() % 10**6))

# Imports all that a run imports, once, and forks a process for each command line.
NURSERY = """
import json, os, sys
import sklearn.datasets, sklearn.metrics, torch._dynamo
import mmx.verbs.resume, mmx.verbs.train_checked
from mmx.cli import main
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        status = os.waitpid(job["wait"], 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    child = os.fork()
    if child == 0:
        os.chdir(job["folder"])
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code = main(job["words"])
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
"""


@dataclass
class Nursery:
    process: subprocess.Popen[str]

    def ask(self, **job: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, folder: Path, *words: str) -> int:
        """Start ``mmx words`` in ``folder``, where its output goes too; return its pid."""
        folder.mkdir(parents=True, exist_ok=True)
        return self.ask(folder=str(folder), words=words)

    def wait(self, pid: int) -> int:
        """Return the exit code, or minus the signal that ended it."""
        return self.ask(wait=pid)

    def run(self, folder: Path, *words: str) -> int:
        return self.wait(self.start(folder, *words))


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-c", NURSERY]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def words(tables: dict[str, Path], overrides: Callable[..., list[str]]) -> list[str]:
    given = overrides(
        tables["one"], tables["two"], ("image", "tabular"), "source.image.crop=1", "fusion=gmu"
    )
    more = ["trainer.epochs=10", "trainer.checkpoint_seconds=0.05", "trainer.threads=1"]
    return ["train", *given, *more, "device=cpu"]


@pytest.fixture(scope="module")
def whole(
    nursery: Nursery, words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> RunDirectory:
    """Return the run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    assert nursery.run(folder, *words) == 0, (folder / "stderr").read_text()
    return RunDirectory(folder / (folder / "stdout").read_text().strip())


def kept(run: RunDirectory) -> dict[str, Any]:
    found = {k: v for k, v in run.summary().items() if k not in ("run", "timing", "faster")}
    return {**found, "faster": (run.summary().get("faster") or {}).get("target_steps")}


def without_seconds(run: RunDirectory) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.metrics()]


def when_training(folder: Path, lines: int = 1) -> RunDirectory:
    """Wait until a run has written as many lines of metrics; return it."""
    for _ in range(6000):
        for metrics in folder.glob("outputs/runs/2*/metrics.jsonl"):
            if metrics.read_text().count("\n") >= lines:
                return RunDirectory(metrics.parent)
        time.sleep(0.01)
    raise AssertionError(f"no training under {folder}")


def test_killed_runs_end_as_if_they_had_not_been(
    nursery: Nursery, words: list[str], whole: RunDirectory, tmp_path: Path
) -> None:
    chance, kills = random.Random(SEED), 0
    moments = []
    while kills < KILLS:
        folder = tmp_path / str(kills)
        pid = nursery.start(folder, *words)
        run = when_training(folder)
        while kills < KILLS:
            moments.append(chance.uniform(0, 1.2))
            time.sleep(moments[-1])
            os.kill(pid, signal.SIGKILL)
            code = nursery.wait(pid)
            if code == 0:
                break
            assert code == -signal.SIGKILL, (folder / "stderr").read_text()
            assert run.status()["status"] in ("killed", "done")
            kills += 1
            pid = nursery.start(folder, "resume", str(run.path))
        else:
            code = nursery.wait(pid)
        message = f"MMX_KILLS_SEED={SEED}, killed after {moments} s"
        assert code == 0, f"{message}: {(folder / 'stderr').read_text()}"
        assert kept(run) == kept(whole), message
        assert without_seconds(run) == without_seconds(whole), message
        assert run.status()["status"] == "done"


def test_sigterm_saves_the_run(
    nursery: Nursery, words: list[str], whole: RunDirectory, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mmx", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        run = when_training(tmp_path, lines=50)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert process.returncode == 143
    assert out == f"{run.path.relative_to(tmp_path)}\n"
    status = run.status()
    assert (status["status"], status["signal"]) == ("interrupted", signal.SIGTERM)
    assert status["error"].startswith("stopped ")
    assert f"interrupted: {status['error']}" in err
    assert f"  tip: mmx resume {run.path.relative_to(tmp_path)}" in err
    assert run.summary() == {}
    assert nursery.run(tmp_path, "resume", str(run.path)) == 0
    assert (tmp_path / "stdout").read_text() == f"{run.path}\n"
    assert kept(run) == kept(whole)
    assert without_seconds(run) == without_seconds(whole)
    assert nursery.run(tmp_path, "resume", str(run.path)) == 0
    assert "this run is done: nothing is left to resume" in (tmp_path / "stderr").read_text()


def test_ctrl_c_saves_the_run_and_a_second_one_stops_at_once(
    nursery: Nursery, words: list[str], tmp_path: Path
) -> None:
    pid = nursery.start(tmp_path, *words)
    run = when_training(tmp_path)
    os.kill(pid, signal.SIGINT)
    assert nursery.wait(pid) == 130
    assert run.status()["status"] == "interrupted"
    assert run.status()["signal"] == signal.SIGINT
    pid = nursery.start(tmp_path, "resume", str(run.path))
    when_training(tmp_path, lines=40)
    for _ in range(2):
        os.kill(pid, signal.SIGINT)
        time.sleep(0.002)
    assert nursery.wait(pid) == 130
    assert run.status()["status"] == "interrupted"


def test_a_run_that_is_worked_on_cannot_be_resumed(
    nursery: Nursery, words: list[str], tmp_path: Path
) -> None:
    pid = nursery.start(tmp_path, *words)
    run = when_training(tmp_path)
    other = tmp_path / "other"
    assert nursery.run(other, "resume", str(run.path)) == 1
    os.kill(pid, signal.SIGKILL)
    nursery.wait(pid)
    assert (
        (other / "stderr")
        .read_text()
        .endswith(
            f"mmx: {run.path} is being worked on by process {pid}\n  tip: wait for it, or stop it\n"
        )
    )


FUSIONS = ("concat", "gmu", "gated", "late_mean")


@dataclass
class Four:
    """Four runs at once that want the same source, which one of them is training.

    Attributes:
        nursery: Of their processes.
        folder: Each has one in it, named by its fusion.
        lines: Fusion to command line.
        pids: Fusion to process.
        trainer: The fusion of the run that trains the source; the others wait for it.
    """

    nursery: Nursery
    folder: Path
    lines: dict[str, list[str]]
    pids: dict[str, int]
    trainer: str

    @property
    def others(self) -> list[str]:
        return [name for name in FUSIONS if name != self.trainer]

    def wait(self) -> dict[str, int]:
        """Return the exit codes."""
        return {name: self.nursery.wait(pid) for name, pid in self.pids.items()}

    def said(self, name: str) -> str:
        return (self.folder / name / "stderr").read_text()

    def run(self, name: str) -> RunDirectory:
        return only_run(self.folder / name)

    def cached(self, name: str) -> bool:
        """Return whether a run took its source from the cache, and check that it said so."""
        found: bool = self.run(name).summary()["timing"]["source_cached"]
        assert ("source one: taken from the cache" in self.said(name)) == found
        return found

    def sources(self, names: Sequence[str]) -> int:
        """Return how many different sources runs have, by weights and metrics."""
        runs = [self.run(name) for name in names]
        metrics = [[e for e in without_seconds(run) if e["stage"] == "source"] for run in runs]
        assert len(metrics[0]) > 100
        assert all(each == metrics[0] for each in metrics)
        return len({run.stage_file("source").read_bytes() for run in runs})

    def equals_alone(self, name: str) -> None:
        """Check a run against one that shares with nobody."""
        alone = self.folder / "alone"
        assert self.nursery.run(alone, *self.lines[name], "cache=off") == 0
        assert kept(self.run(name)) == kept(only_run(alone))
        assert without_seconds(self.run(name)) == without_seconds(only_run(alone))


@pytest.fixture
def four(nursery: Nursery, words: list[str], tmp_path: Path) -> Four:
    cache = f"cache={tmp_path / 'cache'}"
    more = ["trainer.source_epochs=60", "trainer.epochs=2", "control=none", cache]
    lines = {
        name: [*words, *more, f"fusion={name}", "transfer=parameter", "transfer.fusion=false"]
        for name in FUSIONS
    }
    pids = {name: nursery.start(tmp_path / name, *line) for name, line in lines.items()}
    return Four(nursery, tmp_path, lines, pids, who_trains(tmp_path, FUSIONS))


def test_a_source_that_four_runs_want_is_trained_once(four: Four) -> None:
    said = {name: four.said(name) for name in FUSIONS}
    assert four.wait() == dict.fromkeys(FUSIONS, 0), said
    assert {name: four.cached(name) for name in FUSIONS} == {
        **dict.fromkeys(four.others, True),
        four.trainer: False,
    }
    assert four.sources(FUSIONS) == 1
    four.equals_alone(four.others[0])


def test_a_source_that_four_runs_want_is_trained_once_though_its_trainer_is_killed(
    four: Four,
) -> None:
    killed = when_training(four.folder / four.trainer)
    os.kill(four.pids[four.trainer], signal.SIGKILL)
    codes = four.wait()
    assert codes == {**dict.fromkeys(four.others, 0), four.trainer: -signal.SIGKILL}
    assert {e["stage"] for e in killed.metrics()} == {"source"}
    assert not killed.stage_file("source").exists()
    assert all("waiting for process" in four.said(name) for name in four.others)
    assert [four.cached(name) for name in four.others].count(False) == 1
    assert four.sources(four.others) == 1
    # The killed one is resumed, takes the source of the others, and ends as if never killed.
    resume = ("resume", str(killed.path), f"cache={four.folder / 'cache'}")
    assert four.nursery.run(four.folder / four.trainer, *resume) == 0
    assert four.cached(four.trainer)
    assert four.sources(FUSIONS) == 1
    four.equals_alone(four.trainer)


def who_trains(folder: Path, names: tuple[str, ...]) -> str:
    """Wait until one run trains its source and the others wait; return the name of the one."""
    for _ in range(6000):
        paths = {name: folder / name / "stderr" for name in names}
        said = {name: path.read_text() for name, path in paths.items() if path.exists()}
        waiting = [name for name in names if "waiting for process" in said.get(name, "")]
        if len(waiting) == len(names) - 1:
            return next(name for name in names if name not in waiting)
        time.sleep(0.01)
    raise AssertionError(said)


def only_run(folder: Path) -> RunDirectory:
    [path] = folder.glob("outputs/runs/2*")
    return RunDirectory(path)
