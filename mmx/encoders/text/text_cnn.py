"""Convolutions of several lengths over word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder
from mmx.encoders.padding import masked_max
from mmx.encoders.text.words import Words
from mmx.modalities import Features
from mmx.modalities.text import TokenSpec

KernelSizes = Annotated[Sequence[Annotated[int, Field(ge=1, le=1_024)]], Field(min_length=1)]


class TextCnn(Encoder):
    """Filters over 3, 4 and 5 consecutive words, with the maximum of each over the text.

    Use it where short phrases decide, wherever they occur in the text; it is faster than
    ``lstm``.

    The filters are divided evenly among the kernel sizes. ``tokens`` are the outputs of all
    filters around each word, and ``pooled`` is their maximum over the text.

    Args:
        spec: The vocabulary.
        width: D, the number of filters over all kernel sizes.
        kernel_sizes: Number of words that a filter covers.
        embedding: Width of a word vector.
        dropout: Fraction of the word vectors' units dropped in training.

    Raises:
        ValueError: There are fewer filters than kernel sizes.

    Reference: Kim 2014, arXiv 1408.5882.
    """

    def __init__(
        self,
        spec: TokenSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        kernel_sizes: KernelSizes = (3, 4, 5),
        embedding: Annotated[int, Field(ge=1, le=65_536)] = 128,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        sizes = len(kernel_sizes)
        if width < sizes:
            raise ValueError(
                f"`width` (={width}) must be at least the number of kernel sizes (={sizes})"
            )
        self.width = width
        self.kernel_sizes = tuple(kernel_sizes)
        self.words = Words(spec, width=embedding, dropout=dropout)
        self.convolutions = nn.ModuleList(
            # The remainder of width / sizes goes to the first sizes, one filter each.
            nn.Conv1d(embedding, width // sizes + (index < width % sizes), size)
            for index, size in enumerate(self.kernel_sizes)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode texts.

        Args:
            x: ``(B, T)`` int64 word ids.
            lengths: ``(B,)`` int64 valid tokens.

        Returns:
            Tokens ``(B, T, D)``.
        """
        words, mask = self.words(x, lengths)  # (B, T, embedding), (B, T)
        words = words.transpose(1, 2)  # (B, embedding, T)
        # Padded so that every text has T positions, also one shorter than the kernel.
        outputs = [
            # (size - 1) // 2 in front and size // 2 behind: one more behind where the size is even.
            convolution(F.pad(words, ((size - 1) // 2, size // 2)))  # (B, filters, T)
            for convolution, size in zip(self.convolutions, self.kernel_sizes, strict=True)
        ]
        tokens = torch.cat(outputs, dim=1).relu().transpose(1, 2)  # (B, T, D)
        return Features(tokens, mask, masked_max(tokens, mask))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the word vectors, then the filters."""
        return (("words.",), ("convolutions.",))
