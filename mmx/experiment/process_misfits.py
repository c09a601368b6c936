"""Checks that the parts of a run can be trained by several processes."""

from __future__ import annotations

from collections.abc import Iterator

from mmx.errors import Problem
from mmx.experiment.fitting import Built
from mmx.stage_id import Role
from mmx.variants import variant

ALONE = "processes=1   (larger batches in one process: trainer.accumulate)"


def find_process_misfits(built: Built) -> Iterator[Problem]:
    """Yield what several processes cannot train as one would.

    A process sees its share of a batch alone. What compares the rows of a batch with each other,
    or counts what its own rows lose, would be another problem with each number of processes.
    """
    size = 1 if built.settings is None else built.settings.processes
    yield from _check_sync(built, size)
    if size == 1:
        return
    alone = f"and each of {size} processes sees its share alone"
    for given, why in (*_list_comparing(built), *_list_counting(built)):
        yield Problem(given, f"{why}, {alone}", type_this=ALONE)
    transfer = built.transfer
    if transfer is not None and transfer.search is not None:
        yield Problem(
            f"transfer={variant(type(transfer))}",
            f"trains many candidates in turn, and processes={size} divides one training",
            type_this="processes=1   (candidates side by side: mmx search, or mmx train -m)",
        )
    elif transfer is not None and transfer.needs == "rows":
        reason = f"trains two tasks at once, and processes={size} divides the batches of one"
        yield Problem(f"transfer={variant(type(transfer))}", reason, type_this=ALONE)


def _check_sync(built: Built, size: int) -> Iterator[Problem]:
    """Check that batch norm can see the rows of all processes, where it is asked to."""
    if built.trainer is None or built.settings is None or not built.trainer.sync_batch_norm:
        return
    given = "trainer.sync_batch_norm=true"
    if size == 1:
        reason = "there is one process, and its batch norm sees all rows"
        yield Problem(given, reason, type_this="trainer.sync_batch_norm=false   (or processes=2)")
    elif built.settings.compile:
        reason = "compiled layers do not wait for those of other processes"
        yield Problem(given, reason, type_this="compile=false")


def _list_comparing(built: Built) -> Iterator[tuple[str, str]]:
    """Yield the parts that compare the rows of a batch with each other."""
    why = "compares the rows of a batch with each other"
    for role, parts in built.roles.items():
        if parts.objective.compares_rows:
            yield f"{_name_objective(built, role)}={parts.objective.name}", why
    for name, part in (("regularizer", built.regularizer), ("balance", built.balance)):
        if part is not None and part.compares_rows:
            yield f"{name}={variant(type(part))}", why


def _list_counting(built: Built) -> Iterator[tuple[str, str]]:
    """Yield the parts that count the losses of training rows."""
    for role, parts in built.roles.items():
        if parts.objective.counts_losses:
            given = f"{_name_objective(built, role)}={parts.objective.name}"
            yield given, "counts what each head loses on training rows"


def _name_objective(built: Built, role: Role) -> str:
    same = role is Role.TARGET or built.roles[role].objective is built.roles[Role.TARGET].objective
    return "objective" if same else "source_objective"
