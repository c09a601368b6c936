"""Word vectors of word ids."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmx.encoders.padding import step_mask, zero_padding
from mmx.modalities.text import PADDING, TokenSpec


class Words(nn.Module):
    """A vector for each word, with dropout; zeros for padding.

    A text without words counts as one padding token. The vectors start with a norm of about 1,
    whatever their width.

    Args:
        spec: The vocabulary.
        width: D of a word vector.
        dropout: Fraction of the activations dropped in training.
    """

    def __init__(self, spec: TokenSpec, *, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.vocabulary, width, padding_idx=PADDING)
        # vectors have a norm of about 1, whatever their width
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        # normal_ has overwritten the padding vector, which never gets a gradient.
        nn.init.zeros_(self.embedding.weight.data[PADDING])
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return word vectors and their mask.

        Args:
            ids: ``(B, T)`` int64 word ids.
            lengths: ``(B,)`` int64 valid tokens.

        Returns:
            ``(B, T, D)`` vectors and ``(B, T)`` bool, True where a word is valid.
        """
        if ids.shape[1] == 0:  # a batch of empty texts only
            ids = F.pad(ids, (0, 1), value=PADDING)
        mask = step_mask(lengths, ids)
        # After dropout, which leaves zeros zero: padding is zero in every case.
        return zero_padding(self.dropout(self.embedding(ids)), mask), mask
