"""In what the jobs of a sweep differ, from their resolved configs instead of what was typed.

Runs belong to one group if their configs differ only in the seed and, in cross-validation, in the
fold and repeat of the target. A difference between groups
is shown as the chosen option (``fusion=concat``) if that explains all of it, and otherwise value
by value (``optimizer.lr=0.1``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DRAWS = (("seed",), ("target", "fold"), ("target", "repeat"))
"""Keys in which the runs of a group differ."""
INTERPOLATIONS = ("${seed}", "${target.fold}", "${target.repeat}")
"""The interpolations that give a value the run's seed, fold or repeat."""
FOLLOWERS = ("seed", "split_seed", "fold", "repeat")
"""Keys that may follow them in this way, and so differ within a group."""
PATH_KEYS = ("path", "root", "weights", "model")
"""Keys whose values are files and folders, shown relative to the working directory."""
EXPERIMENT = "experiment"
Keys = tuple[str, ...]
PLAIN = re.compile(r"[^\s\"'\[\]{},:=\\]+(?: [^\s\"'\[\]{},:=\\]+)*")
OTHER_KINDS = re.compile(
    r"null|true|false|[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(inf|nan)", re.I
)


@dataclass(frozen=True)
class Variant:
    """A sweep's job, as far as it is needed to distinguish it from others.

    Attributes:
        config: The resolved config, as it is shown.
        what: Its canonical form: equal values are written alike, weight files are digests.
        unresolved: The config with its interpolations.
        names: Config group to the name of the part.
        typed: Keys and groups of its command line, in their order.
        choices: Config group to chosen option, including ``experiment``.
    """

    config: Mapping[str, Any]
    what: Mapping[str, Any]
    unresolved: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    typed: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)

    def find_shared(self) -> dict[Keys, Any]:
        """Return the values that all runs of its group share, by their config keys."""
        return {
            keys: value
            for keys, value in iterate_leaves(self.what)
            if not (keys in DRAWS or self._follows_a_draw(keys))
        }

    def _follows_a_draw(self, keys: Keys) -> bool:
        return keys[-1] in FOLLOWERS and find_value(self.unresolved, keys) in INTERPOLATIONS


def label_variants(variants: Sequence[Variant]) -> list[dict[str, str]]:
    """Return the label of each job: the keys that distinguish it from others, with their values.

    Two jobs have the same label if and only if their configs differ only in seed, fold and repeat.
    """
    shared = [variant.find_shared() for variant in variants]
    groups = [_to_text(sorted(([*keys], value) for keys, value in one.items())) for one in shared]
    varied = _find_varied(shared)
    columns: dict[str, list[str]] = {}
    for name, cells in _propose_columns(variants, varied):
        same_group = len(set(zip(groups, cells, strict=True))) == len(set(groups))
        before = [tuple(column[row] for column in columns.values()) for row in range(len(cells))]
        # A column is kept if it never splits a group, and distinguishes more jobs than before.
        if same_group and len(set(zip(before, cells, strict=True))) > len(set(before)):
            columns[name] = cells
    return [{name: cells[row] for name, cells in columns.items()} for row in range(len(variants))]


def list_varied(variants: Sequence[Variant]) -> dict[str, list[str]]:
    """Return each dotted key that differs beyond seed, fold and repeat, with all its values.

    Unlike in labels, no key stands for others; one that follows another by interpolation is left
    out.
    """
    return {
        join_keys(keys): _find_cells(variants, keys)
        for keys in _find_varied([variant.find_shared() for variant in variants])
        if not any(str(find_value(each.unresolved, keys, "")).startswith("${") for each in variants)
    }


def _find_varied(shared: Sequence[Mapping[Keys, Any]]) -> list[Keys]:
    """Return the keys for which not all jobs have the same value."""
    every = dict.fromkeys(keys for one in shared for keys in one)
    return [
        keys
        for keys in every
        if len({_to_text(one[keys]) if keys in one else "" for one in shared}) > 1
    ]


def _propose_columns(
    variants: Sequence[Variant], varied: Sequence[Keys]
) -> Iterable[tuple[str, list[str]]]:
    """Yield columns that may tell groups apart: what was typed comes first."""
    groups = list(dict.fromkeys(group for each in variants for group in each.names))
    for name in dict.fromkeys(name for each in variants for name in each.typed):
        if name != "seed":
            yield name, _find_typed_cells(variants, groups, name)
    for group in groups:
        above = tuple(group.split("/"))
        if any(keys[: len(above)] == above for keys in varied):
            yield group, _find_names(variants, group)
    for keys in varied:
        yield join_keys(keys), _find_cells(variants, keys)


def _find_typed_cells(variants: Sequence[Variant], groups: Sequence[str], name: str) -> list[str]:
    """Return the values of a key or group that stands on a command line."""
    if name == EXPERIMENT:
        return [each.choices.get(name, "") for each in variants]
    if name in groups:
        return _find_names(variants, name)
    return _find_cells(variants, tuple(name.replace("/", ".").split(".")))


def _find_names(variants: Sequence[Variant], group: str) -> list[str]:
    return [each.names.get(group, "none") for each in variants]


def _find_cells(variants: Sequence[Variant], keys: Keys) -> list[str]:
    """Return the values at some keys as text: equal values get one text, others different ones.

    A path shortened to the working directory may read as another that was given in that form;
    the second of the two is then written in full, in quotes.
    """
    texts: dict[str, str] = {}  # canonical JSON of a value to the text that is shown
    found = []
    for each in variants:
        value = find_value(each.what, keys, Absent)
        if value is Absent and keys[-1] == "model":  # a folder counts by what its files hold
            value = find_value(each.what, (*keys[:-1], "weights"), Absent)
        given = Absent if value is Absent else find_value(each.config, keys, value)
        told = "" if value is Absent else _to_text(value)
        if told not in texts:
            text = format_varied(given, keys[-1])
            if text in texts.values():
                text = _quote(str(given))
            while text in texts.values():
                text = _quote(text)
            texts[told] = text
        found.append(texts[told])
    return found


def _to_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


class Absent:
    """Stands for a value that a config does not have."""


def iterate_leaves(node: Any, above: Keys = ()) -> Iterable[tuple[Keys, Any]]:
    """Yield every value of nested mappings with the keys that lead to it; a list is a value."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from iterate_leaves(value, (*above, str(key)))
    else:
        yield above, node


def find_value(node: Any, keys: Keys, default: Any = None) -> Any:
    """Return the value that keys lead to."""
    for key in keys:
        if not isinstance(node, Mapping) or key not in node:
            return default
        node = node[key]
    return node


def join_keys(keys: Keys) -> str:
    """Return the keys of a value as one would type them: ``optimizer.lr``."""
    return ".".join(key if re.fullmatch(r"[^\s.\"'=]+", key) else _quote(key) for key in keys)


def format_varied(value: Any, key: str = "") -> str:
    """Return a value as text, so that different values have different texts.

    A string that could be read as something else (a number, a list) or would break the line is
    in quotes. An absent value is the empty text.
    """
    if value is Absent:
        return ""
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{format_varied(str(k))}: {format_varied(v)}" for k, v in value.items())
            + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(format_varied, value)) + "]"
    if not isinstance(value, str):
        return "null" if value is None else json.dumps(value)
    if key in PATH_KEYS:
        value = _shorten_path(value)
    plain = value.isprintable() and (PLAIN.fullmatch(value) or (key in PATH_KEYS and value))
    return value if plain and not OTHER_KINDS.fullmatch(value) else _quote(value)


def join_overrides(overrides: Iterable[str]) -> str:
    """Return overrides on one line, in quotes where one could run into the next."""
    return " ".join(
        text if re.fullmatch(r"[^\s'\"\\]+", text) and text.isprintable() else _quote(text)
        for text in overrides
    )


def name_jobs(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Return a short name for each job: the overrides that not all of them have."""
    common = set.intersection(*(set(each) for each in overrides)) if overrides else set()
    return [" ".join(text for text in each if text not in common) for each in overrides]


def _quote(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shorten_path(path: str) -> str:
    """Return a path relative to the working directory, where it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return path
