"""CutMix: boxes of images pasted into other images."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.balance.base import Balance, MixedInputs


class CutMix(Balance):
    """Pastes a box of another image of the batch into each image.

        L = λ L(ŷ, y_i) + (1 - λ) L(ŷ, y_j),  λ = 1 - area of the box / area of the image

    Use it against overfitting on photos, for which it is stronger than ``mixup``. It cuts after
    the augmentation, on the device. The box is the same for all images of a batch, and j is the
    row before, in an order that is drawn anew in each epoch. A box that reaches beyond the
    border is cut off there, and λ is that of the pixels that were pasted.

    The task must have one input, of images: a text or a sound next to it would still be of
    class y_i alone.

    Args:
        alpha: Of the Beta(α, α) distribution of the share that an image keeps; 1 is uniform.
            The least is 0.01: below it, draws in single precision are rounded to 0 or 1.
        chance: Fraction of the batches that are cut.

    Reference: Yun et al. 2019, arXiv 1905.04899.
    """

    mixes_classes = True
    compares_rows = True
    mixes_inputs_of = "image"

    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0.01, le=1000)] = 1.0,
        chance: Annotated[float, Field(gt=0, le=1)] = 1.0,
    ) -> None:
        self.alpha = alpha
        self.chance = chance

    def mix_inputs(self, inputs: dict[str, Tensor], target: Tensor) -> MixedInputs | None:
        """Return images with boxes of others; see :class:`~mmx.balance.base.Balance`."""
        from torchvision.transforms import v2  # here, since its import takes seconds

        if not inputs:  # features of a frozen encoder, computed from whole images
            return None
        # Drawn even if every batch is cut, so that chance=1 differs from others in nothing else.
        if float(torch.rand(())) >= self.chance:
            return None
        ((name, images),) = inputs.items()  # (B, 3, H, W)
        cut = v2.CutMix(alpha=self.alpha, num_classes=1)  # the labels are mixed in the loss
        params = cut.make_params([images])
        mixed = cut.transform(images, {**params, "labels": target, "batch_size": len(images)})
        return MixedInputs({name: mixed}, target.roll(1), params["lam_adjusted"])
