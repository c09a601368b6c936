"""How well modalities are aligned in a common space, without labels."""

from __future__ import annotations

from itertools import combinations

import torch

from mmx.errors import DataError
from mmx.evaluation.retrieval import retrieval
from mmx.modalities import Encoded
from mmx.objectives import Criterion, ModelOutput


@torch.no_grad()
def alignment(criterion: Criterion, rows: Encoded) -> dict[str, float]:
    """Return ``loss`` and the retrieval metrics, a mean over all pairs of modalities.

    Each row of one modality looks for its own row among those of the other, both ways;
    only rows that have both take part.

    Args:
        criterion: A label-free objective, which embeds.
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
        for name, value in retrieval(embedded[one][both], embedded[other][both])["mean"].items():
            found.setdefault(name, []).append(value)
    if not found:
        raise DataError("no row of the split has two modalities, so none can look for its partner")
    nothing = next(iter(pooled.values())).new_zeros(len(rows), 0)
    loss = float(criterion(ModelOutput(nothing, pooled, rows.present), rows.target))
    return {"loss": loss, **{name: sum(each) / len(each) for name, each in found.items()}}
