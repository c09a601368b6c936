"""The contract of every way to share weights, and the trunk that is shared."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from mmx.modalities import Features


class Sharing:
    """Base of all ways to share.

    Args:
        width: Width of adapters and trunk.
        depth: Layers of the trunk.

    Attributes:
        modalities: Whether all modalities use one trunk.
        classifiers: Whether heads of single modalities are one head.
        tasks: Whether source and target train jointly: it then chooses ``transfer=joint``.
    """

    modalities: ClassVar[bool] = False
    classifiers: ClassVar[bool] = False
    tasks: ClassVar[bool] = False

    def __init__(
        self,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        depth: Annotated[int, Field(ge=1, le=1_024)] = 2,
    ) -> None:
        self.width = width
        self.depth = depth

    def trunk(self, widths: dict[str, int]) -> Trunk:
        """Return the adapters and the trunk for modalities of these widths."""
        return Trunk(widths, width=self.width, depth=self.depth, one=self.modalities)


class Trunk(nn.Module):
    """An adapter for each modality, then ``depth`` layers, own or common.

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
        own = ["all"] if one else names
        self.layers = nn.ModuleDict({name: _layers(width, depth) for name in own})
        self.one = one

    def body(self, name: str) -> nn.Module:
        """Return the layers that a modality goes through."""
        return self.layers["all" if self.one else name]

    def forward(self, name: str, features: Features) -> Features:
        """Return a modality's features with tokens and pooled vector mapped, D to ``width``."""

        def through(x: Tensor) -> Tensor:
            mapped: Tensor = self.body(name)(self.adapters[name](x))
            return mapped

        return Features(
            through(features.tokens), features.mask, through(features.pooled), features.levels
        )


def _layers(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(
        *(layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU()))
    )
