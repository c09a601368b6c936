"""Words that name runs on the command lines of ``mmx list`` and ``mmx compare``."""

from __future__ import annotations

from argparse import ArgumentTypeError

from mmx.printable import shorten
from mmx.runs.conditions import looks_like_condition
from mmx.untrusted import unusable_path


def read_run_word(text: str) -> str:
    """Return a word that is a condition or a path, after checking that the system can handle it."""
    reason = None if looks_like_condition(text) else unusable_path(text)
    if reason:
        raise ArgumentTypeError(f"{shorten(text)} {reason}")
    return text


def read_keys(text: str) -> list[str]:
    """Return the keys in a text such as ``fusion,encoder/image``, with dots."""
    return [key.strip().replace("/", ".") for key in text.split(",") if key.strip()]
