"""One linear head for each modality, beside the model's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.modalities import StepRows
from mmx.modalities.masking import mean_where


def unimodal_heads(widths: dict[str, int], outputs: int) -> nn.ModuleDict:
    """Return a linear layer from each modality's features to ``outputs``, by name."""
    return nn.ModuleDict({name: nn.Linear(widths[name], outputs) for name in sorted(widths)})


def find_labelled_rows(names: Sequence[str], step: StepRows) -> Tensor:
    """Return ``(M,)``: in how many rows of a step each modality is."""
    return torch.stack([step.present[name].sum() for name in names])


def unimodal_losses(
    heads: nn.ModuleDict, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each modality's cross-entropy, a mean over the rows that have it, and their number.

    Args:
        heads: As :func:`unimodal_heads` gives them.
        pooled: Modality to ``(B, D_m)``, zeros where it is absent.
        present: Modality to ``(B,)`` bool.
        target: ``(B,)`` classes.

    Returns:
        ``(M,)`` losses, 0 for a modality that no row has, and ``(M,)`` numbers of rows; by
        name.
    """
    losses, rows = [], []
    for name, head in heads.items():
        each = F.cross_entropy(head(pooled[name]), target, reduction="none")
        losses.append(mean_where(each, present[name]))
        rows.append(present[name].sum())
    return torch.stack(losses), torch.stack(rows)
