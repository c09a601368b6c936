"""A trained model where each modality of each row is missing at random.

Shape legend: ``N`` rows, ``M`` modalities, ``C`` outputs.

Each cell that a row has is taken away with the same probability, independently of all others
(missing completely at random). Rows that have nothing left are answered by the prior. What is
missing at a rate is missing at every higher rate of the same draw too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from mmx.evaluation.subsets import Measure, answer_subset, evaluation_mode, has_any
from mmx.model import MultimodalModel
from mmx.training.data import Data, Rows, split_rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision

DRAWS = 5
"""Draws of what is missing, of which the mean and the spread are shown."""
T_OF_DRAWS = 2.776445105
"""The 97.5 % quantile of Student's t with DRAWS - 1 degrees of freedom."""


@dataclass(frozen=True)
class RatePoint:
    """A model's metrics at one rate.

    Attributes:
        rate: The probability with which a cell is missing.
        draws: The metrics of each draw.
        by_prior: Mean number of rows that were left without any modality.
    """

    rate: float
    draws: tuple[dict[str, float], ...]
    by_prior: float

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the draws."""
        return float(np.mean([each[metric] for each in self.draws]))

    def half_width(self, metric: str) -> float:
        """Return half the 95 % interval of the mean over draws, by Student's t."""
        values = [each[metric] for each in self.draws]
        return float(T_OF_DRAWS * np.std(values, ddof=1) / np.sqrt(len(values)))


def measure_random_missing(
    model: MultimodalModel,
    data: Data,
    rows: Rows,
    precision: Precision,
    prior: Tensor,
    measure: Measure,
    rates: Sequence[float],
    seed: int = 0,
) -> list[RatePoint]:
    """Return the metrics at each rate.

    Modalities are encoded once; the rest of the model runs once for each rate and draw.

    Args:
        model: A trained model.
        data: The data that it reads.
        rows: Row numbers of a split.
        precision: Number format of the forward pass.
        prior: ``(C,)`` outputs for rows without any modality.
        measure: Computes the metrics.
        rates: Probabilities, each from 0 to 1.
        seed: Seed of the draws.
    """
    names, prior = sorted(data.views), prior.to(data.device)
    uniform = [
        np.random.default_rng([seed, draw]).random((len(rows), len(names))) for draw in range(DRAWS)
    ]
    outputs: dict[tuple[int, int], list[Tensor]] = {}
    by_prior = [0] * len(rates)
    start = 0
    with evaluation_mode(model):
        for part, stored in data.batches(split_rows(rows, BATCH_SIZE)):
            batch = data.assemble(part, stored, augment=False)
            own = slice(start, start + len(part))
            start += len(part)
            with precision.autocast():
                features = model.encode(batch)
                for (place, rate), (draw, numbers) in product(enumerate(rates), enumerate(uniform)):
                    kept = torch.from_numpy(numbers[own] >= rate).to(data.device)
                    present = {
                        name: batch.present[name] & kept[:, i] for i, name in enumerate(names)
                    }
                    answered = answer_subset(model, features, present, prior)
                    outputs.setdefault((place, draw), []).append(answered)
                    by_prior[place] += int((~has_any(present)).sum())
    values = data.truth(rows)
    found = []
    for place, rate in enumerate(rates):
        drawn = [torch.cat(outputs[place, draw]).cpu() for draw in range(DRAWS)]
        points = tuple(measure(each, values) for each in drawn)
        found.append(RatePoint(rate, points, by_prior[place] / DRAWS))
    return found
