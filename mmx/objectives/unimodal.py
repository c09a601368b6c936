"""Cross-entropy of each modality by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.modalities import StepRows
from mmx.modalities.masking import mean_where
from mmx.objectives.auxiliary_heads import find_labelled_rows, unimodal_heads, unimodal_losses
from mmx.objectives.base import (
    Criterion,
    FeatureLoss,
    ModelOutput,
    Objective,
    present_features,
)


class Unimodal(Objective):
    """Asks each modality for the class, so that no encoder rests while another does the work.

        L = mean_m mean_i -ln softmax(V_m x_mi + c_m)_{y_i}

    over the rows i that have modality m, and the modalities that any row of the batch has.
    The heads serve training alone. It reads no outputs: a term of ``combined``.
    """

    kinds = frozenset({"classes"})
    reads_outputs = False

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`."""
        return UnimodalLoss(widths, outputs)


class UnimodalLoss(FeatureLoss):
    """The loss of :class:`Unimodal`.

    Args:
        widths: Modality to D_m.
        outputs: C.
    """

    def __init__(self, widths: dict[str, int], outputs: int) -> None:
        super().__init__(widths)
        self.heads = unimodal_heads(widths, outputs)

    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss; see FeatureLoss."""
        losses, rows = unimodal_losses(self.heads, pooled, present, target)
        return mean_where(losses, rows > 0)

    def part(self, said: ModelOutput, target: Tensor, step: StepRows) -> Tensor:
        """Return a batch's part, of each modality's mean over the step's rows; see Criterion."""
        if not step.present:
            return super().part(said, target, step)
        everyone = find_labelled_rows(self.modalities, step)
        with torch.autocast(said.outputs.device.type, enabled=False):
            pooled = present_features(said, self.modalities)
            losses, rows = unimodal_losses(self.heads, pooled, said.present, target)
            return mean_where(losses * rows / everyone.clamp(min=1), everyone > 0)
