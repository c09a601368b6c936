"""Jobs in real processes: order, errors, killed workers, signals, a parent that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from mmx.stage_id import StageId
from mmx.training.events import Event, EventKind
from mmx.workers.messages import Ended, Heard, Line, Lost, Message
from mmx.workers.plan import WorkerPlan
from mmx.workers.pool import Pool
from mmx.workers.worker import Teller


@dataclass
class Work:
    """Does to job ``n`` what ``acts[n]`` says."""

    acts: list[str]

    def __call__(self, number: int, teller: Teller) -> None:
        teller.say(f"{number} in {os.getpid()} with {torch.get_num_threads()}")
        act = self.acts[number]
        if act == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "raise":
            raise ValueError("no such thing")
        if act == "interrupted":
            sys.exit(143)
        if act == "steps":
            for step in range(1000):
                teller.hear(Event(EventKind.STEP, StageId.TARGET, step=step))
            teller.hear(Event(EventKind.EPOCH, StageId.TARGET, epoch=1))


@dataclass
class Record:
    """What a pool passed on."""

    messages: list[tuple[int, Message]] = field(default_factory=list)

    def __call__(self, number: int, message: Message) -> None:
        self.messages.append((number, message))

    def ends(self) -> dict[int, Message]:
        return {n: each for n, each in self.messages if isinstance(each, (Ended, Lost))}

    def lines(self) -> list[str]:
        return [each.text for _, each in self.messages if isinstance(each, Line)]


def run(acts: list[str], plan: WorkerPlan) -> tuple[int, Record]:
    heard = Record()
    with Pool(Work(acts), plan, heard) as pool:
        return pool.run(range(len(acts))), heard


@pytest.mark.parametrize("threads", [1, 2], ids=["forked", "spawned"])
def test_every_job_is_run_once_by_warm_workers(threads: int) -> None:
    code, heard = run(["well"] * 6, WorkerPlan(2, threads))
    assert code == 0
    assert heard.ends() == dict.fromkeys(range(6), Ended())
    assert sorted(int(line.split()[0]) for line in heard.lines()) == list(range(6))
    assert len({line.split()[2] for line in heard.lines()}) == 2  # two processes for six jobs
    assert {line.split()[-1] for line in heard.lines()} == {str(threads)}


def test_what_goes_wrong_in_a_job_concerns_it_alone() -> None:
    code, heard = run(["raise", "well", "die", "interrupted", "well", "well"], WorkerPlan(2, 1))
    assert code == 0
    ends = heard.ends()
    assert ends[0] == Ended(1, "no such thing")
    assert ends[2] == Lost(-signal.SIGKILL)
    assert ends[3] == Ended(143)
    assert [ends[n] for n in (1, 4, 5)] == [Ended()] * 3


def test_all_workers_may_die() -> None:
    code, heard = run(["die"] * 5, WorkerPlan(2, 1))
    assert (code, set(heard.ends().values())) == (0, {Lost(-signal.SIGKILL)})


def test_of_steps_not_all_are_told() -> None:
    _, heard = run(["steps"], WorkerPlan(2, 1))
    kinds = [each.event.kind for _, each in heard.messages if isinstance(each, Heard)]
    assert kinds[-1] is EventKind.EPOCH
    assert 1 <= kinds.count(EventKind.STEP) < 100


SCRIPT = """
import signal, sys, time
from pathlib import Path
from mmx.training.events import stop_on_signals
from mmx.workers.plan import WorkerPlan
from mmx.workers.pool import Pool

def work(number, teller):
    with stop_on_signals() as stop:
        Path(f"began{number}").touch()
        while stop.signal_number is None:
            time.sleep(0.01)
        Path(f"saved{number}").write_text(str(int(stop.signal_number)))
    sys.exit(128 + stop.signal_number)

with Pool(work, WorkerPlan(2, 1), lambda *_: None) as pool:
    code = pool.run(range(5))
sys.exit(code)
"""


def begin(folder: Path, script: str = SCRIPT) -> subprocess.Popen[bytes]:
    """Start a pool in a process group of its own; return when two jobs have begun."""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=folder, start_new_session=True)
    until = time.monotonic() + 120
    while len(list(folder.glob("began*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    return process


def saved(folder: Path, count: int) -> list[str]:
    until = time.monotonic() + 60
    while len(found := [p for p in folder.glob("saved*") if p.read_text()]) < count:
        assert time.monotonic() < until
        time.sleep(0.01)
    return sorted(path.name for path in found)


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False], ids=["terminal", "kill"])
def test_a_signal_stops_all_jobs_once_and_begins_no_other(
    tmp_path: Path, whole_group: bool
) -> None:
    process = begin(tmp_path)
    if whole_group:  # as a terminal does on Ctrl-C
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert saved(tmp_path, 2) == ["saved0", "saved1"]
    assert {(tmp_path / name).read_text() for name in ("saved0", "saved1")} == {"2"}
    assert len(list(tmp_path.glob("began*"))) == 2


@pytest.mark.slow
def test_workers_save_and_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.kill()
    process.wait()
    assert saved(tmp_path, 2) == ["saved0", "saved1"]


@pytest.mark.slow
def test_a_second_signal_stops_a_job_that_only_waits(tmp_path: Path) -> None:
    head, _, tail = SCRIPT.partition("def work")
    waits = head + "def work(number, teller):\n    Path(f'began{number}').touch()\n"
    waits += "    time.sleep(600)\n\nwith" + tail.partition("\nwith")[2]
    process = begin(tmp_path, waits)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1.5)  # else it counts as the same
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
