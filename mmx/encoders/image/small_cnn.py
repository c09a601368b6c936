"""A small convolutional network for small pictures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.sequence import step_mask
from mmx.encoders.stages import convolution_stages, stage_widths
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


class SmallCnn(Encoder):
    """Stages of 3×3 convolution, 2×2 max pool, batch norm and ReLU.

        x_k = relu(norm(pool(conv(x_{k-1})))),  k = 1..depth

    The channels double from stage to stage up to ``width``. The last stage does not pool,
    nor does one whose map would shrink below 2×2 pixels; any picture of at least 4×4
    pixels will do. The pool comes before the norm, which then has a quarter of the pixels
    to go through. ``levels`` are the spatial means of the stages, ``tokens`` the pixels of
    the last map, ``pooled`` their maximum: a small map is about whether a part is seen,
    not about how large it is.

    Args:
        spec: Size of the pictures.
        width: D, the channels of the last stage; a multiple of ``2 ** (depth - 1)``.
        depth: Number of stages.

    Raises:
        ValueError: ``width`` cannot be halved ``depth - 1`` times, or the pictures are too
            small.
    """

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
                f"pictures of {spec.height}×{spec.width} pixels are too small: "
                "SmallCnn needs at least 4×4"
            )
        self.stages = convolution_stages(3, self.level_widths, side=side, norm=nn.BatchNorm2d)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode pictures.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1]; fastest in channels-last memory.
            lengths: Not used.

        Returns:
            Tokens ``(B, H'·W', D)``, one level for each stage.
        """
        x = x.mul(4.0).sub_(2.0)  # (x - 0.5) / 0.25
        levels = []
        for stage in self.stages:
            x = stage(x)  # (B, width / 2^k, H_k, W_k)
            levels.append(x.mean((2, 3)))
        tokens = x.flatten(2).transpose(1, 2)  # (B, T, D), a view in channels-last memory
        return Features(tokens, step_mask(None, tokens), tokens.amax(1), tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stages."""
        return tuple((f"stages.{index}.",) for index in range(len(self.stages)))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the first convolution."""
        return {"stages.0.0.weight": "channels"}
