"""Videos: frames of one number and size; they are scaled and normalised in the graph."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.export.inputs.image import describe_pixels
from mmx.json_object import Json
from mmx.modalities.video import Video, VideoColumn, VideoSpec


class VideoInput(GraphInput[VideoSpec]):
    """``(T, H, W, 3)`` uint8 RGB."""

    spec_type = VideoSpec
    dtype = torch.uint8
    reader = "video"
    packages = ("av", "pillow")

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Frames, height, width, channels."""
        return (self.spec.frames, self.spec.height, self.spec.width, 3)

    def read(self, column: VideoColumn, row: int) -> Array:
        """Return the frames of a row."""
        return self.modality.encode(column, [row], self.spec).values[0].numpy()

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, T, 3, H, W)`` in [0, 1]."""
        return x.permute(0, 1, 4, 2, 3).to(torch.float32) / 255, None

    def describe(self) -> Json:
        """Return which frames of a file are taken, and how each becomes pixels."""
        video = cast(Video, self.modality)
        return {
            **describe_pixels(video.image, (self.spec.height, self.spec.width)),
            "frames": self.spec.frames,
            "fps": video.fps,
            "times": "the middle of as many equal parts of the clip, or each 1 / fps from its "
            "start; the frame shown then",
        }
