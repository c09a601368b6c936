"""Jobs elsewhere: those that are lost or taken away are started again, and the end is told once."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

import pytest

from mmx.errors import BUDGET_USED
from mmx.workers import remote
from mmx.workers.messages import Ended, Line, Message
from mmx.workers.remote import MOST_LOSSES, Follower, LostJobError, RemoteJob, plan_remote


class Script:
    """A queue in which what each start of a job comes to is written down before."""

    def __init__(self, **ends: list[object]) -> None:
        self.ends = {int(name[1:]): list(each) for name, each in ends.items()}
        self.submitted: list[list[int]] = []
        self.heard: list[tuple[int, Message]] = []
        self.cancelled = 0

    def submit(self, numbers: Sequence[int]) -> list[Job]:
        self.submitted.append(list(numbers))
        return [Job(self.ends[number].pop(0)) for number in numbers]

    def follow(self, at_once: int | None = None) -> Follower:
        def hear(number: int, message: Message) -> None:
            self.heard.append((number, message))

        def cancel() -> None:
            self.cancelled += 1

        return Follower(self.submit, hear, lambda: None, cancel, at_once)


class Job:
    def __init__(self, end: object) -> None:
        self.end = end

    def poll(self) -> list[Message] | None:
        if isinstance(self.end, LostJobError):
            raise self.end
        return None if self.end is None else [Ended(int(str(self.end)))]

    def withdraw(self) -> None:
        self.end = 143


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.0)


def test_a_lost_job_is_started_again_and_a_failed_one_is_not() -> None:
    usr1 = 128 + signal.SIGUSR1
    script = Script(_0=[0], _1=[LostJobError("gone"), usr1, 0], _2=[1])
    assert script.follow().run([0, 1, 2]) == 0
    assert script.submitted == [[0, 1, 2], [1], [1]]
    assert sorted((number, each.code) for number, each in script.heard) == [(0, 0), (1, 0), (2, 1)]


def test_a_job_that_is_lost_each_time_is_given_up() -> None:
    script = Script(_0=[LostJobError("gone")] * 9)
    assert script.follow().run([0]) == 0
    assert len(script.submitted) == MOST_LOSSES
    assert script.heard == [(0, Ended(1, "gone"))]


def test_no_more_are_submitted_than_run() -> None:
    script = Script(**{f"_{number}": [0] for number in range(5)})
    assert script.follow(at_once=2).run(range(5)) == 0
    assert [len(each) for each in script.submitted] == [2, 2, 1]


def test_a_signal_cancels_what_runs_and_takes_back_what_waits() -> None:
    script = Script(_0=[None], _1=[0])

    def submit(numbers: Sequence[int]) -> list[Job]:
        found = script.submit(numbers)
        signal.raise_signal(signal.SIGTERM)
        return found

    follower = script.follow(at_once=1)
    follower.submit = submit
    assert follower.run([0, 1]) == 143
    assert (script.cancelled, script.submitted) == (1, [[0]])
    assert script.heard == [(0, Ended(143))]


def test_a_budget_that_is_used_up_begins_nothing() -> None:
    script = Script(_0=[0])
    assert script.follow().run([0], until=time.time() - 1) == BUDGET_USED
    assert script.submitted == []


def test_what_a_job_tells_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(number: int, teller: object) -> None:
        teller.say(f"job {number}")  # type: ignore[attr-defined]
        raise SystemExit(124)

    assert RemoteJob(work, 1)(3) == [Line("job 3"), Ended(124)]


@pytest.mark.parametrize(
    ("launcher", "options", "expected"),
    [
        ("submitit", {}, (256, 1, None)),
        ("submitit", {"array_parallelism": 8, "cpus_per_task": 4}, (8, 4, None)),
        ("submitit", {"cluster": "local"}, (6, 1, 6)),
        ("submitit", {"cluster": "local", "cpus_per_task": 4}, (1, 4, 1)),
        ("ray", {}, (6, 1, 6)),
        ("ray", {"address": "auto", "num_cpus": 2}, (300, 2, None)),
    ],
)
def test_how_many_at_a_time(
    launcher: str,
    options: dict[str, object],
    expected: tuple[int, int, int | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "count_cores", lambda: 6)
    plan, at_once = plan_remote(launcher, options, 300)
    assert (plan.processes, plan.threads, at_once) == expected
