"""Checks that a balance that mixes rows fits the other parts."""

from __future__ import annotations

from collections.abc import Iterator

from mmx.errors import Problem
from mmx.experiment.fitting import Built
from mmx.experiment.inputs import list_modalities
from mmx.stage_id import Role
from mmx.variants import variant


def find_balance_misfits(built: Built) -> Iterator[Problem]:
    """Yield the problems of parts that do not fit the balance."""
    yield from _refuse_blended_mixup(built)
    yield from _check_mixed_inputs(built)


def _refuse_blended_mixup(built: Built) -> Iterator[Problem]:
    """Refuse mixed labels where an objective counts training losses to weigh its heads."""
    if built.balance is None or not built.roles:
        return
    objective = built.roles[Role.TARGET].objective
    if built.balance.mixes_classes and objective.counts_losses:
        yield Problem(
            f"balance={variant(type(built.balance))}",
            f"gives a row two labels, and {objective.name} weighs heads by what training loses",
            type_this="balance=none",
        )


def _check_mixed_inputs(built: Built) -> Iterator[Problem]:
    """Check that a balance that mixes inputs finds them in every step, and no others."""
    balance, task, transfer = built.balance, built.tasks[Role.TARGET], built.transfer
    if balance is None or not balance.mixes_inputs_of or task is None:
        return
    given, modality = f"balance={variant(type(balance))}", balance.mixes_inputs_of
    inputs = list_modalities([built.modalities[Role.TARGET]])
    chosen = [name for name, kind in inputs.items() if kind == modality]
    if len(chosen) != 1 or len(inputs) != 1:
        alone = f"   (or modalities=[{chosen[0]}])" if chosen else ""
        yield Problem(
            given,
            f"mixes the {modality}s of a task that has nothing else, and target={task.name} has "
            f"{', '.join(inputs)}",
            type_this=f"balance=mixup{alone}",
        )
    if built.has_source and transfer is not None and transfer.keeps_encoders:
        yield Problem(
            given,
            f"mixes inputs step by step, and transfer={variant(type(transfer))} computes features "
            "once",
            type_this="balance=mixup   (mixes features; or transfer=parameter)",
        )
