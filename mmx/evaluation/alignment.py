"""How well modalities are aligned in a common space, without labels."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from mmx.errors import DataError
from mmx.evaluation.retrieval import measure_retrieval
from mmx.modalities import Encoded
from mmx.objectives import Criterion, ModelOutput
from mmx.training.encode import BATCH_SIZE


@torch.no_grad()
def measure_alignment(criterion: Criterion, rows: Encoded) -> dict[str, float]:
    """Return ``loss`` and the retrieval metrics, averaged over all pairs of modalities.

    For each pair, every row of one modality retrieves its partner among the rows of the other,
    in both directions; only rows that have both modalities are used.

    Args:
        criterion: A label-free objective, which embeds features.
        rows: Features of a split.

    Raises:
        DataError: No row has two modalities.
    """
    pooled = {name: each.pooled for name, each in rows.features.items()}
    embedded = criterion.embed(pooled)
    found: dict[str, list[float]] = {}
    for one, other in combinations(sorted(embedded), 2):
        both = rows.present[one] & rows.present[other]
        if not bool(both.any()):
            continue
        for name, value in measure_retrieval(embedded[one][both], embedded[other][both])[
            "mean"
        ].items():
            found.setdefault(name, []).append(value)
    if not found:
        raise DataError("no row of the split has two modalities, so none can look for its partner")
    means = {name: sum(each) / len(each) for name, each in found.items()}
    return {"loss": _loss(criterion, pooled, rows), **means}


def _loss(criterion: Criterion, pooled: dict[str, Tensor], rows: Encoded) -> float:
    """Return the mean loss over batches of 256: rows are contrasted within their batch."""
    total = 0.0
    for start in range(0, len(rows), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        features = {name: x[part] for name, x in pooled.items()}
        present = {name: here[part] for name, here in rows.present.items()}
        target = rows.target[part]
        nothing = next(iter(features.values())).new_zeros(len(target), 0)
        loss = criterion(ModelOutput(nothing, features, present), target)
        total += float(loss) * len(target)  # a mean over the batch, weighted by its rows
    return total / len(rows)
