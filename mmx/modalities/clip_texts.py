"""Texts as image-text pairs read them: cleaned, then cut into sub-words."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmx.modalities.base import RowNumbers
from mmx.modalities.sub_words import SubWords, SubWordSpec, list_ids, read_tokenizer
from mmx.modalities.text import TextColumn
from mmx.modalities.text_remarks import MANY


@dataclass(frozen=True)
class ClipTextSpec(SubWordSpec):
    """A tokenizer whole, and how a text is cleaned before it is cut.

    ``tokenizer`` is empty where it is open_clip's own, whose vocabulary the library carries.

    Attributes:
        clean: As open_clip calls it: ``lower``, ``whitespace`` or ``canonicalize``; or
            ``siglip`` or ``siglip2``, as their tokenizers in the library transformers do it.
        stripped: The id of a separator that is replaced by 0; None for none.
    """

    clean: str = "lower"
    stripped: int | None = None


class ClipTexts(SubWords):
    """Sequences of sub-words as a pair of open_clip, or SigLIP, expects them.

    Args:
        folder: Where the tokenizer's files lie; None for the tokenizer of open_clip itself.
        max_tokens: T, the pair's context; a longer text is cut.
        clean: How a text is cleaned before; see :class:`ClipTextSpec`.
        strip_separator: Whether the separator is replaced by 0.
    """

    def __init__(
        self, folder: Path | None, *, max_tokens: int, clean: str, strip_separator: bool = False
    ) -> None:
        super().__init__(folder or Path(), max_tokens=max_tokens)
        self.own = folder is None
        self.clean = clean
        self.strip_separator = strip_separator

    def example(self) -> ClipTextSpec:
        """Return the published tokenizer."""
        if self.own:
            size = _own_tokenizer(self.clean).vocab_size
            return ClipTextSpec("", self.max_tokens, size, 0, clean=self.clean)
        found = read_tokenizer(self.folder, self.max_tokens)
        stripped = _find_separator(self.folder) if self.strip_separator else None
        return ClipTextSpec(
            found.tokenizer,
            found.max_tokens,
            found.vocabulary,
            found.padding,
            clean=self.clean,
            stripped=stripped,
        )

    def list_ids(self, texts: Sequence[str], spec: SubWordSpec) -> list[list[int]]:
        """Return the ids of texts, special tokens among them, the same as the library's own."""
        if not isinstance(spec, ClipTextSpec):
            return list_ids(texts, spec)
        if not spec.tokenizer:
            return [_list_own(text, spec) for text in texts]
        clean = _find_cleaner(spec.clean)
        found = list_ids([clean(text) for text in texts], spec)
        return [[0 if each == spec.stripped else each for each in ids] for ids in found]

    def remarks(self, column: TextColumn, rows: RowNumbers, spec: SubWordSpec) -> tuple[str, ...]:
        """Return how many texts are cut."""
        texts = list(dict.fromkeys(text for text in column.read(rows) if text))
        long = sum(len(ids) >= spec.max_tokens for ids in self.list_ids(texts, spec))
        if not long or long * MANY < len(texts):
            return ()
        return (
            f"text: {long} of {len(texts)} training texts fill the {spec.max_tokens} tokens of the "
            "model, and longer ones are cut at the end",
        )


def _find_cleaner(name: str) -> Callable[[str], str]:
    if name in CLEANERS:
        return CLEANERS[name]
    from open_clip.tokenizer import get_clean_fn

    found: Callable[[str], str] = get_clean_fn(name)
    return found


def clean_for_siglip(text: str) -> str:
    """Return a text in lower case, without punctuation, and with single spaces alone."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\s+", " ", text).strip()


CLEANERS: Mapping[str, Callable[[str], str]] = {"siglip": clean_for_siglip, "siglip2": str.lower}


def _list_own(text: str, spec: ClipTextSpec) -> list[int]:
    """Return the ids of a text by open_clip's own tokenizer, cut so that the end token stays."""
    tokenizer = _own_tokenizer(spec.clean)
    ids = [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]
    if len(ids) > spec.max_tokens:
        ids = [*ids[: spec.max_tokens - 1], tokenizer.eot_token_id]
    return ids


@lru_cache(maxsize=4)
def _own_tokenizer(clean: str) -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(clean=clean)


def _find_separator(folder: Path) -> int | None:
    """Return the id of the separator, as the library transformers finds it."""
    from transformers import AutoTokenizer

    found: int | None = AutoTokenizer.from_pretrained(folder, local_files_only=True).sep_token_id
    return found
