"""What of a machine this process may use: cores, memory and GPUs."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def count_cores() -> int:
    """Return the number of cores that this process may use: its affinity and its quota count."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS and Windows
        cores = os.cpu_count() or 1
    quota = _read_quota(_CGROUP / "cpu.max")
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _read_quota(path: Path) -> float | None:
    """Return the cores that a control group grants; None where it sets no limit."""
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):  # no cgroup of version 2
        return None


def read_used_seconds() -> float | None:
    """Return for how long the control group has computed; None where it has no quota."""
    if _read_quota(_CGROUP / "cpu.max") is None:
        return None
    try:
        facts = dict(line.split() for line in (_CGROUP / "cpu.stat").read_text().splitlines())
        return int(facts["usage_usec"]) / 1e6
    except (OSError, ValueError, KeyError):
        return None


def find_free_memory() -> int | None:
    """Return the bytes of memory that new processes can take; None where the system is silent."""
    free = _read_meminfo()
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # "max", or no cgroup of version 2
        return free
    left = max(0, limit - used)
    return left if free is None else min(free, left)


def _read_meminfo() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def list_gpus() -> list[str]:
    """Return the GPUs as ``CUDA_VISIBLE_DEVICES`` names them; empty without CUDA."""
    if not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given:
        return [name.strip() for name in given.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]
