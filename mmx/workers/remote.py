"""Jobs on other machines: what a launcher sends there, and how it follows what comes back.

A launcher submits jobs by their numbers and waits. A job that ends without an answer (its process
or machine was lost, or taken away) is submitted again, and goes on from what it had saved.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mmx.errors import BUDGET_USED
from mmx.training.events import EventKind, StopRequest, stop_on_signals
from mmx.workers.machine import count_cores
from mmx.workers.messages import Ended, Heard, Lost, Message
from mmx.workers.plan import WorkerPlan
from mmx.workers.worker import Teller, Work, run_work

LOOK_SECONDS = 0.2
"""Time between two looks at what has ended."""
MOST_LOSSES = 5
"""Times that the process or machine of a job may be lost before the job is given up."""
TAKEN_AWAY = tuple(
    128 + getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
"""Exit codes of jobs whose machine was about to be taken away."""
STOPPED_BY_HAND = 143
"""The exit code of a job that was cancelled."""


@dataclass
class RemoteJob:
    """Runs a job of a sweep where it is sent.

    Args:
        work: Runs a job by its number; it is pickled.
        threads: CPU threads of a job.
        cwd: The working directory, to which the paths of the jobs are relative.
    """

    work: Work
    threads: int
    cwd: str = field(default_factory=os.getcwd)

    def __call__(self, number: int) -> list[Message]:
        """Run a job, and return what there is to tell of it, :class:`Ended` last."""
        import torch

        os.chdir(self.cwd)
        torch.set_num_threads(self.threads)
        told: list[Message] = []

        def keep(message: Message) -> None:
            if not isinstance(message, Heard) or _is_kept(message):
                told.append(message)

        ended = run_work(self.work, number, Teller(keep))
        return [*told, ended]


def _is_kept(message: Heard) -> bool:
    """Return whether an event is shown after a job has ended."""
    event = message.event
    return event.kind is EventKind.DONE or event.text.startswith("WARNING")


class Submitted(Protocol):
    """A job that was submitted."""

    def poll(self) -> list[Message] | None:
        """Return what it told; None while it waits or runs. Raises LostJobError if it was lost."""

    def withdraw(self) -> None:
        """Take it out of the queue if it has not begun."""


class LostJobError(Exception):
    """The process or machine of a job was lost; its run is what it had saved."""


@dataclass
class Follower:
    """Submits jobs and follows them.

    Args:
        submit: Submits some jobs by their numbers.
        hear: Called with each message of a job.
        tick: Called several times a second.
        cancel: Asks those that run to save and end.
        at_once: How many may be submitted at the same time; None for all.
    """

    submit: Callable[[Sequence[int]], Sequence[Submitted]]
    hear: Callable[[int, Message], None]
    tick: Callable[[], None]
    cancel: Callable[[], None]
    at_once: int | None = None
    _active: dict[int, Submitted] = field(default_factory=dict)
    _losses: dict[int, int] = field(default_factory=dict)
    _codes: list[int] = field(default_factory=list)

    def run(self, jobs: Sequence[int], until: float | None = None) -> int:
        """Run jobs to their end; return 0, or the exit code of a sweep that was stopped.

        SIGINT and SIGTERM ask the jobs to save and end, and are waited for. After a second one, or
        when the terminal is lost, this process ends, and the jobs go on.
        """
        waiting = deque(jobs)
        told = False
        with stop_on_signals(until) as stop:
            while waiting or self._active:
                if stop.is_made and waiting:
                    self._codes.append(BUDGET_USED)
                    waiting.clear()
                if stop.signal_number is not None and not told:
                    if _is_hang_up(stop):
                        break
                    told = True
                    self.cancel()
                    for each in self._active.values():
                        each.withdraw()
                self._give(waiting)
                try:
                    self._look(waiting, over=stop.is_made)
                    self.tick()
                    time.sleep(LOOK_SECONDS)
                except KeyboardInterrupt:  # a second signal: nothing is waited for any more
                    break
        if stop.signal_number is not None:
            return 128 + stop.signal_number
        return next((code for code in (STOPPED_BY_HAND, BUDGET_USED) if code in self._codes), 0)

    def _give(self, waiting: deque[int]) -> None:
        free = len(waiting) if self.at_once is None else self.at_once - len(self._active)
        chosen = [waiting.popleft() for _ in range(min(free, len(waiting)))]
        if chosen:
            self._active.update(zip(chosen, self.submit(chosen), strict=True))

    def _look(self, waiting: deque[int], *, over: bool) -> None:
        """Take what has ended; submit again what was lost or taken away."""
        for number, job in list(self._active.items()):
            try:
                found = job.poll()
            except LostJobError as error:
                found = [Ended(1, str(error))]
                self._losses[number] = self._losses.get(number, 0) + 1
                again = self._losses[number] < MOST_LOSSES
            else:
                if found is None:
                    continue
                again = _find_code(found) in TAKEN_AWAY
            del self._active[number]
            if again and not over:
                # To the end of the queue; its run goes on from what it had saved.
                waiting.append(number)
                continue
            self._codes.append(_find_code(found))
            for message in found:
                self.hear(number, message)


def plan_remote(
    launcher: str, options: Mapping[str, Any], count: int
) -> tuple[WorkerPlan, int | None]:
    """Return how many jobs a launcher runs at the same time, and how many are submitted at once.

    Args:
        launcher: ``submitit`` or ``ray``.
        options: Of the launcher.
        count: The number of jobs.

    Returns:
        The second is None where the cluster has a queue, which takes all of them.
    """
    is_submitit = launcher == "submitit"
    cpus = int(options.get("cpus_per_task" if is_submitit else "num_cpus", 1))
    here = is_here(launcher, options)
    most = max(1, count_cores() // cpus) if here else count
    if is_submitit:
        most = int(options.get("array_parallelism", most if here else 256))
    plan = WorkerPlan(min(most, count), cpus, why=f"hydra/launcher={launcher}")
    return plan, plan.processes if here else None


def is_here(launcher: str, options: Mapping[str, Any]) -> bool:
    """Return whether a launcher of ours runs all jobs on this machine."""
    if launcher == "submitit":
        return options.get("cluster") == "local"
    return not options.get("address")


def _is_hang_up(stop: StopRequest) -> bool:
    return hasattr(signal, "SIGHUP") and stop.signal_number == signal.SIGHUP


def _find_code(found: Sequence[Message]) -> int:
    last = found[-1] if found else None
    return last.code if isinstance(last, (Ended, Lost)) else 1
