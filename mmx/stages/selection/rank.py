"""How well a source's features suit a target before anything is trained on it.

Shape legend: ``N`` rows of the target, ``D`` features, ``Z`` source classes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from mmx.errors import TransferError
from mmx.evaluation.short_probe import score_short_probe
from mmx.modalities import Encoded, Features
from mmx.model import MultimodalModel
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context
from mmx.stages.core.source_reference import add_absent_modalities
from mmx.stages.selection.prepare import Prepared, prepare
from mmx.stages.selection.scores import (
    StartedModel,
    compute_scores,
    concatenate_features,
    has_any_modality,
    sample_evenly,
    start_model,
)
from mmx.training.data import Data, Rows, split_rows
from mmx.training.encode import BATCH_SIZE, drop_tokens, join_batches


@dataclass(frozen=True)
class Ranked:
    """What is known of one candidate's features.

    Attributes:
        scores: Name to value, of those that apply.
        blank: Name of each other score to why it does not.
        metric: What the probe is measured in.
        probe: That metric on the validation rows.
        rows, width: N and D.
        modalities: Whose features they are.
        source_seconds: That training the source took, here or earlier.
        source_cached: Whether it was taken from the artifact cache.
        seconds: That features, scores and the probe took.
        notes: What a reader should know.
    """

    scores: dict[str, float]
    blank: dict[str, str]
    metric: str
    probe: float
    rows: int
    width: int
    modalities: tuple[str, ...]
    source_seconds: float
    source_cached: bool
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Reader:
    """A source's fusion and head, which read features of the target.

    Attributes:
        source: The trained source.
        read: The source's modality to the target's modality that stands for it.
    """

    source: MultimodalModel
    read: dict[str, str]

    def predict(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, Z)`` probabilities of source classes."""
        theirs = {origin: features[name] for origin, name in self.read.items()}
        here = {origin: present[name] for origin, name in self.read.items()}
        return (
            self.source.decide(*add_absent_modalities(self.source, theirs, here)).float().softmax(1)
        )


def rank(context: Context, most_rows: int) -> Ranked:
    """Return the scores and the probe of one candidate; the target's test rows stay closed.

    The features are those of the target's encoders as its transfer starts them. A modality that
    the source gives nothing to is left out, unless there is no source.

    Args:
        context: Of the candidate.
        most_rows: The most training rows that are scored and that the probe is fitted on; where
            there are more, they are sampled evenly from each class.

    Raises:
        TransferError: The source gives nothing to the target's encoders, or only to modalities
            that no row has.
    """
    prepared = prepare(context)
    began = time.perf_counter()
    given, opened = prepared.given, prepared.target
    context.note(StageId.TARGET, "extracting features")
    start = start_model(context, prepared)
    reader = _make_reader(context, prepared, start)
    target, data = opened.task.target, opened.data
    rows = sample_evenly(data.rows("train"), opened.task.values, target, most_rows)
    encoded, read = _encode(context, start, data, rows, None if isinstance(reader, str) else reader)
    train = _concatenate(encoded, start, opened.task.name, "train")
    val, _ = _encode(context, start, data, data.rows("val"), None)
    scores, blank = compute_scores(*train, target, read or str(reader))
    metric, probe = score_short_probe(
        train, _concatenate(val, start, opened.task.name, "val"), target
    )
    return Ranked(
        scores=scores,
        blank=blank,
        metric=metric,
        probe=probe,
        rows=train[0].shape[0],
        width=train[0].shape[1],
        modalities=start.modalities,
        source_seconds=given.seconds if given else 0.0,
        source_cached=given.cached if given else False,
        seconds=time.perf_counter() - began,
        notes=start.notes,
    )


def _make_reader(context: Context, prepared: Prepared, start: StartedModel) -> _Reader | str:
    """Return what predicts the source's classes for rows of the target, or why nothing can.

    The features are those of the target's encoders at their start, which are the source's,
    changed to fit the target's input where that has another shape.
    """
    if prepared.source is None or prepared.given is None:
        return "there is no source, and so no source classes"
    if context.experiment.role(Role.SOURCE).objective.label_free:
        return "the source was trained without labels"
    if (kind := prepared.source.task.target.kind) != "classes":
        return f"needs a source of classes, and this one is {kind}"
    source = prepared.given.model.to(context.precision.device).eval()
    origins = context.experiment.transfer.modality_map
    read = {
        origins.get(name, name): name
        for name in start.whole
        if source.encoded_widths.get(origins.get(name, name)) == start.model.encoded_widths[name]
    }
    return _Reader(source, read) if read else "the source's head can read no modality of the target"


@torch.no_grad()
def _encode(
    context: Context, start: StartedModel, data: Data, rows: Rows, reader: _Reader | None
) -> tuple[Encoded, tuple[Tensor, Tensor] | None]:
    """Return encoded rows, and the source's predictions and the targets of those it can read."""
    parts, predicted = [], []
    for part, stored in data.batches(split_rows(rows, BATCH_SIZE)):
        batch = data.assemble(part, stored, augment=False)
        with context.precision.autocast():
            features = start.model.encode(batch)
            if reader is not None:
                predicted.append(reader.predict(features, batch.present).cpu())
        parts.append(drop_tokens(features, batch.present, batch.target))
    every = join_batches(parts)
    if reader is None:
        return every, None
    read = has_any_modality(every.present, tuple(reader.read.values()))
    return every, (torch.cat(predicted)[read], every.target.cpu()[read])


def _concatenate(
    encoded: Encoded, start: StartedModel, task: str, split: str
) -> tuple[Tensor, Tensor]:
    """Return ``(N, D)`` features of a split and the targets.

    Raises:
        TransferError: No row has any of the modalities.
    """
    x, y = concatenate_features(encoded, start.modalities)
    if not len(x):
        raise TransferError(f"no {split} row of {task} has {' or '.join(start.modalities)}")
    return x, y
