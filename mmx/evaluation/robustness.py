"""Robustness curves: metrics over the strength of noise on one modality, the others clean.

Shape legend: ``N`` rows, ``B`` batch, ``C`` outputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmx.evaluation.noise import CORRUPTIONS, Corruption, Noise, corrupt
from mmx.evaluation.subsets import Measure, SubsetOutputs, answer_subset, evaluation_mode, has_any
from mmx.modalities import Batch, Stored
from mmx.model import MultimodalModel
from mmx.training.data import Data, ModalityReader, Rows, split_rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision


@dataclass(frozen=True)
class NoisePoint:
    """A model's metrics at one strength of a noise.

    Attributes:
        strength: In the unit of the noise.
        level: The same, in words.
        metrics: Metrics of all rows.
        by_prior: Number of rows that the noise left without any modality; the prior answers them.
    """

    strength: float
    level: str
    metrics: dict[str, float]
    by_prior: int


@dataclass(frozen=True)
class NoiseCurve:
    """One noise on one modality.

    Attributes:
        modality: The modality that is corrupted.
        noise: The name of the noise.
        what: What the strength means, in words.
        points: From none to heavy.
    """

    modality: str
    noise: str
    what: str
    points: tuple[NoisePoint, ...]

    @property
    def relative_strengths(self) -> tuple[float, ...]:
        """The strengths as fractions of the heaviest."""
        return tuple(point.strength / self.points[-1].strength for point in self.points)

    def relative_area(self, metric: str) -> float | None:
        """Return the area under the curve divided by the clean score; 1 means no loss at all.

            ∫₀¹ v(s) ds / v(0), by the trapezoid rule, s being the relative strength

        None if the clean score is not above 0, or a score is not finite.
        """
        scores = [point.metrics[metric] for point in self.points]
        if not scores[0] > 0 or not all(map(math.isfinite, scores)):
            return None
        area = math.fsum(
            (right - left) * (scores[i] + scores[i + 1]) / 2
            for i, (left, right) in enumerate(
                zip(self.relative_strengths, self.relative_strengths[1:], strict=False)
            )
        )
        return area / scores[0]


NoiseKey = tuple[str, str, float]
"""Modality, noise, strength."""


def measure_noise_curves(
    model: MultimodalModel,
    data: Data,
    rows: Rows,
    precision: Precision,
    prior: Tensor,
    measure: Measure,
    seed: int = 0,
) -> list[NoiseCurve]:
    """Return one curve for each noise of each modality.

    Clean features are computed once for each batch; only the noisy modality is encoded again,
    even if features of its frozen encoder are cached.

    Args:
        model: A trained model.
        data: The data that it reads.
        rows: Row numbers of a split.
        precision: Number format of the forward pass.
        prior: ``(C,)`` outputs for rows that noise leaves without any modality.
        measure: Computes the metrics.
        seed: Seed of the noise.
    """
    corruptions = find_corruptions(data)
    clean, answers = _answer_corrupted(model, data, rows, precision, prior, corruptions, seed)
    values = data.truth(rows)
    clean_metrics = measure(clean, values)

    def point(name: str, noise: Noise, strength: float) -> NoisePoint:
        found = answers.get((name, noise.name, strength))
        metrics = measure(found.outputs, values) if found else clean_metrics
        return NoisePoint(strength, noise.level(strength), metrics, found.by_prior if found else 0)

    return [
        NoiseCurve(
            name, noise.name, noise.what, tuple(point(name, noise, s) for s in noise.strengths)
        )
        for name, corruption in corruptions.items()
        for noise in corruption.noises
    ]


def _answer_corrupted(
    model: MultimodalModel,
    data: Data,
    rows: Rows,
    precision: Precision,
    prior: Tensor,
    corruptions: dict[str, Corruption[Any, Any]],
    seed: int,
) -> tuple[Tensor, dict[NoiseKey, SubsetOutputs]]:
    """Return the outputs of clean rows, and those under each noise but the one of strength 0."""
    clean: list[Tensor] = []
    noisy: dict[NoiseKey, list[Tensor]] = {}
    by_prior: dict[NoiseKey, int] = {}
    prior = prior.to(data.device)
    with evaluation_mode(model):
        for part, stored in data.batches(split_rows(rows, BATCH_SIZE)):
            batch = data.assemble(part, stored, augment=False)
            with precision.autocast():
                frozen = frozenset(batch.features)
                batch = encode_batch(model, batch, frozen)
                clean.append(answer_subset(model, model.encode(batch), batch.present, prior))
                for key, corrupted in _corrupt_each(corruptions, batch, part, stored, seed):
                    features = model.encode(encode_batch(model, corrupted, frozen))
                    outputs = answer_subset(model, features, corrupted.present, prior)
                    noisy.setdefault(key, []).append(outputs)
                    by_prior[key] = by_prior.get(key, 0) + int((~has_any(corrupted.present)).sum())
    answers = {
        key: SubsetOutputs(torch.cat(parts).cpu(), by_prior[key]) for key, parts in noisy.items()
    }
    return torch.cat(clean).cpu(), answers


def find_corruptions(data: Data) -> dict[str, Corruption[Any, Any]]:
    """Return input to the corruption of its modality, for each modality that has one."""
    return {
        name: CORRUPTIONS[view.modality.name](view)
        for name, view in sorted(data.views.items())
        if view.modality.name in CORRUPTIONS
    }


def _corrupt_each(
    corruptions: dict[str, Corruption[Any, Any]],
    batch: Batch,
    rows: Rows,
    stored: dict[str, Stored],
    seed: int,
) -> Iterator[tuple[NoiseKey, Batch]]:
    """Yield the batch with one modality corrupted, for each noise and each strength above 0."""
    for name, corruption in corruptions.items():
        values = corruption.read(rows, stored.get(name))
        for noise in corruption.noises:
            for strength in noise.strengths[1:]:
                corrupted = corrupt(corruption, noise, values, rows, strength, seed)
                present = torch.tensor([value is not None for value in corrupted])
                encoded = corruption.encode(corrupted)
                yield (
                    (name, noise.name, strength),
                    replace_input(batch, name, corruption.view, encoded, present),
                )


def encode_batch(model: MultimodalModel, batch: Batch, frozen: frozenset[str]) -> Batch:
    """Return the batch with the features of every encoder, so that none runs twice.

    Args:
        model: A model in evaluation mode.
        batch: A batch with inputs of the modalities that it has no features of.
        frozen: Modalities with cached features, which are in float32.
    """
    features = dict(batch.features)
    for name in batch.present:
        if name not in features:
            made = model.encode_one(name, batch)
            features[name] = made.map(_float) if name in frozen else made
    return dataclasses.replace(batch, features=features)


def replace_input(
    batch: Batch, name: str, view: ModalityReader, stored: Stored, present: Tensor
) -> Batch:
    """Return the batch with a new input of one modality, without its features."""
    device = batch.target.device
    values, lengths = stored.values.to(device), stored.lengths
    if lengths is not None:
        values, lengths = values[:, : max(1, int(lengths.max()))], lengths.to(device)
    return dataclasses.replace(
        batch,
        inputs={name: view.modality.prepare(Stored(values, lengths), view.spec)},
        lengths={} if lengths is None else {name: lengths},
        present={**batch.present, name: present.to(device)},
        features={other: each for other, each in batch.features.items() if other != name},
        complete=frozenset([name] if bool(present.all()) else []),
    )


def _float(part: Tensor) -> Tensor:
    return part if part.dtype == torch.bool else part.float()
