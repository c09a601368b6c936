"""Sub-words: texts as the ids that published weights were trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmx.errors import DataError
from mmx.modalities.base import Modality, RowNumbers, Spec, Stored, as_rows
from mmx.modalities.text import TextColumn
from mmx.modalities.text_remarks import MANY

VOCABULARY_SUFFIXES = (".json", ".txt", ".model", ".bpe", ".spm", ".tiktoken")
"""Of files that tokenizers are read from."""


@dataclass(frozen=True)
class SubWordSpec(Spec):
    """A tokenizer whole, so that a checkpoint reads texts without the folder that it came from.

    Attributes:
        tokenizer: As the library ``tokenizers`` writes it, in JSON.
        max_tokens: T; a longer text is cut, special tokens kept.
        vocabulary: How many ids there are.
        padding: The id of padding.
    """

    tokenizer: str
    max_tokens: int
    vocabulary: int
    padding: int = 0


class SubWords(Modality[TextColumn, SubWordSpec]):
    """Sequences of sub-words by a published tokenizer; nothing is learned from the rows.

    Args:
        folder: Where the tokenizer's files lie.
        max_tokens: T at most; a longer text is cut.
    """

    name = "text"

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        self.folder = folder
        self.max_tokens = max_tokens

    def fit(self, column: TextColumn, rows: RowNumbers) -> SubWordSpec:
        """Return the published tokenizer."""
        return self.example()

    def example(self) -> SubWordSpec:
        """Return the published tokenizer."""
        return read_tokenizer(self.folder, self.max_tokens)

    def encode(self, column: TextColumn, rows: RowNumbers, spec: SubWordSpec) -> Stored:
        """Return ``(B, T)`` int32 ids, the same as the library's own."""
        rows = as_rows(rows)
        values = np.full((len(rows), spec.max_tokens), spec.padding, dtype=np.int32)
        lengths = np.zeros(len(rows), dtype=np.int64)
        here = [i for i, row in enumerate(rows) if column.present[row]]
        texts = column.read(rows)
        for i, ids in zip(here, self.list_ids([texts[i] for i in here], spec), strict=True):
            values[i, : len(ids)] = ids
            lengths[i] = max(1, len(ids))
        return Stored(torch.from_numpy(values), torch.from_numpy(lengths))

    def list_ids(self, texts: Sequence[str], spec: SubWordSpec) -> list[list[int]]:
        """Return the ids of texts, special tokens among them."""
        return list_ids(texts, spec)

    def bytes_per_row(self, spec: SubWordSpec) -> int:
        """Return four bytes a token, and the length."""
        return 4 * spec.max_tokens + 8

    def inherits(self, column: TextColumn, spec: SubWordSpec) -> bool:
        """Return True: word embeddings mean nothing under other ids."""
        return True

    def remarks(self, column: TextColumn, rows: RowNumbers, spec: SubWordSpec) -> tuple[str, ...]:
        """Return how many texts are cut."""
        texts = list(dict.fromkeys(text for text in column.read(rows) if text))
        long = sum(len(ids) >= spec.max_tokens for ids in self.list_ids(texts, spec))
        if not long or long * MANY < len(texts):
            return ()
        return (
            f"text: {long} of {len(texts)} training texts fill encoder.text.max_tokens "
            f"(={spec.max_tokens}), and longer ones are cut at the end",
        )

    def prepare(self, stored: Stored, spec: SubWordSpec) -> Tensor:
        """Return ``(B, T)`` int64 ids."""
        return stored.values.to(torch.int64)


def read_tokenizer(folder: Path, max_tokens: int) -> SubWordSpec:
    """Return the tokenizer of a folder, read once for the same content of its files.

    Raises:
        DataError: It holds none that can be read.
    """
    return _read_tokenizer(folder, max_tokens, _digest_vocabulary(folder))


def _digest_vocabulary(folder: Path) -> str:
    """Return the digest of all files of a folder that may belong to a tokenizer."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*")):
        if path.suffix in VOCABULARY_SUFFIXES and path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _read_tokenizer(folder: Path, max_tokens: int, digest: str) -> SubWordSpec:
    """Return the tokenizer of a folder with files of this digest."""
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            pad = _find_padding(folder, text)
        else:  # an older model has its vocabulary alone
            from transformers import AutoTokenizer

            slow = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            siglip = type(slow).__name__ == "SiglipTokenizer"
            fast = _convert_siglip(slow) if siglip else slow.backend_tokenizer
            text, pad = fast.to_str(), slow.pad_token_id or 0
            _check_vocabulary(folder, slow)
        found = _tokenizer(text, max_tokens)
    except Exception as error:  # each reader raises types of its own
        raise DataError(
            f"{folder}: holds no tokenizer that can be read: {_shorten(error)}",
            tip="a folder with tokenizer.json, as the library tokenizers writes it; one with a "
            "vocabulary of sentencepiece alone needs pip install sentencepiece protobuf",
        ) from error
    return SubWordSpec(text, max_tokens, found.get_vocab_size(with_added_tokens=True), pad)


def _check_vocabulary(folder: Path, slow: Any) -> None:
    """Check that a tokenizer was read from a file: without one the library knows no word.

    Raises:
        ValueError: There is none of its files.
    """
    names = [*slow.vocab_files_names.values()]
    if names and not any((folder / name).is_file() for name in names):
        raise ValueError(f"there is none of {', '.join(names)}")


def _shorten(error: Exception) -> str:
    """Return an error in a line."""
    said = str(error).strip()
    if said.startswith("Couldn't instantiate the backend tokenizer"):
        return "the library finds no vocabulary in it"
    return said.splitlines()[0] if said else type(error).__name__


def _convert_siglip(slow: Any) -> Any:
    """Return SigLIP's tokenizer, which has a vocabulary of sentencepiece, as ``tokenizers`` has it.

    It ends each text. The library reads it only by sentencepiece itself, row by row.
    """
    from tokenizers import processors
    from transformers.convert_slow_tokenizer import SpmConverter

    class Converter(SpmConverter):  # type: ignore[misc]
        def post_processor(self) -> Any:
            end = slow.eos_token
            return processors.TemplateProcessing(
                single=["$A", end], special_tokens=[(end, slow.eos_token_id)]
            )

    return Converter(slow).converted()


def _find_padding(folder: Path, text: str) -> int:
    """Return the id of padding: as the configuration names it, as the tokenizer does, or 0."""
    data = json.loads(text)
    if isinstance(padding := data.get("padding"), dict):
        return int(padding["pad_id"])
    try:
        named = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    token = named.get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    ids = [each["id"] for each in data.get("added_tokens", ()) if each["content"] == token]
    return int(ids[0]) if ids else 0


@lru_cache(maxsize=4)
def _tokenizer(text: str, max_tokens: int) -> Any:
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(text)
    found.no_padding()
    found.enable_truncation(max_length=max_tokens)
    return found


def list_ids(texts: Sequence[str], spec: SubWordSpec) -> list[list[int]]:
    """Return the ids of texts, special tokens among them."""
    batch = _tokenizer(spec.tokenizer, spec.max_tokens).encode_batch(list(texts))
    return [each.ids for each in batch]
