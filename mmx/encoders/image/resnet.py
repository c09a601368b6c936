"""Residual networks of three depths, fresh or with ImageNet weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn
from torchvision.models import resnet

from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.image.pretrained import Normalize, Stem, load_weights, uses_small_stem
from mmx.encoders.sequence import step_mask
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


class ResNet(Encoder):
    """A stem and four layers of residual blocks; the base of the three depths.

    Use one of them for images that need a larger network than ``small_cnn``, or to start from
    ImageNet weights; choose the depth by the time there is.

    ``levels`` are the spatial means of the four layers, ``tokens`` are the pixels of the last
    map, and ``pooled`` is their mean.

    Args:
        spec: Size of the images.
        pretrained: Start from torchvision's ImageNet weights, found in torch's cache.
        weights: A local ``.pth`` or ``.safetensors`` file with torchvision's names to start
            from instead; implies ``pretrained``.
        stem: ``standard`` is a 7×7 convolution and a pool, each of stride 2; ``small`` is
            one 3×3 convolution of stride 1, which starts fresh even where weights are
            loaded, since its shape differs. ``auto`` is standard with weights or for sides
            above 96 pixels, else small.
        download: Whether weights absent from torch's cache may be fetched.

    Raises:
        DataError: The weights are absent, unreadable or of another architecture.

    Reference: He et al. 2016, arXiv 1512.03385.
    """

    build: ClassVar[Callable[..., Any]]
    published: ClassVar[Any]

    def __init__(
        self,
        spec: ImageSpec,
        *,
        pretrained: bool = False,
        weights: str | None = None,
        stem: Stem = "auto",
        download: bool = False,
    ) -> None:
        super().__init__()
        pretrained = pretrained or weights is not None
        net = self.build()
        self.width = net.fc.in_features
        self.level_widths = tuple(self.width // 2**k for k in (3, 2, 1, 0))
        del net.fc  # the model has its own head
        fresh = ["fc."]
        if uses_small_stem(stem, spec, pretrained=pretrained):
            # As for CIFAR-10 in He et al. 2016, section 4.2: no stride and no pool.
            net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
            net.maxpool = nn.Identity()
            fresh.append("conv1.")
        if pretrained:
            url = self.published.url
            load_weights(net, url=url, weights=weights, download=download, fresh=tuple(fresh))
        self.normalize = Normalize(imagenet=pretrained)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode images.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1]; fastest in channels-last memory format.
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


class ResNet18(ResNet):
    """The network of 18 layers; see :class:`ResNet`."""

    architecture = "resnet18"
    build = staticmethod(resnet.resnet18)
    published = resnet.ResNet18_Weights.DEFAULT


class ResNet34(ResNet):
    """The network of 34 layers; see :class:`ResNet`."""

    build = staticmethod(resnet.resnet34)
    published = resnet.ResNet34_Weights.DEFAULT


class ResNet50(ResNet):
    """The network of 50 layers; see :class:`ResNet`."""

    build = staticmethod(resnet.resnet50)
    published = resnet.ResNet50_Weights.DEFAULT
