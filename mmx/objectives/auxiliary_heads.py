"""One linear head for each modality, in addition to the model's head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.modalities import StepRows
from mmx.modalities.masking import mean_where


def make_unimodal_heads(widths: dict[str, int], outputs: int) -> nn.ModuleDict:
    """Return a linear layer from each modality's features to ``outputs``, by name."""
    # Sorted, so that the weights that a seed draws do not depend on the order of the dict.
    return nn.ModuleDict({name: nn.Linear(widths[name], outputs) for name in sorted(widths)})


def count_step_rows(names: Sequence[str], step: StepRows) -> Tensor:
    """Return ``(M,)``, the number of rows of a step that have each modality."""
    return torch.stack([step.present[name].sum() for name in names])


def compute_unimodal_losses(
    heads: nn.ModuleDict, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each modality's mean cross-entropy over the rows that have it, and their number.

    Args:
        heads: From :func:`make_unimodal_heads`.
        pooled: Modality to ``(B, D_m)``, zeros where it is absent.
        present: Modality to ``(B,)`` bool.
        target: ``(B,)`` classes.

    Returns:
        ``(M,)`` losses, 0 for a modality that no row has, and ``(M,)`` numbers of rows; both
        in the order of the modalities' names.
    """
    losses, rows = [], []
    for name, head in heads.items():
        each = F.cross_entropy(head(pooled[name]), target, reduction="none")
        losses.append(mean_where(each, present[name]))
        rows.append(present[name].sum())
    return torch.stack(losses), torch.stack(rows)
