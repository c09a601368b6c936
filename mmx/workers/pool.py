"""Runs numbered jobs in several worker processes; one that dies costs its own job at most."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType

from mmx.errors import BUDGET_USED
from mmx.training.events import StopRequest, stop_on_signals
from mmx.workers.messages import Ended, Lost, Message
from mmx.workers.plan import WorkerPlan
from mmx.workers.worker import Work, serve

TICK_SECONDS = 0.1
"""Most time between two looks at signals and at the clock."""
END_SECONDS = 30.0
"""Time that the workers have to end by themselves."""
Hear = Callable[[int, Message], None]


@dataclass
class _Worker:
    """A worker process; ``slot`` is its place in the plan, ``job`` what it does at present."""

    process: BaseProcess
    connection: Connection
    slot: int
    job: int | None = None

    def give(self, job: int) -> None:
        self.connection.send(job)
        self.job = job


@dataclass
class Pool:
    """The workers of a sweep.

    Args:
        work: Runs a job by its number. Where workers are no forks, it is pickled.
        plan: How many workers, and how they share the machine.
        hear: Called in this process with each message of a job.
        tick: Called several times a second, to redraw a view.
    """

    work: Work
    plan: WorkerPlan
    hear: Hear
    tick: Callable[[], None] = lambda: None
    _workers: list[_Worker] = field(default_factory=list)
    _over_budget: bool = False

    def __enter__(self) -> Pool:
        """Return the pool; its workers end with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """End the workers: idle ones end themselves; SIGTERM makes the others save their runs."""
        self._end()

    def run(self, jobs: Sequence[int], until: float | None = None) -> int:
        """Run jobs in their order; return 0, or the exit code of a sweep that was stopped.

        The workers stay, for the next jobs.

        Args:
            jobs: Their numbers.
            until: When a budget of time is used up, in seconds since 1970: no job begins after
                that. Those that run are stopped by themselves.
        """
        waiting = deque(jobs)
        with stop_on_signals(until) as stop:
            self._run(waiting, stop)
        if stop.signal_number is not None:
            return 128 + stop.signal_number
        return BUDGET_USED if self._over_budget else 0

    def _run(self, waiting: deque[int], stop: StopRequest) -> None:
        told = 0
        while waiting or any(each.job is not None for each in self._workers):
            try:
                if stop.signal_number is not None and not told:
                    told = self._pass_on(stop.signal_number)
                if stop.is_made and waiting:
                    # Without a signal it was the clock that asked.
                    self._over_budget = stop.signal_number is None
                    waiting.clear()
                self._give(waiting)
                self._listen()
                self.tick()
            except KeyboardInterrupt:  # a second signal: workers stop at once
                waiting.clear()
                told = self._pass_on(stop.signal_number or signal.SIGTERM)

    def _give(self, waiting: deque[int]) -> None:
        """Give jobs to idle workers, and start workers while there are too few."""
        while waiting:
            idle = next((each for each in self._workers if each.job is None), None)
            if idle is None:
                if len(self._workers) >= self.plan.processes:
                    return
                idle = self._start()
            try:
                idle.give(waiting[0])
            except OSError:  # it died while it was idle
                self._drop(idle)
                continue
            waiting.popleft()

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("fork" if self.plan.forks else "spawn")
        here, there = context.Pipe()
        # The place of a worker that died is free again, and with it its GPU.
        taken = {each.slot for each in self._workers}
        slot = next(number for number in range(self.plan.processes) if number not in taken)
        # A fork copies these ends: kept open there, they would hide the end of this process.
        inherited = [each.connection for each in self._workers] + [here] if self.plan.forks else []
        with _visible_gpu(self.plan.gpus, slot):
            # Not daemonic: a run may start processes that decode.
            process: BaseProcess = context.Process(  # type: ignore[attr-defined]
                target=serve,
                args=(there, self.work, self.plan.threads, inherited),
                name=f"mmx-worker-{slot + 1}",
            )
            process.start()
        there.close()  # so that its end is noticed
        worker = _Worker(process, here, slot)
        self._workers.append(worker)
        return worker

    def _listen(self) -> None:
        """Wait for messages and for workers that die, and pass on what they say."""
        places = [each.connection for each in self._workers]
        wait([*places, *(each.process.sentinel for each in self._workers)], TICK_SECONDS)
        for worker in list(self._workers):
            died = not worker.process.is_alive()  # before reading, so that nothing is left unread
            self._read(worker)
            if died:
                self._drop(worker)

    def _read(self, worker: _Worker) -> None:
        with contextlib.suppress(EOFError, OSError):
            while worker.connection.poll():
                message = worker.connection.recv()
                job = worker.job
                if isinstance(message, Ended):
                    worker.job = None
                    self._over_budget = self._over_budget or message.code == BUDGET_USED
                if job is not None:
                    self.hear(job, message)

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.join()
        worker.connection.close()
        if worker.job is not None:
            self.hear(worker.job, Lost(worker.process.exitcode or 0))

    def _pass_on(self, number: int) -> int:
        """Send a signal to all workers; return its number."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                os.kill(worker.process.pid or 0, number)
        return number

    def _end(self) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                if worker.job is None:
                    worker.connection.send(None)
                else:
                    os.kill(worker.process.pid or 0, signal.SIGTERM)
        # One deadline for all of them, since they save at the same time.
        until = time.monotonic() + END_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
        self._workers.clear()


@contextlib.contextmanager
def _visible_gpu(gpus: Sequence[str], number: int) -> Iterator[None]:
    """Let the process that is started inside the block see one GPU alone."""
    if not gpus:
        yield
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
