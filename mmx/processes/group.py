"""The processes that train one run together: what the loop and the evaluation know of them.

Every process runs the whole program on the same config, draws the same order of rows, and takes
its share of each batch. A loss is the share's part of the loss of the whole step, as it is where
batches are accumulated, so that the sum over processes is the loss of one process, also where a
last batch is uneven or classes are weighted.

Gradients are added up once, after the backward passes of a step, instead of by torch's
``DistributedDataParallel``:

- a parameter that no row of this process needed (an absent modality) takes part like any other,
  and one that no row of any process needed keeps no gradient, as in one process;
- accumulation, unfreezing and several losses need no special case, since no hook counts backward
  passes;
- sums have one fixed order, so that two launches are equal bit for bit, and checks and clipping
  see the gradients of the whole step.

The price: nothing is sent while the backward pass runs.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmx.errors import ProcessError
from mmx.processes.batch_norm import (
    NormRows,
    list_statistics,
    sum_over_processes,
    synchronise,
)
from mmx.processes.shares import Rows, divide_step

T = TypeVar("T")

CONNECTION = re.compile("gloo|NCCL", re.IGNORECASE)
"""What torch's errors of a connection name."""
BUCKET = 2**24
"""Most numbers that are sent at once: a copy of them is made."""


class Group:
    """The processes of a run; this class is the usual case, a process alone.

    Attributes:
        rank: The number of this process, from 0.
        size: The number of processes.
        shares_step: Whether all of them compute the batch norms of this step together.
    """

    rank = 0
    size = 1
    shares_step = False

    @property
    def size_here(self) -> int:
        """The number of processes on this machine."""
        return 1

    @property
    def stream(self) -> tuple[str | int, ...]:
        """What random draws depend on besides the step: in the first process nothing else."""
        return ("rank", self.rank) if self.rank else ()

    def share(self, batches: Sequence[Rows]) -> list[Rows]:
        """Return this process's share of each batch of a step, without empty ones.

        The step that is asked for last is the one that is taken next.
        """
        return list(batches)

    def add_statistic(self, value: Tensor) -> Tensor:
        """Return a sum over a batch's rows as the batch norms of this step need it."""
        return value

    @contextmanager
    def count_norm_rows(self, model: nn.Module) -> Iterator[None]:
        """Count the rows that each batch norm sees inside the block, in which steps are taken.

        Args:
            model: The model.
        """
        yield

    @contextmanager
    def synchronise(self, model: nn.Module, kind: Callable[[Rows], object]) -> Iterator[None]:
        """Let batch norms see all rows of a batch inside the block, in which steps are taken.

        Args:
            model: The model.
            kind: Which layers a share needs: its modalities. None: it cannot be computed together
                with the others.
        """
        yield

    def add_up(
        self, model: nn.Module, loss: Tensor, penalties: list[Tensor], batches: Sequence[Rows]
    ) -> Tensor:
        """Add up a step's gradients and losses over the processes, after the backward passes.

        Args:
            model: The model, with the gradients of this process's rows; it gets those of all.
            loss: The loss of this process's rows.
            penalties: The part of it that regularisers added; replaced by the sum.
            batches: The rows of the step, of all processes.

        Returns:
            The loss of all rows.
        """
        return loss

    def agree(self, reason: int | None) -> int | None:
        """Return the signal that asked any of the processes to stop; None if none was asked."""
        return reason

    def spread(
        self, items: Sequence[T], compute: Callable[[Sequence[T]], list[Any]], device: torch.device
    ) -> list[Any]:
        """Compute one result for each item, each process some of them; return all, in order."""
        return compute(items)

    def make_once(self, find: Callable[[Callable[[], T]], T], make: Callable[[], T]) -> T:
        """Return what the first process finds; where it finds nothing, all make it together.

        Args:
            find: Called in the first process with a function that makes it.
            make: Makes it, with all processes.
        """
        return find(make)

    def require_equal(self, tensors: Mapping[str, Tensor], when: str) -> None:
        """Check that all processes have the same tensors.

        Raises:
            ProcessError: They differ.
        """


class ProcessGroup(Group):
    """Several processes that ``torch.distributed`` connects.

    Args:
        rank: The number of this process.
        size: The number of processes.
        explain: Turns an error of the connection into one that says which process has ended.
    """

    def __init__(self, rank: int, size: int, explain: Callable[[Exception], Exception]) -> None:
        self.rank, self.size, self._explain = rank, size, explain
        self._kind: Callable[[Rows], object] | None = None
        self.shares_step = False
        self._norm_rows: NormRows | None = None

    @property
    def size_here(self) -> int:
        """The number of processes on this machine: torchrun says it where there are several."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return self.size
        return int(os.environ["LOCAL_WORLD_SIZE"])

    @contextmanager
    def _explain_closing(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # the connection to another process was closed
            raise self._explain(error) from error

    def share(self, batches: Sequence[Rows]) -> list[Rows]:
        """Return this process's share of each batch."""
        shares = divide_step(batches, self.size, self._kind)
        self.shares_step = self._kind is not None and all(len(rows) for rows in shares[-1])
        return [rows for rows in shares[self.rank] if len(rows)]

    def add_statistic(self, value: Tensor) -> Tensor:
        """Return the sum over the processes, where they share a step and its batch norms."""
        return sum_over_processes(value) if self.shares_step else value

    @contextmanager
    def count_norm_rows(self, model: nn.Module) -> Iterator[None]:
        """Count them, since running statistics are weighed by them."""
        self._norm_rows = NormRows(model)
        try:
            with self._norm_rows.counting():
                yield
        finally:
            self._norm_rows = None

    @contextmanager
    def synchronise(self, model: nn.Module, kind: Callable[[Rows], object]) -> Iterator[None]:
        """Compute the statistics of all processes."""
        self._kind = kind
        try:
            with synchronise(model, self), self.count_norm_rows(model):
                yield
        except RuntimeError as error:
            if CONNECTION.search(str(error)):  # within a layer, or its backward pass
                raise self._explain(error) from error
            raise
        finally:
            self._kind, self.shares_step = None, False

    def add_up(
        self, model: nn.Module, loss: Tensor, penalties: list[Tensor], batches: Sequence[Rows]
    ) -> Tensor:
        """Add up; running statistics of batch norm become their mean, weighed by rows.

        The rows are those that the norm has seen in each process.

        Raises:
            RuntimeError: Nothing has counted the rows that batch norms see.
        """
        if self._norm_rows is None:
            raise RuntimeError("add_up outside of count_norm_rows and synchronise")
        trainable = [each for each in model.parameters() if each.requires_grad]
        self._complete_gradients(trainable, loss.device)
        penalty = torch.zeros((), device=loss.device)
        for each in penalties:
            penalty += each
        shares = divide_step(batches, self.size, self._kind)
        statistics = self._weigh_statistics(self._norm_rows, sum(map(len, shares[self.rank])))
        gradients = [each.grad for each in trainable if each.grad is not None]
        self._sum([*gradients, *statistics, loss, penalty])
        self._norm_rows.start_step()
        penalties[:] = [penalty] if penalties else []
        return loss

    @torch.no_grad()
    def _weigh_statistics(self, seen: NormRows, usual: int) -> list[Tensor]:
        """Weigh running statistics by the rows that each process has seen; return those to sum.

        Those that no process has changed are left out: they stay as they are. Counts of batches
        become the largest of all processes.

        Args:
            seen: The rows of each norm.
            usual: Rows that this process has taken.
        """
        if not seen.norms:
            return []
        own = seen.list_seen(usual)
        total = torch.tensor(own)
        with self._explain_closing():
            dist.all_reduce(total)
        statistics, counters = [], []
        for norm, rows, of in zip(seen.norms, own, total.tolist(), strict=True):
            if not of:
                continue
            for each in list_statistics(norm):
                statistics.append(each.mul_(rows / of))
            if norm.num_batches_tracked is not None:
                counters.append(norm.num_batches_tracked)
        if counters:
            most = torch.stack(counters)
            with self._explain_closing():
                dist.all_reduce(most, op=dist.ReduceOp.MAX)
            for each, number in zip(counters, most, strict=True):
                each.copy_(number)
        return statistics

    @torch.no_grad()
    def _complete_gradients(self, trainable: Sequence[nn.Parameter], device: torch.device) -> None:
        """Give a parameter a gradient of zeros where only other processes have one."""
        there = torch.tensor([each.grad is not None for each in trainable], dtype=torch.uint8)
        with self._explain_closing():
            dist.all_reduce(there, op=dist.ReduceOp.MAX)
        for parameter, anywhere in zip(trainable, there.tolist(), strict=True):
            if anywhere and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    @torch.no_grad()
    def _sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes; small ones are sent together."""
        # In the same order in every process: a sum pairs what is sent at the same time.
        for bucket in _fill_buckets(tensors):
            flat = torch.cat([each.reshape(-1) for each in bucket])
            with self._explain_closing():
                dist.all_reduce(flat)
            parts = torch.split(flat, [each.numel() for each in bucket])
            for each, part in zip(bucket, parts, strict=True):
                each.copy_(part.view(each.shape))

    def agree(self, reason: int | None) -> int | None:
        """Return the largest number of all processes."""
        number = torch.tensor([reason or 0])
        with self._explain_closing():
            dist.all_reduce(number, op=dist.ReduceOp.MAX)
        return int(number) or None

    def spread(
        self, items: Sequence[T], compute: Callable[[Sequence[T]], list[Any]], device: torch.device
    ) -> list[Any]:
        """Compute every ``size``-th item here, and gather the results in their order."""
        if len(items) < self.size:
            return compute(items)
        # As bytes: tensors on a GPU would be gathered onto the GPU of their sender.
        own = io.BytesIO()
        torch.save(compute(items[self.rank :: self.size]), own)
        gathered: list[bytes] = [b""] * self.size
        with self._explain_closing():
            dist.all_gather_object(gathered, own.getvalue())
        # Written a moment ago by a process of this run: its classes are those of this process.
        parts = [
            torch.load(io.BytesIO(each), map_location=device, weights_only=False)
            for each in gathered
        ]
        return [parts[place % self.size][place // self.size] for place in range(len(items))]

    def make_once(self, find: Callable[[Callable[[], T]], T], make: Callable[[], T]) -> T:
        """Let the first process look, since it alone may hold a lock while others wait for it."""
        if self.rank:
            together, found = self._hear()
            return make() if together else found
        told = False

        def make_together() -> T:
            nonlocal told
            told = True
            self._tell((True, None))
            return make()

        result = find(make_together)
        if not told:
            self._tell((False, result))
        return result

    def _tell(self, what: Any) -> None:
        with self._explain_closing():
            dist.broadcast_object_list([what], src=0, device=torch.device("cpu"))

    def _hear(self) -> Any:
        heard: list[Any] = [None]
        with self._explain_closing():
            dist.broadcast_object_list(heard, src=0, device=torch.device("cpu"))
        return heard[0]

    @torch.no_grad()
    def require_equal(self, tensors: Mapping[str, Tensor], when: str) -> None:
        """Compare digests of the tensors."""
        names = sorted(tensors)
        own = torch.tensor([_digest(tensors[name]) for name in names], dtype=torch.int64)
        # The least and the largest of all processes differ wherever any two processes do.
        least, most = own.clone(), own.clone()
        with self._explain_closing():
            dist.all_reduce(least, op=dist.ReduceOp.MIN)
            dist.all_reduce(most, op=dist.ReduceOp.MAX)
        if different := [names[place] for place in (least != most).nonzero().flatten().tolist()]:
            more = f" and {len(different) - 1} more" if len(different) > 1 else ""
            raise ProcessError(
                f"the {self.size} processes have different values of {different[0]}{more} {when}",
                tip="processes=1",
            )


def _fill_buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in groups of one number format and of a limited size."""
    filling: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    for each in tensors:
        kind = each.dtype, each.device
        if sizes.get(kind, 0) + each.numel() > BUCKET and kind in filling:
            yield filling.pop(kind)
            sizes[kind] = 0
        filling.setdefault(kind, []).append(each)
        sizes[kind] = sizes.get(kind, 0) + each.numel()
    yield from filling.values()


def _digest(tensor: Tensor) -> int:
    """Return a digest of a tensor's bytes as a number of 63 bits."""
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return int.from_bytes(hashlib.blake2b(plain.data, digest_size=8).digest(), "big") >> 1


_GROUP = [Group()]


def current_group() -> Group:
    """Return the processes that train together now; one alone, unless a run was given several."""
    return _GROUP[-1]


@contextmanager
def join_group(group: Group) -> Iterator[None]:
    """Train and evaluate with a group of processes inside the block."""
    _GROUP.append(group)
    try:
        yield
    finally:
        _GROUP.pop()
