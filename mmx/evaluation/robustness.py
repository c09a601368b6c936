"""Curves over the strength of noise on one modality, the others clean.

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

from mmx.evaluation.noise import CORRUPTIONS, Corruption, Noise, spoil
from mmx.evaluation.subsets import Measure, SubsetOutputs, answer_subset, evaluation_mode, has_any
from mmx.modalities import Batch, Stored
from mmx.model import MultimodalModel
from mmx.training.data import Data, Rows, View, split_rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision


@dataclass(frozen=True)
class Point:
    """What a model is worth at one strength of a noise.

    Attributes:
        strength: In the unit of the noise.
        level: The same, in words.
        metrics: Of all rows.
        by_prior: Rows of which the noise left no modality, answered by the prior.
    """

    strength: float
    level: str
    metrics: dict[str, float]
    by_prior: int


@dataclass(frozen=True)
class NoiseCurve:
    """One noise on one modality.

    Attributes:
        modality: What is spoiled.
        noise: How.
        what: What the strength means, in words.
        points: From none to heavy.
    """

    modality: str
    noise: str
    what: str
    points: tuple[Point, ...]

    @property
    def scaled(self) -> tuple[float, ...]:
        """Strengths in parts of the heaviest."""
        return tuple(point.strength / self.points[-1].strength for point in self.points)

    def relative_area(self, metric: str) -> float | None:
        """Return the area under the curve over the clean score; 1 means not hurt at all.

            ∫₀¹ v(s) ds / v(0), by the trapezoid rule, s being the scaled strength

        None where the clean score is not above 0: there is nothing to lose.
        """
        scores = [point.metrics[metric] for point in self.points]
        if not scores[0] > 0 or not all(map(math.isfinite, scores)):
            return None
        area = math.fsum(
            (right - left) * (scores[i] + scores[i + 1]) / 2
            for i, (left, right) in enumerate(zip(self.scaled, self.scaled[1:], strict=False))
        )
        return area / scores[0]


Key = tuple[str, str, float]
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

    Clean features are computed once a batch; only the noisy modality is encoded again, also
    where a frozen encoder's features are at hand.

    Args:
        model: Trained.
        data: What it reads.
        rows: Of a split.
        precision: Number format of the forward pass.
        prior: ``(C,)`` outputs for rows that noise leaves without any modality.
        measure: Gives the metrics.
        seed: Of the noise.
    """
    corruptions = find_corruptions(data)
    clean: list[Tensor] = []
    noisy: dict[Key, list[Tensor]] = {}
    blind: dict[Key, int] = {}
    prior = prior.to(data.device)
    with evaluation_mode(model):
        for part, stored in data.batches(split_rows(rows, BATCH_SIZE)):
            batch = data.assemble(part, stored, augment=False)
            with precision.autocast():
                frozen = frozenset(batch.features)
                batch = encode_batch(model, batch, frozen)
                clean.append(answer_subset(model, model.encode(batch), batch.present, prior))
                for key, spoiled in _spoil_each(corruptions, batch, part, stored, seed):
                    features = model.encode(encode_batch(model, spoiled, frozen))
                    outputs = answer_subset(model, features, spoiled.present, prior)
                    noisy.setdefault(key, []).append(outputs)
                    blind[key] = blind.get(key, 0) + int((~has_any(spoiled.present)).sum())
    values = data.truth(rows)
    answers = {
        key: SubsetOutputs(torch.cat(parts).cpu(), blind[key]) for key, parts in noisy.items()
    }
    unspoiled = measure(torch.cat(clean).cpu(), values)

    def point(name: str, noise: Noise, strength: float) -> Point:
        found = answers.get((name, noise.name, strength))
        metrics = measure(found.outputs, values) if found else unspoiled
        return Point(strength, noise.level(strength), metrics, found.by_prior if found else 0)

    return [
        NoiseCurve(
            name, noise.name, noise.what, tuple(point(name, noise, s) for s in noise.strengths)
        )
        for name, corruption in corruptions.items()
        for noise in corruption.noises
    ]


def find_corruptions(data: Data) -> dict[str, Corruption[Any, Any]]:
    """Return how each modality that has noises is spoiled."""
    return {
        name: CORRUPTIONS[name](view)
        for name, view in sorted(data.views.items())
        if name in CORRUPTIONS
    }


def _spoil_each(
    corruptions: dict[str, Corruption[Any, Any]],
    batch: Batch,
    rows: Rows,
    stored: dict[str, Stored],
    seed: int,
) -> Iterator[tuple[Key, Batch]]:
    """Yield the batch with one modality spoiled, for each noise and each strength but none."""
    for name, corruption in corruptions.items():
        values = corruption.read(rows, stored.get(name))
        for noise in corruption.noises:
            for strength in noise.strengths[1:]:
                spoiled = spoil(corruption, noise, values, rows, strength, seed)
                present = torch.tensor([value is not None for value in spoiled])
                again = corruption.encode(spoiled)
                yield (
                    (name, noise.name, strength),
                    replace_input(batch, name, corruption.view, again, present),
                )


def encode_batch(model: MultimodalModel, batch: Batch, frozen: frozenset[str]) -> Batch:
    """Return the batch with what each encoder says, so that none runs twice.

    Args:
        model: In evaluation mode.
        batch: Holds inputs of the modalities that it has no features of.
        frozen: Modalities whose features are kept in float32.
    """
    features = dict(batch.features)
    for name in batch.present:
        if name not in features:
            made = model.encode_one(name, batch)
            features[name] = made.map(_float) if name in frozen else made
    return dataclasses.replace(batch, features=features)


def replace_input(batch: Batch, name: str, view: View, stored: Stored, present: Tensor) -> Batch:
    """Return the batch with another input of one modality, in place of its features."""
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
