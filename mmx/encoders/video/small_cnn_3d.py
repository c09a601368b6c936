"""A small network of three-dimensional convolutions."""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.padding import step_mask
from mmx.encoders.stages import stage_widths
from mmx.modalities import Features
from mmx.modalities.video import VideoSpec


class SmallCnn3d(Encoder):
    """Stages of relu(norm(convolution)) over time and space; each but the first halves the space.

    Use it for small clips without published weights: it sees motion from the first stage on, and
    trains on a CPU. ``levels`` are the means of the stages, ``tokens`` the frames (the mean of
    each over its places), and ``pooled`` is the mean of the tokens.

    Args:
        spec: Number and size of the frames.
        width: D, the channels of the last stage; each stage before has half of those of the next.
        depth: Number of stages, one after another.

    Raises:
        ValueError: ``width`` cannot be halved ``depth - 1`` times.
    """

    def __init__(
        self,
        spec: VideoSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 64,
        depth: Annotated[int, Field(ge=1, le=16)] = 3,
    ) -> None:
        super().__init__()
        self.width = width
        self.level_widths = stage_widths(width, depth)
        widths = (3, *self.level_widths)
        self.stages = nn.ModuleList(
            nn.Sequential(
                # The convolution has no bias, since the norm would subtract it.
                # Strides and padding: time keeps its length; space halves from the second stage on.
                nn.Conv3d(before, after, 3, (1, 1 + (at > 0), 1 + (at > 0)), 1, bias=False),
                nn.BatchNorm3d(after),
                nn.ReLU(),
            )
            for at, (before, after) in enumerate(itertools.pairwise(widths))
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode clips.

        Args:
            x: ``(B, T, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, T, D)``, one level for each stage.
        """
        # (B, T, 3, H, W) → (B, 3, T, H, W), and [0, 1] → [-2, 2].
        x = (x.transpose(1, 2) - 0.5) * 4  # as images of the smaller encoders are centred
        levels = []
        for stage in self.stages:
            x = stage(x)  # (B, D_k, T, H_k, W_k)
            levels.append(x.mean((2, 3, 4)))
        tokens = x.mean((3, 4)).transpose(1, 2)  # (B, T, D)
        return Features(tokens, step_mask(None, tokens), levels[-1], tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stages."""
        return tuple((f"stages.{index}.",) for index in range(len(self.stages)))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the first convolution."""
        return {"stages.0.0.weight": "channels"}
