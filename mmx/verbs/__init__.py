"""The verbs of ``mmx <verb>``: one file for each, with ``main(arguments) -> exit code``.

A file is a verb if it states at its top level what the command line shows of it:

    SUMMARY = "measure a run's model again on one of its splits"    its line in mmx --help
    NAME = "eval"               the verb, if the file has another name
    PLACE = 30                  its place in mmx --help; without it, last
    COMPLETES = {"runs": 1}     what TAB offers after it, see :class:`Verb`

They are read as text and not imported, so that ``mmx --help`` and TAB stay fast. Other files here
are helpers of verbs.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

STATED = ("NAME", "SUMMARY", "PLACE", "COMPLETES")


@dataclass(frozen=True)
class Verb:
    """What the command line knows about a verb before it is imported.

    Attributes:
        name: What is typed.
        module: Dotted; its ``main(arguments)`` runs the verb and returns the exit code.
        summary: One line of ``mmx --help``.
        place: Verbs are listed in this order, and by name where it is equal.
        completes: What TAB offers: ``words`` (a tuple) for the first word, ``runs`` run
            directories at most, with ``sweeps`` directories of sweeps too, ``flags`` (a dictionary
            from a flag to the values that it takes, to the name of a config group that has them,
            or to None where it takes none), with ``overrides`` what Hydra can complete, and with
            ``topics`` that and the verbs.
    """

    name: str
    module: str
    summary: str
    place: float = math.inf
    completes: Mapping[str, Any] = field(default_factory=dict)


def find_verbs() -> dict[str, Verb]:
    """Return the verbs by name, in the order of ``mmx --help``.

    Raises:
        ValueError: A file states something that is no literal.
    """
    return _find_in(tuple(__path__))


@cache
def _find_in(folders: tuple[str, ...]) -> dict[str, Verb]:
    paths = [path for folder in folders for path in Path(folder).glob("*.py")]
    verbs = [verb for path in paths if (verb := _read_verb(path)) is not None]
    return {verb.name: verb for verb in sorted(verbs, key=lambda each: (each.place, each.name))}


def _read_verb(path: Path) -> Verb | None:
    """Return the verb that a file states; None for a helper."""
    text = path.read_text(encoding="utf-8")
    if "\nSUMMARY = " not in text or path.stem == "__init__":
        return None
    stated = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in STATED
    }
    return Verb(
        stated.get("NAME", path.stem),
        f"{__name__}.{path.stem}",
        stated["SUMMARY"],
        stated.get("PLACE", math.inf),
        stated.get("COMPLETES", {}),
    )
