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
            return f"{text}, a GPU each"
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
    jobs: Literal["auto"] | int, count: int, threads: int | None, *, cuda: bool
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

    Raises:
        UsageError: ``MMX_JOBS`` is no number.
    """
    gpus = list_gpus() if cuda else []
    cores = count_cores()
    if threads is None and (given := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        threads = max(1, int(given))
    usual = _read_usual_jobs()
    if jobs == "auto" and usual is not None:
        processes, why = min(usual, count), f"MMX_JOBS={usual}"
    elif jobs == "auto":
        processes, why = _choose_processes(count, cores // (threads or 1), gpus)
    else:
        processes, why = min(jobs, count), f"jobs={jobs}"
    if processes <= 1:
        return WorkerPlan(1, threads, why=why)
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


def _choose_processes(count: int, places: int, gpus: Sequence[str]) -> tuple[int, str]:
    """Return how many jobs run at the same time, and what decided it."""
    if gpus:
        return min(count, len(gpus)), f"{len(gpus)} GPUs" if len(gpus) > 1 else "one GPU"
    free = find_free_memory()
    room = count if free is None else max(1, free // JOB_BYTES)
    found = max(1, min(count, places, room))
    if found < min(count, places):
        return found, f"{(free or 0) / 1e9:.0f} GB of free memory"
    return found, f"{max(1, places)} cores" if count > places else f"{count} jobs"
