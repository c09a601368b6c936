"""The contract of every way to share weights between modalities, and the layers it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mmx.modalities import Features


class Sharing(ABC):
    """Base of all ways to share; keyword-only, plain, annotated constructor arguments.

    Example:
        >>> class Deep(Sharing):
        ...     \"\"\"A deeper trunk for each modality.\"\"\"
        ...
        ...     def make_layers(self, widths: dict[str, int]) -> Layers:
        ...         return Layers(widths, width=256, depth=8, one=self.modalities)
        ...
        >>> layers = Deep().make_layers({"image": 64, "text": 128})
        >>> layers.width, sorted(layers.layers)
        (256, ['image', 'text'])

    Attributes:
        modalities: Whether all modalities use one trunk.
        classifier: Whether fusions with a head for each modality use one head for all of them.
    """

    modalities: bool = False
    classifier: bool = False

    @abstractmethod
    def make_layers(self, widths: dict[str, int]) -> Layers:
        """Return the adapters and the trunk.

        Args:
            widths: Modality to D_m, the width of its features.
        """


class Layers(nn.Module):
    """An adapter for each modality, then ``depth`` layers, one stack for each or one for all.

        h⁰ = A_m x_m + a_m,  h^k = relu(W^k h^{k-1} + b^k),  k = 1..depth

    Args:
        widths: Modality to D_m.
        width: D of adapters and layers.
        depth: Number of layers.
        one: Whether all modalities use the same layers.
    """

    def __init__(self, widths: dict[str, int], *, width: int, depth: int, one: bool) -> None:
        super().__init__()
        self.width = width
        names = sorted(widths)
        self.adapters = nn.ModuleDict({name: nn.Linear(widths[name], width) for name in names})
        owners = ["all"] if one else names
        self.layers = nn.ModuleDict({name: _make_trunk(width, depth) for name in owners})
        self.one = one

    def body(self, name: str) -> nn.Module:
        """Return the layers that a modality goes through after its adapter."""
        return self.layers["all" if self.one else name]

    def forward(self, name: str, features: Features) -> Features:
        """Return a modality's features with tokens and pooled vector mapped to ``width``."""

        def map_features(x: Tensor) -> Tensor:
            mapped: Tensor = self.body(name)(self.adapters[name](x))  # (..., D_m) -> (..., width)
            return mapped

        return Features(
            map_features(features.tokens),
            features.mask,
            map_features(features.pooled),
            features.levels,
        )


def _make_trunk(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(
        *(layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU()))
    )
