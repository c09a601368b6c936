"""Checks that a head chosen by an option of the transfer mode fits the other parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch

from mmx.errors import Problem
from mmx.experiment.fitting import FITTING_OBJECTIVE, Built
from mmx.experiment.publishing import class_and_options, publishes
from mmx.fusion import Fusion
from mmx.objectives.base import OutputLoss
from mmx.stage_id import TASK_ROLES, Role
from mmx.tasks import Task
from mmx.training.trainer import Trainer
from mmx.transfer.base import ChosenHead, Transfer
from mmx.variants import variant


def find_head_misfits(built: Built, trainer: Trainer | None) -> Iterator[Problem]:
    """Yield the problems of parts that do not fit the chosen head."""
    transfer, target = built.transfer, built.tasks[Role.TARGET]
    head = transfer.chosen_head if transfer is not None else None
    if transfer is None or head is None or target is None or not built.roles:
        return
    given, fusion = head.typed, built.roles[Role.TARGET].fusion
    if target.kind not in head.kinds:
        yield Problem(
            given,
            f"target={target.name} has a target of kind {target.kind}; this head is for "
            + ", ".join(sorted(head.kinds)),
            type_this=head.type_for_any_kind,
        )
    method = cast(type[Fusion], fusion.func)
    if not head.plain and method.level in ("decision", "algorithm"):
        yield Problem(
            given,
            f"fusion={variant(method)} decides by itself: no head follows it",
            type_this="fusion=concat",
        )
    if built.settings and built.settings.match == "params":
        why = f"counts the parameters of a plain linear head, not those of {given}"
        if head.plain:
            why = f"gives the fusion parameters to train, and {given} works on cached features"
        if not head.plain or head.alone:
            yield Problem("match=params", why, type_this="match=none")
    if head.alone:
        yield from _check_head_alone(built, transfer, head, target, trainer)


def _check_head_alone(
    built: Built, transfer: Transfer, head: ChosenHead, target: Task, trainer: Trainer | None
) -> Iterator[Problem]:
    """Yield what has no meaning for a head on cached features."""
    given = head.typed
    own, others = (set(built.modalities.get(role, {})) for role in TASK_ROLES)
    if built.published is not None:  # the source of those encoders that have published weights
        chosen = built.published.modalities
        own = {
            name
            for name, make in built.encoders.items()
            if publishes(class_and_options(make)[0]) and (chosen is None or name in chosen)
        }
    for name in sorted(others - own - transfer.modality_map.keys()):
        yield Problem(
            given,
            f"works on features of frozen encoders, and the source has no {name} encoder",
            type_this=f"modalities=[{','.join(sorted(own & others))}]"
            if own & others
            else head.type_for_plain,
        )
    yield from _check_steps(built, head, trainer)
    yield from _check_objective(built, given, target)


def _check_steps(built: Built, head: ChosenHead, trainer: Trainer | None) -> Iterator[Problem]:
    """Yield options of single steps, and an optimiser that many heads cannot share."""
    given, fusion = head.typed, built.roles[Role.TARGET].fusion
    if built.balance is not None:
        yield Problem(
            f"balance={variant(type(built.balance))}",
            f"changes training step by step, and {given} works on cached features",
            type_this="balance=none",
        )
    if fusion.keywords.get("dropout"):
        yield Problem(
            f"fusion.dropout={fusion.keywords['dropout']:g}",
            f"drops at random in each step, and {given} works on cached features",
            type_this="fusion.dropout=0",
        )
    if not head.fitted and trainer is not None and trainer.modality_dropout:
        yield Problem(
            f"trainer.modality_dropout={trainer.modality_dropout:g}",
            f"drops at random in each step, and {given} works on cached features",
            type_this="trainer.modality_dropout=0",
        )
    if not head.fitted and built.optimizer is not None and not built.optimizer.elementwise:
        yield Problem(
            f"optimizer={variant(type(built.optimizer))}",
            f"is not elementwise, and {given} trains all heads as one tensor",
            type_this="optimizer=adamw   (or optimizer=sgd)",
        )


def _check_objective(built: Built, given: str, target: Task) -> Iterator[Problem]:
    """Yield an objective that reads more than the head's outputs."""
    objective, widths = (
        built.roles[Role.TARGET].objective,
        dict.fromkeys(built.modalities[Role.TARGET], 2),
    )
    outputs = 1 if target.kind == "regression" else len(target.classes or ()) or 2
    shape = {"multilabel": (outputs, outputs)}.get(target.kind, (outputs,))
    # A minimal target of each kind: every class once, or all labels set.
    example = torch.arange(outputs) if target.kind == "classes" else torch.ones(shape)
    try:
        plain = isinstance(objective.bind(example, outputs, widths), OutputLoss)
    except ValueError:
        return  # the objective does not fit the task, which is reported once data is read
    if not plain:
        yield Problem(
            f"objective={variant(type(objective))}",
            f"looks at more than outputs, and {given} has nothing else to train",
            type_this=f"objective={FITTING_OBJECTIVE[target.kind]}",
        )
