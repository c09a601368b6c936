"""Imputation of an absent modality from the most similar training rows."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from mmx.missing.base import Shape
from mmx.missing.imputing import Imputing


class KnnImputation(Imputing):
    """Fills in the mean of the k nearest donors: training rows that have the modality.

        x̂_im = (1 / k) Σ_{j near i} x_jm
        d(i, j)² = ΣF / Σ_n F_n · Σ_n ‖x_in - x_jn‖², over the modalities n that both have

    Of donors at the same distance, such as those of one text, those that were drawn first count as
    nearer. If row i has no modality in common with any donor, the mean of all donors is used. The
    result, but for equal distances, is that of scikit-learn's KNNImputer on the concatenated
    modalities. Use it where similar rows have similar features but no linear rule predicts one
    modality from another.

    Args:
        shapes: Modality to widths.
        n_neighbors: k, the number of nearest training rows that a value is the mean of.
        rows: The most training rows to keep as donors, drawn once for each fit. For every
            modality they include a row that has it, if ``rows`` is at least the number of
            modalities.

    Reference: Troyanskaya et al. 2001.
    """

    donors: Tensor
    has: Tensor

    def __init__(
        self,
        shapes: dict[str, Shape],
        *,
        n_neighbors: Annotated[int, Field(ge=1, le=100_000)] = 5,
        rows: Annotated[int, Field(ge=1, le=10**10)] = 1000,
    ) -> None:
        super().__init__(shapes)
        self.n_neighbors = n_neighbors
        self.register_buffer("donors", torch.zeros(rows, sum(self.sizes.values())))
        self.register_buffer("has", torch.zeros(rows, len(shapes), dtype=torch.bool))

    def learn(self, x: dict[str, Tensor], present: dict[str, Tensor], seed: int) -> None:
        """Draw the donors; see :class:`~mmx.missing.imputing.Imputing`."""
        has = torch.stack([present[name] for name in self.modalities], dim=1)  # (N, M)
        rows = _draw_donors(has.numpy(), len(self.donors), seed)
        self.donors.zero_()[: len(rows)].copy_(
            torch.cat([each[rows] for each in x.values()], dim=1)
        )
        self.has.zero_()[: len(rows)].copy_(has[rows])
        self.known.copy_(self.has.any(0))

    def impute(self, x: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return means of neighbours; see :class:`~mmx.missing.imputing.Imputing`."""
        has = torch.stack([present[name] for name in self.modalities], dim=1)  # (B, M)
        if torch.compiler.is_exporting():  # a graph reads no values: all rows
            rows = torch.arange(has.shape[0])
        else:
            rows = (~has).any(1).nonzero().squeeze(1)  # (B',) rows that lack a modality
        donors = self.split_modalities(self.donors)
        distances = self._distances({n: each[rows] for n, each in x.items()}, has[rows], donors)
        imputed = {}
        for index, name in enumerate(self.modalities):
            able = self.has[:, index]
            reach, nearest = _find_nearest(
                distances.masked_fill(~able, torch.inf), min(self.n_neighbors, len(able))
            )
            # Fewer than k donors may be comparable: those at infinity do not enter the mean.
            counted = reach.isfinite()[:, :, None]  # (B', k, 1)
            total = (donors[name][nearest] * counted).sum(1)
            everyone = donors[name].sum(0) / able.sum().clamp(min=1)
            mean = torch.where(counted.any(1), total / counted.sum(1).clamp(min=1), everyone)
            imputed[name] = torch.zeros_like(x[name]).index_copy(0, rows, mean)
        return imputed

    def _distances(self, x: dict[str, Tensor], has: Tensor, donors: dict[str, Tensor]) -> Tensor:
        """Return ``(B', R)`` squared distances to the donors, infinity where nothing is shared."""
        total = torch.zeros(has.shape[0], len(self.has), device=has.device)
        shared = torch.zeros_like(total)
        for index, (name, size) in enumerate(self.sizes.items()):
            both = has[:, index, None] & self.has[:, index]
            # A matrix product would be faster, but cancels small distances in float32.
            each = torch.cdist(x[name], donors[name], compute_mode=_EXACT).square()
            total += each.masked_fill(~both, 0.0)
            shared += size * both
        # The factor ΣF of the distance is the same for all donors: it changes no order.
        return (total / shared).masked_fill(shared == 0, torch.inf)


_EXACT = "donot_use_mm_for_euclid_dist"


Knn = KnnImputation
"""Its name in configs, which counts in the fingerprints of runs and in the keys of the cache."""


def _find_nearest(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k smallest distances ``(B, k)`` of ``(B, R)``, and at which donors they are.

    Of donors at the same distance, the first count as nearer.
    """
    if torch.compiler.is_exporting():
        distances, donors = distances.sort(dim=1, stable=True)
        return distances[:, :k], donors[:, :k]
    found, donors = distances.topk(k, largest=False)  # far faster, but takes any of equal ones
    last = found[:, -1:]
    tied = ((distances <= last).sum(1) > k) & last.squeeze(1).isfinite()
    rows = tied.nonzero().squeeze(1)
    if len(rows):
        donors[rows] = distances[rows].argsort(dim=1, stable=True)[:, :k]
    return found, donors


def _draw_donors(has: npt.NDArray[np.bool_], count: int, seed: int) -> Tensor:
    """Return at most ``count`` of the N rows, in a random order; see :class:`KnnImputation`.

    Args:
        has: ``(N, M)`` bool.
        count: The most rows.
        seed: Determines the order.
    """
    order = np.random.default_rng(seed).permutation(len(has))
    firsts = order[has[order].argmax(0)]  # (M,) for every modality, the first row that has it
    ordered = dict.fromkeys([*firsts, *order])  # without duplicates, in this order
    return torch.tensor(list(ordered)[:count])
