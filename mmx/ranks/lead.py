"""The first process of a run: it starts or finds the others, gives them the run, and leads it."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mmx.errors import ConfigError, Interrupted, MmxError, Problem, ProcessError, UsageError
from mmx.experiment import Experiment
from mmx.ranks import torchrun
from mmx.ranks.connection import (
    TICK_SECONDS,
    Connection,
    RankJob,
    connect_by_torchrun,
    connect_in,
)
from mmx.runs.directory import RunDirectory
from mmx.training.events import StopRequest, hold_signals
from mmx.training.precision import choose_device
from mmx.workers.machine import count_cores

FOLLOW = "import sys; sys.path[:] = sys.argv[4:]; from mmx.ranks.follow import follow; follow()"
"""What a follower runs; its arguments: folder, rank, number of processes, the import path."""
END_SECONDS = 5.0
"""Time in which a process that has ended says why."""

_GIVEN: list[Connection] = []
"""The connection to the processes of torchrun, once they have a job: they take one."""


@dataclass
class _Followers:
    """The other processes of a run.

    Attributes:
        connection: To all of them.
        started: Those that this process has started, in the order of their ranks; empty where
            torchrun has started them.
        folder: Where what they write of themselves lies.
    """

    connection: Connection
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    folder: Path | None = None

    def wait(self, directory: RunDirectory, stop: StopRequest) -> None:
        """Wait until all have the run, and have copied its directory.

        Raises:
            ProcessError: One has died before.
            Interrupted: A signal has asked to stop, or the budget of time is used up.
        """
        waiting = list(range(1, self.connection.size))
        # Those of torchrun that are ready already wait in torch, where nothing reaches them: they
        # stop with this process before the first step, if all get there.
        grace, until = 0.0 if self.started else END_SECONDS, math.inf
        while waiting:
            if stop.is_made:
                until = min(until, time.monotonic() + grace)
            if time.monotonic() >= until:
                raise stop.describe("stopped while the processes of the run were starting")
            for rank in waiting:
                if found := self._find_end(rank, directory):
                    raise found
            waiting = [rank for rank in waiting if not self.connection.is_ready(rank)]
            time.sleep(TICK_SECONDS)

    def explain(self, directory: RunDirectory) -> Callable[[Exception], Exception]:
        """Return what turns an error of the connection into one that says who has ended."""

        def explain(error: Exception) -> Exception:
            until = time.monotonic() + END_SECONDS
            while time.monotonic() < until:
                for rank in range(1, self.connection.size):
                    if found := self._find_end(rank, directory):
                        return found
                time.sleep(TICK_SECONDS)
            return ProcessError(
                f"the connection to the other processes is closed: {error}", tip=_resume(directory)
            )

        return explain

    def _find_end(self, rank: int, directory: RunDirectory) -> MmxError | None:
        """Return why a process has ended; None while it has not."""
        who = f"rank {rank} of {self.connection.size} processes"
        ended = None
        with contextlib.suppress(RuntimeError):  # the store has gone with its process
            ended = self.connection.find_end(rank)
        if ended is not None and ended.signal_number is not None:
            return Interrupted(ended.error, signal_number=ended.signal_number)
        if ended is not None:
            return ProcessError(f"{who} has failed: {ended.error}")
        code = self.started[rank - 1].poll() if self.started else None
        if code is None:
            return None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "has ended"
        said = self._read_last_lines(rank) if code >= 0 else ""
        return ProcessError(f"{who} {how}{said}", tip=_resume(directory))

    def _read_last_lines(self, rank: int) -> str:
        if self.folder is None:
            return ""
        text = (self.folder / f"rank-{rank}.log").read_text(errors="replace").strip()
        return f": {text.splitlines()[-1]}" if text else ""

    def end(self) -> None:
        """Let those that this process has started go: they end when their stdin does."""
        # All stdins first, so that they end side by side.
        for process in self.started:
            if process.stdin is not None:
                process.stdin.close()
        for process in self.started:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def lead(
    experiment: Experiment, directory: RunDirectory, stop: StopRequest, *, cached: bool
) -> Iterator[None]:
    """Run what is in the block with as many processes as an experiment asks for.

    Args:
        experiment: What is run.
        directory: Its run directory, held by this process.
        stop: Read until all processes are there.
        cached: Whether the artifact cache may be used.

    Raises:
        ProcessError: A process has died.
        Interrupted: A signal has asked to stop before all processes were there.
    """
    if experiment.settings.processes == 1:
        yield
        return
    threads, device = find_threads(experiment), choose_device(experiment.settings.device)
    if device.type == "cuda":
        torch.cuda.set_device(torchrun.find_local_rank())
    job = RankJob(
        experiment.config,
        list(experiment.allowed),
        dict(experiment.names),
        str(directory.path.resolve()),
        cached,
        threads,
    )
    with _find_followers(experiment.settings.processes) as followers:
        followers.connection.give(job)
        followers.wait(directory, stop)
        with followers.connection.open_group(device, threads, followers.explain(directory)):
            yield


@contextmanager
def _find_followers(size: int) -> Iterator[_Followers]:
    """Find the processes that torchrun has started, or start some; let them go after the block."""
    if torchrun.find_size() > 1:
        _GIVEN.append(connect_by_torchrun())
        yield _Followers(_GIVEN[0])
        return
    with tempfile.TemporaryDirectory(prefix="mmx-ranks-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        followers = _Followers(connect_in(folder, 0, size), folder=folder)
        try:
            for rank in range(1, size):
                followers.started.append(_start(folder, rank, size))
            yield followers
        finally:
            followers.end()


def _start(folder: Path, rank: int, size: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", FOLLOW, str(folder), str(rank), str(size), *sys.path]
    # Until it can note them: a Ctrl-C also goes to those that are still starting.
    with (folder / f"rank-{rank}.log").open("wb") as log, hold_signals():
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)


def release_followers() -> None:
    """Let the processes of torchrun go that were given no run, as after ``--dry-run``."""
    if not _GIVEN:
        connect_by_torchrun().give(None)


def find_threads(experiment: Experiment) -> int:
    """Return the CPU threads of each process of an experiment."""
    if experiment.trainer.threads is not None:
        return experiment.trainer.threads
    usual = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ:
        return usual
    return max(1, usual // experiment.settings.processes)


def require_processes(experiment: Experiment, run: Path | None = None) -> None:
    """Check that this machine, or torchrun, has as many processes as an experiment asks for.

    Args:
        experiment: It asks for them.
        run: The run that goes on, for advice: its number of processes is part of what it is.

    Raises:
        ConfigError: It has another number.
        UsageError: torchrun has started a program that calls mmx.
    """
    size, there = experiment.settings.processes, torchrun.find_size()
    if torchrun.find_rank():
        reason = "torchrun has started this program several times, and each would train"
        raise UsageError(reason, tip="torchrun -m mmx train, or python with processes=2")
    if there not in (1, size):
        reason = f"torchrun has started {there} processes"
        typed = f"torchrun --nproc-per-node={size} -m mmx …   (or mmx … without torchrun)"
        raise ConfigError([Problem(f"processes={size}", reason, type_this=typed)])
    if size == 1 or there == size:
        return
    cuda = choose_device(experiment.settings.device).type == "cuda"
    most = torch.cuda.device_count() if cuda else max(2, count_cores())
    if size > most:
        kind = "GPU" if cuda else "core"
        has = f"{most} {kind}{'s' if most > 1 else ''}"
        again = "" if run is None else f"mmx reproduce {shlex.quote(str(run))} "
        raise ConfigError(
            [
                Problem(
                    f"processes={size}",
                    f"each takes a {kind}, and this machine has {has}",
                    accepted=f"1 to {most}",
                    type_this=f"{again}processes={most}",
                )
            ]
        )


def _resume(directory: RunDirectory) -> str:
    return f"mmx resume {shlex.quote(str(directory.path))}   (from the last saved state)"
