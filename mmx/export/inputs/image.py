"""Images: pixels of one size; they are scaled and normalised in the graph."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities.image import Image, ImageColumn, ImageSpec
from mmx.modalities.pixels import BACKGROUNDS
from mmx.modalities.resized_image import ResizedImage


class ImageInput(GraphInput[ImageSpec]):
    """``(H, W, 3)`` uint8 RGB."""

    spec_type = ImageSpec
    dtype = torch.uint8
    reader = "image"
    packages = ("pillow",)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Height, width, channels."""
        return (self.spec.height, self.spec.width, 3)

    def read(self, column: ImageColumn, row: int) -> Array:
        """Return the pixels of a row."""
        return self.modality.encode(column, [row], self.spec).values[0].numpy()

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, 3, H, W)`` in [0, 1]."""
        return x.permute(0, 3, 1, 2).to(torch.float32) / 255, None

    def describe(self) -> Json:
        """Return how a file becomes pixels."""
        return describe_pixels(self.modality, (self.spec.height, self.spec.width))


def describe_pixels(modality: object, size: tuple[int, int]) -> Json:
    """Return how an image, or a frame of a video, becomes pixels of a size."""
    if not isinstance(modality, Image):
        raise TypeError(f"{type(modality).__name__} reads no images")
    found: Json = {
        "size": list(size),
        "channels": "RGB, 8 bits, upright as EXIF says",
        "background": BACKGROUNDS[modality.decoding.background],
        "interpolation": "bilinear",
        "how": "squash",
        "part": 1.0,
        "antialias": True,
        "in_graph": "divided by 255; mean and deviation of the encoder",
    }
    if isinstance(modality, ResizedImage):
        # Of a PIL image torchvision takes the nearest pixel in one way, under either name.
        found["interpolation"] = modality.interpolation.removesuffix("-exact")
        found["how"], found["part"] = modality.how, modality.crop_part
    # A JPEG may be decoded at a fraction of its size, but not where its aspect is kept.
    found["draft"] = not isinstance(modality, ResizedImage)
    return found
