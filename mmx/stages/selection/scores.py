"""Features of a target by its encoders before training, and the transferability scores of them.

Shape legend: ``N`` rows, ``D`` features, ``Z`` source classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmx.errors import TransferError
from mmx.modalities import Encoded
from mmx.model import MultimodalModel
from mmx.stage_id import Role
from mmx.stages.core.context import Context
from mmx.stages.core.stage_model import make_model
from mmx.stages.selection.prepare import Prepared
from mmx.tasks import Target
from mmx.training.data import Rows
from mmx.training.memory_format import use_channels_last
from mmx.training.randomness import seed_torch
from mmx.transfer.scores import SCORES


@dataclass(frozen=True)
class StartedModel:
    """A target's model as its training would begin.

    Attributes:
        model: In evaluation mode.
        modalities: Those that the source gave tensors to; all of them without a source.
        whole: Those that got every tensor of their encoder from the source, adapted or not.
        notes: On what did not fit.
    """

    model: MultimodalModel
    modalities: tuple[str, ...]
    whole: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def draw_model(context: Context, prepared: Prepared) -> StartedModel:
    """Return the target's model with the weights that it is built with."""
    experiment, opened = context.experiment, prepared.target
    seed_torch(experiment.settings.seed, Role.TARGET, "weights")
    model = make_model(
        experiment, Role.TARGET, opened.specs, opened.task.target, experiment.transfer
    )
    return StartedModel(_move_to_device(model, context), tuple(sorted(model.encoders)))


def start_model(context: Context, prepared: Prepared) -> StartedModel:
    """Return the target's model as its transfer starts it; :func:`draw_model` without a source.

    Raises:
        TransferError: The source gives nothing to the target's encoders.
    """
    fresh, given = draw_model(context, prepared), prepared.given
    if given is None:
        return fresh
    model, classes = fresh.model, prepared.target.task.target.classes
    report = context.experiment.transfer.start(given.source, model, classes).report
    from_source = {*report.copied, *report.adapted, *report.frozen}
    own = {
        name: {tensor for tensor in model.state_dict() if tensor.startswith(f"encoders.{name}.")}
        for name in fresh.modalities
    }
    modalities = tuple(name for name in own if own[name] & from_source)
    if not modalities:
        raise TransferError("the source gives nothing to the target's encoders")
    whole = tuple(name for name in own if own[name] <= from_source)
    return StartedModel(_move_to_device(model, context), modalities, whole, report.notes)


def _move_to_device(model: MultimodalModel, context: Context) -> MultimodalModel:
    # channels_last as in training, so that convolutions give the same bits.
    return use_channels_last(model.to(context.precision.device)).eval()


def sample_evenly(rows: Rows, values: Tensor, target: Target, most: int) -> Rows:
    """Return at most so many of the rows, evenly from each class and in their own order."""
    if len(rows) <= most:
        return rows
    order: npt.NDArray[np.intp] = np.arange(len(rows), dtype=np.intp)
    if target.kind == "classes":  # sorted by class, even steps take as much of each class
        order = np.argsort(values[torch.from_numpy(rows)].numpy(), kind="stable")
    taken = np.linspace(0, len(rows) - 1, most).round().astype(np.int64)
    return rows[np.sort(order[taken])]


def concatenate_features(
    encoded: Encoded, modalities: tuple[str, ...], level: dict[str, int | None] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the concatenated features of modalities, 0 where one is absent, and the targets.

    Args:
        encoded: Rows; those that lack all of the modalities are left out.
        modalities: Which.
        level: Modality to which of its levels is taken; None for the pooled features.

    Returns:
        ``(N, D)`` and targets, on the CPU.
    """
    parts = []
    for name in modalities:
        features, which = encoded.features[name], (level or {}).get(name)
        part = features.pooled if which is None else features.levels[which]
        parts.append(part.where(encoded.present[name][:, None], 0.0))
    here = has_any_modality(encoded.present, modalities)
    return torch.cat(parts, 1).cpu()[here], encoded.target.cpu()[here]


def has_any_modality(present: dict[str, Tensor], modalities: tuple[str, ...]) -> Tensor:
    """Return ``(N,)`` on the CPU: whether a row has any of the modalities."""
    return torch.stack([present[name] for name in modalities]).any(0).cpu()


def compute_scores(
    x: Tensor, y: Tensor, target: Target, source: tuple[Tensor, Tensor] | str
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the transferability scores that apply, and why the others do not.

    Args:
        x: Features ``(N, D)``.
        y: Targets of the same rows.
        target: What they mean.
        source: ``(N', Z)`` probabilities of source classes and ``(N',)`` target classes of the
            rows that the source can read, or why there are none.
    """
    if target.kind != "classes":
        return {}, dict.fromkeys(SCORES, f"needs classes, and the target is {target.kind}")
    # Keys: whether a score reads the source's outputs. Values: what it is computed on.
    blank, rows = {}, {False: (x, y)}
    if isinstance(source, str):
        blank = {name: source for name, each in SCORES.items() if each.reads_source_outputs}
    else:
        rows[True] = source
    found = {}
    for name, score in sorted(SCORES.items(), key=lambda each: each[1].reads_source_outputs):
        if name in blank:
            continue
        try:
            found[name] = score.compute(*rows[score.reads_source_outputs])
        except ValueError as error:  # the score is not defined for such features or classes
            blank[name] = str(error)
    return {name: found[name] for name in SCORES if name in found}, blank
