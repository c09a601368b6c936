"""The base vision transformer, fresh or with ImageNet weights."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torchvision.models import vision_transformer

from mmx.encoders.base import FollowsInput
from mmx.encoders.image.torchvision_weights import (
    Normalization,
    Stem,
    TorchvisionEncoder,
    has_small_stem,
)
from mmx.encoders.padding import step_mask
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


class VitB16(TorchvisionEncoder):
    """A transformer over square patches with a class token.

    Use it with ImageNet weights and images of about 224 pixels; trained from scratch it needs
    far more data than a ResNet.

    Images are first resized to a square with bilinear interpolation. ``levels`` are the class
    token after each quarter of the layers, ``tokens`` are the patches after the last layer and
    norm, and ``pooled`` is the class token after them.

    Args:
        spec: Size of the images.
        weights: A local ``.pth`` or ``.safetensors`` file with torchvision's names, in the place
            of torchvision's own ImageNet weights; read where the encoder starts from published
            weights.
        stem: ``standard`` has patches of 16×16 pixels; ``small`` of 4×4, whose projection and
            positions start fresh whatever else is published. ``auto`` is standard for sides
            above 96 pixels, else small.
        side: Pixels of the square that an image is resized to; None for its own longer side,
            rounded up to whole patches. The published weights were trained at 224, and their
            positions are interpolated for other sides.
        normalization: Mean and deviation of the images: as the ``published`` weights expect
            them, or ``centered``, from [0, 1] to [-2, 2].
        download: Whether weights absent from torch's cache may be fetched.
        layers: Number of transformer layers.
        heads: Attention heads of a layer.
        width: D, a multiple of ``heads``.
        mlp_width: Hidden width of a layer's MLP.
        dropout: Part of the activations dropped in training.

    Raises:
        ValueError: ``width`` is no multiple of ``heads``, or ``side`` none of a patch.

    Reference: Dosovitskiy et al. 2021, arXiv 2010.11929.
    """

    published_weights: ClassVar[Any] = vision_transformer.ViT_B_16_Weights.DEFAULT

    def __init__(
        self,
        spec: ImageSpec,
        *,
        weights: str | None = None,
        stem: Stem = "auto",
        side: Annotated[int, Field(ge=4, le=8_192)] | None = None,
        normalization: Normalization = "published",
        download: bool = False,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 12,
        heads: Annotated[int, Field(ge=1, le=1_024)] = 12,
        width: Annotated[int, Field(ge=1, le=65_536)] = 768,
        mlp_width: Annotated[int, Field(ge=1, le=65_536)] = 3072,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"`width` (={width}) must be a multiple of `heads` (={heads})")
        patch = 4 if has_small_stem(stem, spec) else 16
        longer = max(spec.height, spec.width)
        # Rounded up to whole patches: images are resized to it below.
        self.side = patch * math.ceil(longer / patch) if side is None else side
        if self.side % patch:
            raise ValueError(f"`side` (={side}) must be a multiple of {patch}, the side of a patch")
        net = vision_transformer.VisionTransformer(
            image_size=self.side,
            patch_size=patch,
            num_layers=layers,
            num_heads=heads,
            hidden_dim=width,
            mlp_dim=mlp_width,
            dropout=dropout,
        )
        del net.heads  # the model has its own head
        self.normalize = self.make_normalize(normalization)
        self.net = net
        self.width = width
        # The layers after which the class token is exposed: each quarter of the depth.
        self.exposed = sorted({math.ceil(layers * quarter / 4) for quarter in (1, 2, 3, 4)})
        self.level_widths = (width,) * len(self.exposed)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode images.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, patches, D)``, up to four levels.
        """
        if x.shape[2:] != (self.side, self.side):
            size = (self.side, self.side)
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        encoder = self.net.encoder
        x = self.net.conv_proj(self.normalize(x)).flatten(2).transpose(1, 2)  # (B, patches, D)
        # (B, 1, D) in front of the patches: the class token is position 0.
        x = torch.cat([self.net.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = encoder.dropout(x + encoder.pos_embedding)
        levels = []
        for number, layer in enumerate(encoder.layers, start=1):
            x = layer(x)
            if number in self.exposed:
                levels.append(x[:, 0])
        x = encoder.ln(x)
        tokens = x[:, 1:]  # without the class token, which is the pooled vector
        return Features(tokens, step_mask(None, tokens), x[:, 0], tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return patches, class token and positions, then the layers, then the last norm."""
        children = self.net.encoder.layers.named_children()
        embedding = ("net.conv_proj.", "net.class_token", "net.encoder.pos_embedding")
        layers = (f"net.encoder.layers.{name}." for name, _ in children)
        return embedding, *((layer,) for layer in layers), ("net.encoder.ln.",)

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the projection of patches, and the positions."""
        return {"net.conv_proj.weight": "channels", "net.encoder.pos_embedding": "grid"}

    def name_published(self, name: str) -> str | None:
        """Return what torchvision's tensor is called here."""
        return None if name.startswith("heads.") else f"net.{name}"
