"""Residual networks of three depths, fresh or with ImageNet weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn
from torchvision.models import resnet

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


class ResNet(TorchvisionEncoder):
    """A stem and four layers of residual blocks; the base of the three depths.

    Use one of them for images that need a larger network than ``small_cnn``, or to start from
    ImageNet weights with ``source=published``; choose the depth by the time there is.

    ``levels`` are the spatial means of the four layers, ``tokens`` the pixels of the last
    map, ``pooled`` their mean.

    Args:
        spec: Size of the images.
        weights: A local ``.pth`` or ``.safetensors`` file with torchvision's names, in the place
            of torchvision's own ImageNet weights; read where the encoder starts from published
            weights.
        stem: ``standard`` is a 7×7 convolution and a pool, each of stride 2; ``small`` is
            one 3×3 convolution of stride 1, which starts fresh whatever else is published,
            for its shape differs. ``auto`` is standard for sides above 96 pixels, else small.
        normalization: Mean and deviation of the images: as the ``published`` weights expect
            them, or ``centered``, from [0, 1] to [-2, 2].
        download: Whether weights absent from torch's cache may be fetched.

    Reference: He et al. 2016, arXiv 1512.03385.
    """

    build: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        spec: ImageSpec,
        *,
        weights: str | None = None,
        stem: Stem = "auto",
        normalization: Normalization = "published",
        download: bool = False,
    ) -> None:
        super().__init__()
        net = self.build()
        self.width = net.fc.in_features
        self.level_widths = tuple(self.width // 2**k for k in (3, 2, 1, 0))
        del net.fc  # the model has its own head
        if has_small_stem(stem, spec):
            # As for CIFAR-10 in He et al. 2016, section 4.2: no stride and no pool.
            net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
            net.maxpool = nn.Identity()
        self.normalize = self.make_normalize(normalization)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode images.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1]; fastest in channels-last memory.
            lengths: Not used.

        Returns:
            Tokens ``(B, H'·W', D)``, four levels.
        """
        x = self.stem(self.normalize(x))
        levels = []
        for layer in self.layers:
            x = layer(x)  # (B, D_k, H_k, W_k)
            levels.append(x.mean((2, 3)))
        tokens = x.flatten(2).transpose(1, 2)  # (B, T, D)
        return Features(tokens, step_mask(None, tokens), levels[-1], tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stem, then the four layers of blocks."""
        return ("stem.",), *((f"layers.{index}.",) for index in range(len(self.layers)))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the first convolution."""
        return {"stem.0.weight": "channels"}

    def name_published(self, name: str) -> str | None:
        """Return what torchvision's tensor is called here."""
        part, _, rest = name.partition(".")
        if part == "fc":
            return None
        places = {"conv1": "stem.0", "bn1": "stem.1"}
        layers = {f"layer{index + 1}": f"layers.{index}" for index in range(len(self.layers))}
        return f"{(places | layers).get(part, part)}.{rest}"


class ResNet18(ResNet):
    """The network of 18 layers; see :class:`ResNet`."""

    architecture = "resnet18"
    build = staticmethod(resnet.resnet18)
    published_weights = resnet.ResNet18_Weights.DEFAULT


class ResNet34(ResNet):
    """The network of 34 layers; see :class:`ResNet`."""

    build = staticmethod(resnet.resnet34)
    published_weights = resnet.ResNet34_Weights.DEFAULT


class ResNet50(ResNet):
    """The network of 50 layers; see :class:`ResNet`."""

    build = staticmethod(resnet.resnet50)
    published_weights = resnet.ResNet50_Weights.DEFAULT
