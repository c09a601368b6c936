"""Texts as ids of words, by a vocabulary of the training rows."""

from __future__ import annotations

from mmx.export.inputs.ids import IdsInput
from mmx.json_object import Json
from mmx.modalities.text import FIRST_WORD, PADDING, UNKNOWN, TokenSpec
from mmx.modalities.tokenizers import describe_tokenizer


class TokensInput(IdsInput[TokenSpec]):
    """``(T,)`` int64 ids."""

    spec_type = TokenSpec
    reader = "text"
    padding = PADDING

    def describe(self) -> Json:
        """Return how a text is divided, and the words in the order of their ids."""
        return {
            "tokenizer": describe_tokenizer(self.spec.tokenizer),
            "max_tokens": self.spec.max_tokens,
            "unknown": UNKNOWN,
            "first_word": FIRST_WORD,
            "words": list(self.spec.words),
        }
