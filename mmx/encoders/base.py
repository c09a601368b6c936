"""The contract of every encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mmx.modalities import Features


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
