"""How many cores are free, and so with how many threads a run of its own computes.

Two threads meet at the end of every operator. Where another program has a core, both wait for the
one that is not running, and a run with two threads is many times slower than with one.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from mmx.workers.machine import count_cores, read_used_seconds

WINDOW = 0.1
"""Seconds over which cores are observed at least; the system counts in hundredths."""
_STAT = Path("/proc/stat")
IDLE, WAITING = 3, 4  # columns of /proc/stat after the name of a core


@dataclass(frozen=True)
class CoreTimes:
    """What cores and this process had done at a moment, in seconds.

    Attributes:
        moment: When it was read.
        idle: For how long the cores that this process may use have had nothing to do.
        own: For how long this process has computed.
        group: For how long its control group has, which a quota may bound; None where unknown.
        told: What the system accounts for, idle or not: in the mean of the cores as much as has
            passed.
    """

    moment: float
    idle: float
    own: float
    group: float | None
    told: float

    @classmethod
    def read(cls) -> Self | None:
        """Return the times of this moment; None on a system that does not tell."""
        told = _read_core_seconds()
        if told is None:
            return None
        idle, mean = told
        return cls(time.perf_counter(), idle, time.process_time(), read_used_seconds(), mean)


def _read_core_seconds() -> tuple[float, float] | None:
    """Return for how long this process's cores were idle since the system started, and the mean.

    The mean over cores of all that is told. None where the system does not tell: sandboxes have a
    file of zeros.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    try:
        lines = [line.split() for line in _STAT.read_text().splitlines()]
        cores = [[int(n) for n in ticks] for name, *ticks in lines if name in mine]
    except (OSError, ValueError):
        return None
    idle, told = sum(sum(each[IDLE : WAITING + 1]) for each in cores), sum(map(sum, cores))
    second = os.sysconf("SC_CLK_TCK")
    return (idle / second, told / second / len(cores)) if idle else None


def measure_free_cores(since: CoreTimes | None) -> float | None:
    """Return how many cores others have left to this process since a moment; None if unknown.

    Args:
        since: The times of that moment.
    """
    if since is None:
        return None
    time.sleep(max(0.0, WINDOW - (time.perf_counter() - since.moment)))
    now = CoreTimes.read()
    if now is None:
        return None
    elapsed, own = now.moment - since.moment, now.own - since.own
    if now.told - since.told < elapsed / 2:  # the times stand still, as in some sandboxes
        return None
    free = (now.idle - since.idle + own) / elapsed
    cores = count_cores()
    if now.group is not None and since.group is not None:
        # Of a quota, what other processes of the group take is not free.
        free = min(free, cores - (now.group - since.group - own) / elapsed)
    return max(0.0, min(free, float(cores)))


def choose_threads(usual: int, free: float | None) -> int:
    """Return with how many threads to compute.

    Args:
        usual: As many as torch takes.
        free: Cores that are free, in parts; None if unknown.
    """
    if free is None or free >= usual - 0.4:  # a core that is used now and then is no neighbour
        return usual
    return max(1, min(usual, int(free + 0.25)))


def take_free_threads(given: int | None, since: CoreTimes | None) -> str:
    """Let torch compute with as many threads as cores are free, and return a note; "" for none.

    ``OMP_NUM_THREADS`` and ``trainer.threads`` decide before.

    Args:
        given: ``trainer.threads``.
        since: The times of a moment before.
    """
    import torch

    usual = torch.get_num_threads()
    if given is not None or usual == 1 or os.environ.get("OMP_NUM_THREADS"):
        return ""
    free = measure_free_cores(since)
    chosen = choose_threads(usual, free)
    if free is None or chosen == usual:
        return ""
    torch.set_num_threads(chosen)
    words = "one thread" if chosen == 1 else f"{chosen} threads"
    return (
        f"other programs leave {free:.1f} of {count_cores()} cores: this run computes with {words} "
        f"(trainer.threads={usual} sets them)"
    )
