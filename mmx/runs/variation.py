"""In what the jobs of a sweep differ, read from their resolved configs, never from text.

Runs are seeds of one group where their configs differ in nothing but the seed. What groups
differ in is shown as it was chosen (``fusion=concat``) where the choice accounts for all that
differs, else value by value (``optimizer.lr=0.1``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = "${seed}"
"""How a config says that a value is the seed itself."""
NAMES_OF_SEEDS = ("seed", "split_seed")
"""Keys that follow the seed by that, and so differ between the seeds of one group."""
PLACES = ("path", "root", "weights")
"""Keys whose values are files and folders, shown from the working directory on."""
EXPERIMENT = "experiment"
Keys = tuple[str, ...]
PLAIN = re.compile(r"[^\s\"'\[\]{},:=\\]+(?: [^\s\"'\[\]{},:=\\]+)*")
OTHER_KINDS = re.compile(
    r"null|true|false|[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(inf|nan)", re.I
)


@dataclass(frozen=True)
class Variant:
    """A job of a sweep, as far as it says what differs.

    Attributes:
        config: Resolved, as it is shown.
        what: What counts of it: equal values are written alike, weight files are digests.
        unresolved: The config with its interpolations.
        names: Config group to what the part is called.
        typed: Keys and groups of its command line, in their order.
        choices: Config group to chosen option, ``experiment`` among them.
    """

    config: Mapping[str, Any]
    what: Mapping[str, Any]
    unresolved: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    typed: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)

    def shared(self) -> dict[Keys, Any]:
        """Return the values that all seeds of its group share, by their place in the config."""
        return {
            keys: value
            for keys, value in leaves(self.what)
            if not (keys == ("seed",) or self._follows_the_seed(keys))
        }

    def _follows_the_seed(self, keys: Keys) -> bool:
        return keys[-1] in NAMES_OF_SEEDS and at(self.unresolved, keys) == SEED


def labels(variants: Sequence[Variant]) -> list[dict[str, str]]:
    """Return what each job is called: what differs, and its value there.

    Two jobs have the same label if and only if their configs differ in the seed alone.
    """
    shared = [variant.shared() for variant in variants]
    groups = [_text(sorted(([*keys], value) for keys, value in one.items())) for one in shared]
    varied = _varied(shared)
    columns: dict[str, list[str]] = {}
    for name, cells in _candidates(variants, shared, varied):
        same_group = len(set(zip(groups, cells, strict=True))) == len(set(groups))
        before = [tuple(column[row] for column in columns.values()) for row in range(len(cells))]
        if same_group and len(set(zip(before, cells, strict=True))) > len(set(before)):
            columns[name] = cells
    return [{name: cells[row] for name, cells in columns.items()} for row in range(len(variants))]


def _varied(shared: Sequence[Mapping[Keys, Any]]) -> list[Keys]:
    """Return the places at which not all jobs have the same value."""
    every = dict.fromkeys(keys for one in shared for keys in one)
    return [
        keys
        for keys in every
        if len({_text(one[keys]) if keys in one else "" for one in shared}) > 1
    ]


def _candidates(
    variants: Sequence[Variant], shared: Sequence[Mapping[Keys, Any]], varied: Sequence[Keys]
) -> Iterable[tuple[str, list[str]]]:
    """Yield columns that may tell groups apart: what was typed comes first."""
    typed = dict.fromkeys(name for each in variants for name in each.typed)
    groups = dict.fromkeys(group for each in variants for group in each.names)
    for name in typed:
        if name == EXPERIMENT:
            yield name, [each.choices.get(name, "") for each in variants]
        elif name in groups:
            yield name, [each.names.get(name, "none") for each in variants]
        elif name != "seed":
            keys = tuple(name.replace("/", ".").split("."))
            yield name, _cells(variants, keys)
    for group in groups:
        above = tuple(group.split("/"))
        if any(keys[: len(above)] == above for keys in varied):
            yield group, [each.names.get(group, "none") for each in variants]
    for keys in varied:
        yield dotted(keys), _cells(variants, keys)


def _cells(variants: Sequence[Variant], keys: Keys) -> list[str]:
    """Return the values at a place as text; those that are equal in the text of the first.

    Others are told apart: a path that is shown from the working directory on, and one that was
    given so, are one text, and the second is written whole and in quotes.
    """
    texts: dict[str, str] = {}
    found = []
    for each in variants:
        value = at(each.what, keys, Absent)
        given = Absent if value is Absent else at(each.config, keys, value)
        told = "" if value is Absent else _text(value)
        if told not in texts:
            text = shown(given, keys[-1])
            if text in texts.values():
                text = _quoted(str(given))
            while text in texts.values():
                text = _quoted(text)
            texts[told] = text
        found.append(texts[told])
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


class Absent:
    """Stands for a value that a config does not have."""


def leaves(node: Any, above: Keys = ()) -> Iterable[tuple[Keys, Any]]:
    """Yield every value of nested mappings with the keys that lead to it; a list is a value."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, (*above, str(key)))
    else:
        yield above, node


def at(node: Any, keys: Keys, default: Any = None) -> Any:
    """Return the value that keys lead to."""
    for key in keys:
        if not isinstance(node, Mapping) or key not in node:
            return default
        node = node[key]
    return node


def dotted(keys: Keys) -> str:
    """Return where a value stands, as one would type it."""
    return ".".join(key if re.fullmatch(r"[^\s.\"'=]+", key) else _quoted(key) for key in keys)


def shown(value: Any, key: str = "") -> str:
    """Return a value as text that no other value has.

    Text that could be taken for something else (a number, a list) is in quotes, and so is what
    would break a line. An absent value is no text at all.
    """
    if value is Absent:
        return ""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{shown(str(k))}: {shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(shown, value)) + "]"
    if not isinstance(value, str):
        return "null" if value is None else json.dumps(value)
    if key in PLACES:
        value = _from_here(value)
    plain = value.isprintable() and (PLAIN.fullmatch(value) or (key in PLACES and value))
    return value if plain and not OTHER_KINDS.fullmatch(value) else _quoted(value)


def command(overrides: Iterable[str]) -> str:
    """Return overrides on one line, each of which can be told from the next."""
    return " ".join(
        text if re.fullmatch(r"[^\s'\"\\]+", text) and text.isprintable() else _quoted(text)
        for text in overrides
    )


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _from_here(path: str) -> str:
    """Return a path as it is seen from the working directory, where it lies below that."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return path
