"""Texts as ids of sub-words, by a published tokenizer."""

from __future__ import annotations

import hashlib
from typing import Any

from mmx.export.inputs.ids import IdsInput
from mmx.json_object import Json
from mmx.modalities import Modality
from mmx.modalities.sub_words import SubWordSpec


class SubWordsInput(IdsInput[SubWordSpec]):
    """``(T,)`` int64 ids, special tokens among them."""

    spec_type = SubWordSpec
    reader = "sub_words"
    packages = ("tokenizers",)

    def __init__(self, modality: Modality[Any, Any], spec: SubWordSpec) -> None:
        super().__init__(modality, spec)
        self.padding = spec.padding

    def describe(self) -> Json:
        """Return by which file a text is divided."""
        (name,) = self.files()
        return {"tokenizer": name, "max_tokens": self.spec.max_tokens, "clean": None}

    def files(self) -> dict[str, str]:
        """Return the tokenizer whole; inputs with the same one share the file."""
        digest = hashlib.blake2b(self.spec.tokenizer.encode(), digest_size=4).hexdigest()
        return {f"tokenizer-{digest}.json": self.spec.tokenizer}
