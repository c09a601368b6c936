"""A small convolutional network for small images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.padding import step_mask
from mmx.encoders.stages import make_stages, stage_widths
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


class SmallCnn(Encoder):
    """Stages of 3×3 convolution, 2×2 max pool, batch norm and ReLU.

        x_k = relu(norm(pool(conv(x_{k-1})))),  k = 1..depth

    Use it for images of up to about 100 pixels on a CPU, and as the reference that a larger
    network has to beat.

    The channels double from stage to stage up to ``width``. The last stage does not pool, nor
    does a stage with a map that would shrink below 2×2 pixels. Images need at least 4×4
    pixels. The pool comes before the norm, which then runs over a quarter of the pixels.
    ``levels`` are the spatial means of the stages, ``tokens`` are the pixels of the last map,
    and ``pooled`` is their maximum, which tells whether a feature occurs and not how large
    its area is.

    Args:
        spec: Size of the images.
        width: D, the channels of the last stage; a multiple of ``2 ** (depth - 1)``.
        depth: Number of stages, one after another.

    Raises:
        ValueError: ``width`` cannot be halved ``depth - 1`` times, or the images are too
            small.
    """

    architecture = "small_cnn"

    def __init__(
        self,
        spec: ImageSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        depth: Annotated[int, Field(ge=1, le=8)] = 4,
    ) -> None:
        super().__init__()
        self.level_widths = stage_widths(width, depth)
        self.width = width
        side = min(spec.height, spec.width)
        if side < 4:
            raise ValueError(
                f"images of {spec.height}×{spec.width} pixels are too small: "
                "SmallCnn needs at least 4×4"
            )
        self.stages = make_stages(3, self.level_widths, side=side, norm=nn.BatchNorm2d)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode images.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1]; fastest in channels-last memory format.
            lengths: Not used.

        Returns:
            Tokens ``(B, H'·W', D)``, one level for each stage.
        """
        x = x.mul(4.0).sub_(2.0)  # (x - 0.5) / 0.25; in place only on the new tensor
        levels = []
        for stage in self.stages:
            x = stage(x)  # (B, width / 2^k, H_k, W_k)
            levels.append(x.mean((2, 3)))
        tokens = x.flatten(2).transpose(1, 2)  # (B, T, D), contiguous if x is channels-last
        return Features(tokens, step_mask(None, tokens), tokens.amax(1), tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stages."""
        return tuple((f"stages.{index}.",) for index in range(len(self.stages)))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the first convolution."""
        return {"stages.0.0.weight": "channels"}
