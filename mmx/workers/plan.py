"""How the jobs of a sweep share a machine: processes, threads of each, and GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmx.errors import UsageError
from mmx.workers.machine import count_cores, find_free_memory, list_gpus

JOB_BYTES = 1_500_000_000
"""Memory that a job is expected to need: torch, its data and a small model."""


@dataclass(frozen=True)
class WorkerPlan:
    """How jobs are run side by side.

    Attributes:
        processes: How many run at the same time; 1 for one after the other, in this process.
        threads: CPU threads of each; None for torch's own choice.
        gpus: The GPU of each worker; empty where they compute on the CPU.
        why: What decided the number of processes, for people.
    """

    processes: int
    threads: int | None = None
    gpus: tuple[str, ...] = ()
    why: str = ""

    def describe(self) -> str:
        """Return how many jobs run at the same time, why, and with what, for people."""
        text = f"{self.processes} at the same time ({self.why})"
        if self.gpus:
            each = self.gpus[0].count(",") + 1
            return f"{text}, {'a GPU' if each == 1 else f'{each} GPUs'} each"
        if self.threads is None:
            return text
        return f"{text}, {self.threads} {'thread' if self.threads == 1 else 'threads'} each"

    @property
    def forks(self) -> bool:
        """Whether workers are copies of this process, with all that it has imported.

        Neither CUDA nor the threads of OpenMP survive a fork; with one thread, OpenMP starts none.
        """
        return hasattr(os, "fork") and self.threads == 1 and not self.gpus


def plan_workers(
    jobs: Literal["auto"] | int, count: int, threads: int | None, *, cuda: bool, size: int = 1
) -> WorkerPlan:
    """Return how a number of jobs is run.

    The plan depends on the number of all jobs of a sweep, done or not: so those that remain after
    an interruption compute with as many threads, and give the same numbers.

    Args:
        jobs: How many run at the same time; ``auto`` decides by cores, memory and GPUs, unless
            the environment variable ``MMX_JOBS`` is a number.
        count: The number of jobs of the sweep.
        threads: The CPU threads that the config gives to each; None if it does not say.
        cuda: Whether they compute on GPUs, if there are any.
        size: The number of processes of each.

    Raises:
        UsageError: ``MMX_JOBS`` is no number.
    """
    gpus = _group_gpus(list_gpus() if cuda else [], size)
    cores = count_cores()
    if threads is None and (given := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        threads = max(1, int(given))
    usual = _read_usual_jobs()
    if jobs == "auto" and usual is not None:
        processes, why = min(usual, count), f"MMX_JOBS={usual}"
    elif jobs == "auto":
        processes, why = _choose_processes(count, cores // (threads or 1), gpus, size)
    else:
        processes, why = min(jobs, count), f"jobs={jobs}"
    if processes <= 1:
        return WorkerPlan(1, threads, why=why)
    # Of a job with several processes these are the threads of all, which it divides.
    placed = tuple(gpus[index % len(gpus)] for index in range(processes)) if gpus else ()
    return WorkerPlan(processes, threads or max(1, cores // processes), placed, why)


def _read_usual_jobs() -> int | None:
    """Return what ``MMX_JOBS`` says; None where it says nothing."""
    given = os.environ.get("MMX_JOBS", "").strip()
    if given in ("", "auto"):
        return None
    if not given.isdecimal() or not int(given):
        raise UsageError(f"MMX_JOBS={given} is no number of jobs", tip="MMX_JOBS=2, or unset it")
    return int(given)


def _group_gpus(gpus: Sequence[str], size: int) -> list[str]:
    """Return what each job sees: as many GPUs as it has processes, if there are so many."""
    return [",".join(gpus[at : at + size]) for at in range(0, len(gpus) - size + 1, size)]


def _choose_processes(count: int, threads: int, gpus: Sequence[str], size: int) -> tuple[int, str]:
    """Return how many jobs run at the same time, and what decided it.

    Args:
        count: The number of jobs.
        threads: How many threads of a process the cores are enough for.
        gpus: What each of the jobs that GPUs are enough for sees.
        size: The number of processes of each.
    """
    places = threads // size
    if gpus:
        there = len(gpus) * size
        return min(count, len(gpus)), f"{there} GPUs" if there > 1 else "one GPU"
    free = find_free_memory()
    room = count if free is None else max(1, free // (JOB_BYTES * size))
    found = max(1, min(count, places, room))
    if found < min(count, places):
        return found, f"{(free or 0) / 1e9:.0f} GB of free memory"
    return found, f"{max(1, threads)} cores" if count > places else f"{count} jobs"
