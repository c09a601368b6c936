"""The small convolutional network for images, over words that are laid out as an image."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.encoders.base import Encoder
from mmx.encoders.masked_norm import expand_steps
from mmx.encoders.padding import masked_max
from mmx.encoders.stages import count_pooled_steps, make_masked_stages, stage_widths
from mmx.encoders.text.words import Words
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean
from mmx.modalities.text import TokenSpec


class GridCnn(Encoder):
    """Applies the image encoder ``small_cnn`` to an image of which each word is a patch.

        image[:, r·p:(r+1)·p, c·p:(c+1)·p] = words[r · columns + c],  p = patch
        x_k = relu(norm(pool(conv(x_{k-1})))),  k = 1..depth

    Use it to transfer from images to texts: but for the word vectors, its tensors have the
    names and shapes of a ``small_cnn`` of equal ``width`` and ``depth``. For texts alone,
    ``text_cnn`` and ``embedding_mean`` read better: here, words that follow each other are
    apart at the end of a line of the grid.

    By default, 64 words are an image of 32×32 pixels in three colours. ``levels`` are the means
    of the stages, ``tokens`` are the pixels of the last map, line by line, and ``pooled`` is
    their maximum.

    Padding has no effect: a text is extended to whole lines with zeros, later lines are set to
    zero before each convolution, and the norm's statistics leave them out.

    Args:
        spec: The vocabulary.
        width: D, the channels of the last stage; a multiple of ``2 ** (depth - 1)``.
        depth: Number of stages, one after another.
        patch: p, pixels on each side of a word; a word vector has 3·p² values.
        columns: Number of words in a line of the grid.
        dropout: Fraction of the word vectors' units dropped in training.

    Raises:
        ValueError: ``width`` cannot be halved ``depth - 1`` times.

    Reference: Neekhara et al. 2022, arXiv 2102.07325.
    """

    architecture = "small_cnn"

    def __init__(
        self,
        spec: TokenSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        depth: Annotated[int, Field(ge=1, le=8)] = 4,
        patch: Annotated[int, Field(ge=1, le=32)] = 4,
        columns: Annotated[int, Field(ge=1, le=1_024)] = 8,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.level_widths = stage_widths(width, depth)
        self.width = width
        self.patch, self.columns = patch, columns
        self.words = Words(spec, width=3 * patch**2, dropout=dropout)
        # Lines are added as a text needs them, so only their length limits the pooling.
        self.stages = make_masked_stages(3, self.level_widths, side=columns * patch)
        self.steps = count_pooled_steps(self.stages)  # rows of pixels per row of tokens

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode texts.

        Args:
            x: ``(B, T)`` int64 word ids.
            lengths: ``(B,)`` int64 valid tokens.

        Returns:
            Tokens ``(B, H'·W', D)``, one level for each stage.
        """
        words, valid = self.words(x, lengths)  # (B, T, 3·p²), (B, T)
        x, mask = self._draw(words, valid)  # (B, 3, H, W), (B, H')
        levels = []
        for stage in self.stages:
            x = stage(x, mask)  # (B, width / 2^k, H_k, W_k)
            levels.append(masked_mean(x.mean(3).transpose(1, 2), expand_steps(mask, x)))
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H'·W', D)
        mask = mask.repeat_interleave(x.shape[3], dim=1)
        # The maximum, as in small_cnn, from which the weights may come.
        return Features(tokens, mask, masked_max(tokens, mask), tuple(levels))

    def _draw(self, words: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return word vectors as images, and which rows of tokens are valid.

        Args:
            words: ``(B, T, 3·p²)``, zeros in the padding.
            valid: ``(B, T)`` bool, True where a word is.

        Returns:
            Images ``(B, 3, H, W)`` and ``(B, H')`` bool, True where any word of the row is.
        """
        rest = -words.shape[1] % self.columns  # words up to a whole line
        # Word vectors have a norm of about 1, pixels that small_cnn has scaled a deviation of 1.
        # A norm of 1 over 3 p² numbers is a deviation of 1 / √(3 p²) each.
        words = F.pad(words, (0, 0, 0, rest)) * words.shape[2] ** 0.5
        # (B, lines, columns, 3, p, p): a word's vector is a patch of three channels.
        grid = words.view(words.shape[0], -1, self.columns, 3, self.patch, self.patch)
        # (B, 3, lines, p, columns, p): rows of pixels, then columns of pixels, flattened in pairs.
        image = grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)  # (B, 3, H, W)
        # Rows of pixels up to a whole row of tokens.
        image = F.pad(image, (0, 0, 0, -image.shape[2] % self.steps))
        # A line is valid where any of its words is: (B, lines).
        lines = F.pad(valid, (0, rest)).view(words.shape[0], -1, self.columns).any(2)
        # Words fill lines from the top, so that the first row of pixels speaks for those below.
        mask = lines.repeat_interleave(self.patch, dim=1)[:, :: self.steps]
        return image, mask

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the word vectors, then the stages."""
        return (("words.",), *((f"stages.{index}.",) for index in range(len(self.stages))))
