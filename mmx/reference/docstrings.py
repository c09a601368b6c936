"""Docstrings taken apart: the first line, the text, and one paragraph for each argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from docstring_parser import DocstringStyle, parse

_ROLE = re.compile(r":\w+:`~?(?P<text>[^`]*)`")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")
_ABBREVIATIONS = ("et al.", "e.g.", "i.e.", "vs.", "cf.")


@dataclass(frozen=True)
class Docs:
    """What a docstring says.

    Attributes:
        summary: Its first sentence.
        body: The text that follows, in paragraphs; indented ones are formulas or examples.
        arguments: Name of an argument to what is said of it.
    """

    summary: str = ""
    body: str = ""
    arguments: dict[str, str] = field(default_factory=dict)


def read_docs(target: Callable[..., Any]) -> Docs:
    """Return what the docstring of a class or function says; arguments also of its bases."""
    return _read_once(target)


@cache
def _read_once(target: Any) -> Docs:
    arguments: dict[str, str] = {}
    for kind in reversed(inspect.getmro(target)[:-1] if inspect.isclass(target) else [target]):
        said = parse(inspect.cleandoc(kind.__dict__.get("__doc__") or ""), DocstringStyle.GOOGLE)
        described = [*said.params, *_read_constructor(kind)]
        arguments |= {each.arg_name: _join(each.description or "") for each in described}
    whole = inspect.cleandoc(target.__doc__ or "")
    own = parse(whole, DocstringStyle.GOOGLE)
    body = _find_indent(whole) + (own.long_description or "")
    return Docs(_join(own.short_description or ""), _drop_roles(body), arguments)


def _find_indent(whole: str) -> str:
    """Return the indent of the text below the first line: the parser drops that of a formula."""
    below = whole.partition("\n\n")[2].lstrip("\n")
    return below[: len(below) - len(below.lstrip(" "))]


def _read_constructor(kind: Any) -> list[Any]:
    """Return what the docstring of a class's own constructor says of its arguments."""
    constructor = kind.__dict__.get("__init__") if inspect.isclass(kind) else None
    text = inspect.cleandoc(getattr(constructor, "__doc__", None) or "")
    found: list[Any] = parse(text).params
    return found


def first_sentence(text: str) -> str:
    """Return the first sentence of a text, which may end with ``et al.`` in its middle."""
    parts = _SENTENCE.split(text)
    found = parts[0] if parts else ""
    for part in parts[1:]:
        if not found.endswith(_ABBREVIATIONS):
            break
        found += f" {part}"
    return found


def split_paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a docstring: each on one line, but for those that are indented."""
    paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
    return [part if part.startswith(" ") else _join(part) for part in paragraphs if part.strip()]


def _join(text: str) -> str:
    return " ".join(_drop_roles(text).split())


def _drop_roles(text: str) -> str:
    """Return a text with names in place of Sphinx's references: ``Task`` for :class:`~a.b.Task`."""

    def name(found: re.Match[str]) -> str:
        shown = found["text"].rpartition(".")[2] if "~" in found[0] else found["text"]
        return f"``{shown}``"

    return _ROLE.sub(name, text)
