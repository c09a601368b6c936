"""Canonical correlations of two or more modalities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from mmx.mapping.projection import training_rows
from mmx.modalities import Encoded

NOTHING_SHARED = 1e-6
"""A correlation up to this value is rounding, and its direction is arbitrary."""
_NO_VARIANCE = 1e-30  # keeps the covariance of constant features positive definite


@dataclass(frozen=True)
class Canonical:
    """Projections A_m (x_m - μ_m) of M modalities to K correlated dimensions.

    Attributes:
        means: Modality to μ ``(D,)``.
        components: Modality to A ``(K, D)``.
        correlations: ``(K,)``, in falling order. For two modalities, the canonical correlations
            ρ; for more, the mean correlation of all pairs in the metric of the MAXVAR problem.
    """

    means: dict[str, Tensor]
    components: dict[str, Tensor]
    correlations: Tensor

    def note(self) -> str:
        """Return a note for the reader: the sum of the correlations."""
        count = len(self.correlations)
        total = float(self.correlations.sum())
        return f"correlations of the training rows: {total:.2f} in total over {count} dimensions"


def find_shared_rows(train: Encoded) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the rows that have at least two modalities, on the CPU.

    Returns:
        Modality to ``(N, D)`` pooled vectors in float64, and modality to ``(N,)`` bool: where
        it and at least one other modality are present.

    Raises:
        DataError: A modality has fewer than two such rows, or they are all the same.
    """
    several = torch.stack(list(train.present.values())).sum(0) >= 2
    used = {name: (here & several).cpu() for name, here in sorted(train.present.items())}
    for name, rows in used.items():
        training_rows(train, name, rows)
    x = {name: train.features[name].pooled.detach().cpu().double() for name in used}
    return x, used


def find_canonical(
    x: Mapping[str, Tensor], used: Mapping[str, Tensor], *, width: int, ridge: float
) -> Canonical:
    """Solve the canonical problem of :class:`~mmx.mapping.cca.Cca` in closed form.

    Args:
        x: Modality to ``(N, D_m)``, two modalities or more, none of them constant.
        used: Modality to ``(N,)`` bool, its rows to learn from; other rows may hold anything.
        width: The most dimensions to return.
        ridge: In units of the mean variance of a modality.
    """
    names = sorted(x)
    means = {name: x[name][used[name]].mean(0) for name in names}
    centred = {
        name: (x[name] - means[name]).masked_fill(~used[name][:, None], 0.0) for name in names
    }
    factors = {name: factor(centred[name][used[name]], ridge) for name in names}

    def whiten(first: str, second: str) -> Tensor:
        rows = used[first] & used[second]
        return whiten_cross(
            (centred[first][rows], factors[first]), (centred[second][rows], factors[second])
        )

    if len(names) == 2:
        left, values, right = torch.linalg.svd(whiten(*names), full_matrices=False)
        vectors = [left, right.T]
    else:
        sizes = [x[name].shape[1] for name in names]
        blocks = {pair: whiten(*pair) for pair in combinations(names, 2)}
        values, joint = torch.linalg.eigh(_join_blocks(names, sizes, blocks))
        # eigh sorts upwards. Full agreement has eigenvalue M and correlation 1, none has 1 and 0.
        values = (values.flip(0) - 1) / (len(names) - 1)
        # √M gives each modality's part of a unit eigenvector the norm that it has for M = 2.
        vectors = [math.sqrt(len(names)) * part for part in joint.flip(1).split(sizes)]
    kept = int((values[:width] > NOTHING_SHARED).sum())
    # A_m = v_mᵀ L_m⁻¹, so A_mᵀ solves L_mᵀ A_mᵀ = v_m; no inverse is formed.
    components = {
        name: torch.linalg.solve_triangular(factors[name].T, vector[:, :kept], upper=True).T
        for name, vector in zip(names, vectors, strict=True)
    }
    return Canonical(means, _fix_signs(components, names[0]), values[:kept])


def factor(x: Tensor, ridge: float) -> Tensor:
    """Return the Cholesky factor of the covariance of centred ``x`` ``(N, D)`` plus a ridge."""
    covariance = x.T @ x / len(x)
    added = ridge * covariance.diagonal().mean().clamp_min(_NO_VARIANCE)
    lower: Tensor = torch.linalg.cholesky(covariance + added * torch.eye(len(covariance)).to(x))
    return lower


def whiten_cross(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Return L₁⁻¹ S₁₂ L₂⁻ᵀ of two centred ``(N, D)`` with their factors; zeros if N is 0.

    Its singular values are the canonical correlations.
    """
    (a, lower_a), (b, lower_b) = first, second
    cross = a.T @ b / max(len(a), 1)
    half = torch.linalg.solve_triangular(lower_a, cross, upper=False)  # L₁⁻¹ S₁₂
    whole: Tensor = torch.linalg.solve_triangular(lower_b, half.T, upper=False)
    return whole.T


def _join_blocks(
    names: list[str], sizes: list[int], blocks: dict[tuple[str, str], Tensor]
) -> Tensor:
    """Return the symmetric matrix of all blocks, with I on the diagonal."""
    rows = []
    for first, size in zip(names, sizes, strict=True):
        row = []
        for second in names:
            if first == second:
                row.append(torch.eye(size, dtype=torch.float64))
            else:
                given = blocks.get((first, second))
                row.append(blocks[second, first].T if given is None else given)
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)


def _fix_signs(components: dict[str, Tensor], first: str) -> dict[str, Tensor]:
    """Flip signs so that in each dimension the first modality's largest weight is positive.

    Eigenvectors are unique only up to sign; without this the sign would depend on the machine.
    """
    weights = components[first]
    largest = weights.gather(1, weights.abs().argmax(1, keepdim=True))  # (K, 1)
    return {name: largest.sign() * each for name, each in components.items()}
