"""Reads a text as ids of sub-words. Needs the library tokenizers, and numpy."""

import re
import string
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer


def read(text: str, how: dict[str, Any]) -> Any:
    """Return ``(T,)`` ids, special tokens among them."""
    folder = Path(__file__).parent.parent
    tokenizer = Tokenizer.from_file(str(folder / how["tokenizer"]))
    tokenizer.no_padding()
    tokenizer.enable_truncation(how["max_tokens"])
    ids = tokenizer.encode(clean(text, how["clean"])).ids
    kept = [0 if number == how.get("stripped") else number for number in ids]
    return np.array(kept or [how["padding"]])  # without a token, one of padding is read


def clean(text: str, how: str | None) -> str:
    """Return a text as a pair of image and text expects it."""
    if how == "siglip":
        text = text.lower().translate(str.maketrans("", "", string.punctuation))
        return re.sub(r"\s+", " ", text).strip()
    if how in ("siglip2", None):
        return text if how is None else text.lower()
    raise ValueError(f"a text cannot be cleaned by {how!r} here")
