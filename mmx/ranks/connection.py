"""How the processes of a run find each other, and what they tell each other before it begins.

A store holds a few texts: the job that the first process gives, and why a process has ended. The
processes of one machine share a store in a folder of their own, so that nothing listens on a port
for it; those of torchrun share torchrun's.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from mmx.json_object import Json
from mmx.processes.group import Group, ProcessGroup, join_group
from mmx.training.events import StopRequest
from mmx.untrusted import parse_yaml
from mmx.yaml_text import dump_yaml

PATIENCE = timedelta(days=7)
"""Time that a process waits for another; one that has died is noticed at once all the same."""
TICK_SECONDS = 0.05
"""Time between two looks at what another process says."""
JOB = "job"
LOOPBACK = {"linux": "lo", "darwin": "lo0"}
"""The interface over which the processes of one machine talk, which nobody else can reach."""


@dataclass(frozen=True)
class RankJob:
    """The run that the followers take part in.

    Attributes:
        config: Its config, as the first process has it.
        allowed: Packages other than mmx whose classes the config may name.
        names: Config group to the option that chose it.
        directory: The run directory.
        cached: Whether the artifact cache may be used.
        threads: CPU threads of each process.
    """

    config: Json
    allowed: list[str]
    names: dict[str, str]
    directory: str
    cached: bool
    threads: int


@dataclass(frozen=True)
class RankEnd:
    """Why a process has ended: an error, or a signal that asked it to stop."""

    error: str
    signal_number: int | None = None


@dataclass(frozen=True)
class Connection:
    """A process's place among those of a run, and the store that they share."""

    store: Store
    rank: int
    size: int

    def give(self, job: RankJob | None) -> None:
        """Give the followers their job; None lets them go."""
        self.store.set(JOB, "" if job is None else dump_yaml(asdict(job)))

    def wait_for_job(self, stop: StopRequest) -> RankJob | None:
        """Return the job that the first process gives; None where it has none.

        Raises:
            Interrupted: A signal has asked to stop.
        """
        # Asked again and again: a wait of the store itself would not hear of a signal.
        while not self.store.check([JOB]):
            if stop.is_made:
                raise stop.describe("stopped before the run began")
            time.sleep(TICK_SECONDS)
        text = self.store.get(JOB).decode()
        return RankJob(**parse_yaml(text, dict, Path(JOB))) if text else None

    def say_ready(self) -> None:
        """Say that this process has all that it needs of the run directory."""
        self.store.set(f"ready-{self.rank}", "yes")

    def is_ready(self, rank: int) -> bool:
        """Return whether a process has said that it is ready."""
        return bool(self.store.check([f"ready-{rank}"]))

    def say_end(self, ended: RankEnd) -> None:
        """Say why this process has ended."""
        self.store.set(f"ended-{self.rank}", dump_yaml(asdict(ended)))

    def find_end(self, rank: int) -> RankEnd | None:
        """Return why a process has ended; None while it has not said so."""
        key = f"ended-{rank}"
        if not self.store.check([key]):
            return None
        return RankEnd(**parse_yaml(self.store.get(key).decode(), dict, Path(key)))

    @contextmanager
    def open_group(
        self, device: torch.device, threads: int, explain: Callable[[Exception], Exception]
    ) -> Iterator[Group]:
        """Connect all processes, and train and evaluate with them inside the block.

        Args:
            device: Where this process computes.
            threads: CPU threads of each process.
            explain: Turns an error of the connection into one that says which process has ended.
        """
        # On GPUs, sums go from GPU to GPU; what all must agree on is not made to wait for them.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            dist.init_process_group(
                backend,
                store=PrefixStore("group", self.store),
                rank=self.rank,
                world_size=self.size,
                timeout=PATIENCE,
            )
            try:
                group = ProcessGroup(self.rank, self.size, explain)
                with join_group(group):
                    yield group
            finally:
                dist.destroy_process_group()
        finally:
            torch.set_num_threads(before)


def connect_in(folder: Path, rank: int, size: int) -> Connection:
    """Return the connection of processes of one machine that share a folder."""
    # Before gloo starts, which reads it then; what the user has set stays.
    if sys.platform in LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK[sys.platform])
    return Connection(FileStore(str(folder / "store"), size), rank, size)


def connect_by_torchrun() -> Connection:
    """Return the connection of the processes that torchrun has started."""
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    return Connection(PrefixStore("mmx", store), rank, size)
