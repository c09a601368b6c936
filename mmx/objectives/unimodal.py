"""Cross-entropy of a separate head for each modality."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.modalities import StepRows
from mmx.modalities.masking import mean_where
from mmx.objectives.auxiliary_heads import (
    compute_unimodal_losses,
    count_step_rows,
    make_unimodal_heads,
)
from mmx.objectives.base import (
    Criterion,
    FeatureLoss,
    ModelOutput,
    Objective,
    zero_absent_features,
)


class Unimodal(Objective):
    """The mean cross-entropy of one linear head for each modality.

        L = mean_m mean_i -ln softmax(V_m x_mi + c_m)_{y_i}

    over the rows i that have modality m, and the modalities that any row of the batch has.

    Use it if a dominant modality keeps the encoders of the others from learning. The heads are
    used in training only. It does not read outputs, so it is a term of ``combined``.
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
        self.heads = make_unimodal_heads(widths, outputs)

    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss; see FeatureLoss."""
        losses, rows = compute_unimodal_losses(self.heads, pooled, present, target)
        return mean_where(losses, rows > 0)

    def part(self, output: ModelOutput, target: Tensor, step: StepRows) -> Tensor:
        """Return a batch's part of each modality's mean over the step's rows; see Criterion."""
        # Without the presence of the whole step, rows count equally, whichever modalities
        # they have.
        if not step.present:
            return super().part(output, target, step)
        everyone = count_step_rows(self.modalities, step)
        with torch.autocast(output.outputs.device.type, enabled=False):
            pooled = zero_absent_features(output, self.modalities)
            losses, rows = compute_unimodal_losses(self.heads, pooled, output.present, target)
            return mean_where(losses * rows / everyone.clamp(min=1), everyone > 0)
