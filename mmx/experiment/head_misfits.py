"""What must fit together for a head that is chosen by ``transfer=feature``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch

from mmx.errors import Problem
from mmx.experiment.fitting import FITTING_OBJECTIVE, Built
from mmx.fusion import Fusion
from mmx.objectives.base import OutputLoss
from mmx.stage_id import Role
from mmx.tasks import Task
from mmx.training.trainer import Trainer
from mmx.transfer.feature import Feature
from mmx.transfer.heads.linear import Linear
from mmx.variants import variant


def find_head_misfits(built: Built, trainer: Trainer | None) -> Iterator[Problem]:
    """Yield what does not fit the chosen head."""
    transfer, target = built.transfer, built.tasks[Role.TARGET]
    if not isinstance(transfer, Feature) or target is None or not built.roles:
        return
    given, fusion = f"transfer.{transfer.chosen}", built.roles[Role.TARGET].fusion
    if target.kind not in transfer.head.kinds:
        yield Problem(
            given,
            f"target={target.name} has a target of kind {target.kind}; this head is for "
            + ", ".join(sorted(transfer.head.kinds)),
            type_this="transfer.head=closed_form",
        )
    method = cast(type[Fusion], fusion.func)
    if transfer.head != Linear() and method.level in ("decision", "algorithm"):
        yield Problem(
            given,
            f"fusion={variant(method)} decides by itself: no head follows it",
            type_this="fusion=concat",
        )
    if built.settings and built.settings.match == "params":
        why = f"counts the parameters of a plain linear head, not those of {given}"
        if transfer.head == Linear():
            why = f"gives the fusion parameters to train, and {given} works on cached features"
        if transfer.head != Linear() or transfer.head_alone:
            yield Problem("match=params", why, type_this="match=none")
    if transfer.head_alone:
        yield from _check_head_alone(built, transfer, target, trainer)


def _check_head_alone(
    built: Built, transfer: Feature, target: Task, trainer: Trainer | None
) -> Iterator[Problem]:
    """Yield what is asked for of training that a head on cached features has not."""
    given, fusion = f"transfer.{transfer.chosen}", built.roles[Role.TARGET].fusion
    own, others = (set(built.modalities.get(role, {})) for role in (Role.SOURCE, Role.TARGET))
    for name in sorted(others - own - transfer.modality_map.keys()):
        yield Problem(
            given,
            f"works on features of frozen encoders, and the source has no {name} encoder",
            type_this=f"modalities=[{','.join(sorted(own & others))}]"
            if own & others
            else "transfer.head=linear",
        )
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
    if not transfer.fits and trainer is not None and trainer.modality_dropout:
        yield Problem(
            f"trainer.modality_dropout={trainer.modality_dropout:g}",
            f"drops at random in each step, and {given} works on cached features",
            type_this="trainer.modality_dropout=0",
        )
    yield from _check_objective(built, given, target)


def _check_objective(built: Built, given: str, target: Task) -> Iterator[Problem]:
    """Yield an objective that looks at more than the head's outputs."""
    objective, widths = (
        built.roles[Role.TARGET].objective,
        dict.fromkeys(built.modalities[Role.TARGET], 2),
    )
    outputs = 1 if target.kind == "regression" else len(target.classes or ()) or 2
    shape = {"multilabel": (outputs, outputs)}.get(target.kind, (outputs,))
    example = torch.arange(outputs) if target.kind == "classes" else torch.ones(shape)
    try:
        plain = isinstance(objective.bind(example, outputs, widths), OutputLoss)
    except ValueError:
        return  # what does not fit the task is said when the task is known
    if not plain:
        yield Problem(
            f"objective={variant(type(objective))}",
            f"looks at more than outputs, and {given} has nothing else to train",
            type_this=f"objective={FITTING_OBJECTIVE[target.kind]}",
        )
