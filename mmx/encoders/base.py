"""The contract of every encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from mmx.modalities import Features

FollowsInput = Literal["channels", "grid", "sequence"]
"""In what a tensor's shape follows the input: ``channels``, a convolution ``(D, K, …)`` over
K input channels; ``grid``, positions ``(1, 1 + S·S, D)`` of a class token and a square of
patches; ``sequence``, positions ``(1, T, D)`` of steps."""


class Encoder(nn.Module, ABC):
    """Base of all encoders.

    The constructor takes the modality's spec as its only positional argument; every
    other argument is keyword-only, plain and annotated, since the config is checked
    against the signature.

    Attributes:
        width: D of tokens and pooled vector.
        level_widths: Width of each entry of ``Features.levels``.
    """

    width: int
    level_widths: tuple[int, ...] = ()

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode a batch of present rows.

        Args:
            x: What the modality's ``prepare`` returns, ``(B, ...)``.
            lengths: ``(B,)`` int64 valid steps, for sequences only.

        Returns:
            Features of the batch.
        """

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return by which prefixes the tensors of each depth are named, input first.

        Together they name every tensor of ``state_dict`` once. What freezes, re-draws or
        slows down by depth counts in these; an encoder that states nothing has one depth.

        Returns:
            A depth is its prefixes: ``stages.0.`` names what a part holds, ``net.token`` one
            tensor.
        """
        return (("",),)

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the tensors that another input gives another shape, and how they follow it.

        A transfer may change them to fit, since along that axis their values have an order
        or a meaning that carries over; it leaves every other tensor of another shape fresh.
        """
        return {}
