"""Retrieval between paired modalities: is a row's partner the most similar row?

Shape legend: ``N`` pairs, ``D`` width of the common space.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CUTOFFS = (1, 5, 10)
ROWS_AT_ONCE = 512
"""Rows of the similarity matrix in memory at once."""
TIE_TOLERANCE = 1e-9
"""Similarities that differ by less are ties; rounding errors in float64 are far smaller."""


@torch.no_grad()
def measure_retrieval(a: Tensor, b: Tensor) -> dict[str, dict[str, float]]:
    """Return how well each row of ``a`` retrieves its partner in ``b``, and vice versa.

        rank_i = N - #{j : cos(a_i, b_j) < cos(a_i, b_i)}

    Ranks count from 1. Ties are counted pessimistically: among equal similarities the partner
    comes last, so that constant embeddings retrieve nothing. NaN counts as a tie.

    Args:
        a: ``(N, D)`` embeddings of one modality.
        b: ``(N, D)`` embeddings of the other; row i belongs to row i of ``a``.

    Returns:
        ``a_to_b``, ``b_to_a`` and their ``mean``, each with ``recall@1``, ``recall@5``,
        ``recall@10`` (fractions) and ``median_rank``.

    Raises:
        ValueError: The shapes differ, or there are no rows.
    """
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise ValueError(
            f"`a` {tuple(a.shape)} and `b` {tuple(b.shape)} must both be (N, D), N at least 1"
        )
    a, b = F.normalize(a.double(), dim=1), F.normalize(b.double(), dim=1)
    least = (a * b).sum(1) - TIE_TOLERANCE  # (N,) similarity to the partner
    # Starting from N, subtract rows that are less similar; a comparison with NaN subtracts none.
    a_to_b = torch.full((len(a),), len(a), device=a.device)
    b_to_a = a_to_b.clone()
    for start in range(0, len(a), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        similar = a[rows] @ b.T  # (≤ ROWS_AT_ONCE, N)
        # Rank of the partner: N less the rows that are surely less similar than it.
        a_to_b[rows] -= (similar < least[rows, None]).sum(1)
        # Columns: how many rows of a are less similar to b_j than its partner, summed over the
        # blocks.
        b_to_a -= (similar < least).sum(0)
    found = {"a_to_b": _summarise(a_to_b), "b_to_a": _summarise(b_to_a)}
    both = {key: (one + found["b_to_a"][key]) / 2 for key, one in found["a_to_b"].items()}
    return {**found, "mean": both}


def _summarise(ranks: Tensor) -> dict[str, float]:
    numbers = ranks.cpu().numpy()
    recalls = {f"recall@{cutoff}": float((numbers <= cutoff).mean()) for cutoff in CUTOFFS}
    return {**recalls, "median_rank": float(np.median(numbers))}
