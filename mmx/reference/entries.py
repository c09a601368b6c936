"""Groups, options and keys as they are explained, at the prompt and in the documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmx.config.allowed import allow
from mmx.config.annotations import describe_hint
from mmx.config.build import BUILTIN_PACKAGES, TARGET, locate
from mmx.config.locate import builtin_directory, find_options, read_headline, read_text_or_empty
from mmx.config.option_files import DEFAULTS, list_option_files, read_node
from mmx.config.signature import MISSING, list_options, resolve_hints
from mmx.config.yaml_comments import read_comments
from mmx.controls import CONTROLS
from mmx.experiment.settings import Settings
from mmx.quoting import format_value
from mmx.reference.docstrings import Docs, first_sentence, read_docs
from mmx.training.trainer import Trainer

TRAINER = "trainer"
CONTROL = "control"


@dataclass(frozen=True)
class Key:
    """A key of a config.

    Attributes:
        path: What is typed before ``=``, such as ``transfer.wise_ft``.
        accepts: Which values it takes, in words.
        default: What it is unless it is typed; None where it has to be typed.
        short: What it means, in one line.
        text: What it means, in full, with the paper where there is one.
        choices: Values that are explained one by one.
    """

    path: str
    accepts: str
    default: str | None
    short: str
    text: str
    choices: Mapping[str, str]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Option:
    """An option of a group.

    Attributes:
        group: The group.
        name: Its name.
        headline: What it is, in one line: that of its file.
        notes: What the file says below its headline: commands and what they gave.
        docs: What the docstring of its class says; empty where the class may not be imported.
        keys: Its keys, in the order of its file.
        target: The class, dotted; None for an experiment or an option without one.
    """

    group: str
    name: str
    headline: str
    notes: str
    docs: Docs
    keys: tuple[Key, ...]
    target: str | None

    @property
    def typed(self) -> str:
        """What chooses it."""
        return f"{self.group}={self.name}"


def describe_option(
    group: str, name: str, extra: Sequence[Path] = (), allowed: Collection[str] = ()
) -> Option:
    """Return an option with all of its keys.

    Args:
        group: A group of the command line.
        name: One of its options.
        extra: The user's config directories.
        allowed: Packages other than mmx whose classes may be imported.
    """
    files = list_option_files(group, name, extra)
    node: dict[str, Any] = {}
    comments: dict[str, str] = {}
    for path in reversed(files):  # the nearest file wins
        node = _merge(node, read_node(path))
        comments |= read_comments(read_text_or_empty(path))
    kind = _find_class(node, allowed)
    keys = () if group == "experiment" else _list_node_keys(group, node, comments, allowed)
    return Option(
        group,
        name,
        read_headline(files[0]) if files else "",
        _read_notes(files[0]) if files else "",
        Docs() if kind is None else read_docs(kind),
        tuple(keys),
        node.get(TARGET),
    )


def list_group(group: str, extra: Sequence[Path] = ()) -> dict[str, str]:
    """Return the options of a group with their headlines."""
    return {name: read_headline(path) for name, path in find_options(group, extra).items()}


def describe_root() -> tuple[Key, ...]:
    """Return the keys that are in no group: those of the run, and then those of the trainer."""
    path = builtin_directory() / "config.yaml"
    node, comments = read_node(path), read_comments(read_text_or_empty(path))
    own = {key: value for key, value in node.items() if not isinstance(value, dict)}
    own.pop(DEFAULTS)
    settings = _describe_keys("", own, comments, Settings)
    trainer = {f"{TRAINER}.{key}": text for key, text in _below(comments, TRAINER).items()}
    return (*settings, *_describe_keys(TRAINER, node[TRAINER], trainer, Trainer))


def _merge(base: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node with another merged into it, as Hydra does."""
    merged = dict(base)
    for key, value in node.items():
        if key == DEFAULTS:
            continue
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merge(old, value)
        merged[key] = value
    return merged


def _find_class(node: Mapping[str, Any], allowed: Collection[str]) -> Callable[..., Any] | None:
    """Return the class of a node; None where there is none that may be imported."""
    target = node.get(TARGET)
    if not isinstance(target, str):
        return None
    allow(allowed)
    try:
        found: Callable[..., Any] = locate(target, (*BUILTIN_PACKAGES, *allowed))
    except Exception:  # not allowed, not there, or a user's module that cannot be imported
        return None
    return found


def _list_node_keys(
    group: str, node: Mapping[str, Any], comments: Mapping[str, str], allowed: Collection[str]
) -> list[Key]:
    """Return the keys of a node, and those of the nodes in it."""
    prefix = group.replace("/", ".")
    own = {key: value for key, value in node.items() if key != TARGET}
    placed = {f"{prefix}.{key}": text for key, text in comments.items()}
    found = _describe_keys(prefix, own, placed, _find_class(node, allowed))
    for key, value in own.items():
        if isinstance(value, dict) and TARGET in value:
            found += _list_node_keys(f"{prefix}.{key}", value, _below(comments, key), allowed)
    return found


def _describe_keys(
    prefix: str,
    node: Mapping[str, Any],
    comments: Mapping[str, str],
    kind: Callable[..., Any] | None,
) -> list[Key]:
    """Return the keys of one node, which a class or function reads if it is known."""
    hints = {} if kind is None else resolve_hints(kind)
    said = {} if kind is None else read_docs(kind).arguments
    options = {} if kind is None else list_options(kind)
    found = []
    for name, value in node.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        text = _say_as_typed(said.get(str(name), ""))
        choices = _list_controls() if path == CONTROL else {}
        hint = hints.get(str(name)) if name in options else None
        short = comments.get(path) or first_sentence(text)
        default = None if value == MISSING else _format_default(value)
        accepts = _describe_values(value, hint, choices)
        found.append(Key(path, accepts, default, short, text or short, choices))
    return found


TYPED = {"None": "null", "True": "true", "False": "false"}


def _say_as_typed(text: str) -> str:
    """Return a docstring's text with the values of Python as a command line has them: ``null``."""
    return re.sub(r"\bNone\b(?! of)|\bTrue\b|\bFalse\b", lambda found: TYPED[found[0]], text)


def _describe_values(value: Any, hint: Any, choices: Mapping[str, str]) -> str:
    """Return in words what a key takes."""
    if choices:
        return f"one of {', '.join(choices)}, or a list of several"
    if hint is not None:
        words = describe_hint(hint)
        # null in a file may stand for a value that mmx finds before its code reads the key.
        return words if value is not None or hint is Any or "null" in words else f"{words} or null"
    if isinstance(value, list):
        return "a list of nodes, each with _target_ and its keys"
    return "keys of its own" if isinstance(value, dict) else "a value"


def _format_default(value: Any) -> str:
    if isinstance(value, dict) and TARGET in value:
        return str(value[TARGET]).rpartition(".")[2]
    return format_value(value)


def _below(comments: Mapping[str, str], key: str) -> dict[str, str]:
    """Return the comments of the keys below a key."""
    start = f"{key}."
    return {path[len(start) :]: text for path, text in comments.items() if path.startswith(start)}


def _list_controls() -> dict[str, str]:
    said = {name: read_docs(kind) for name, kind in CONTROLS.items()}
    found = {
        name: " ".join(f"{docs.summary} {docs.body}".split("\n\n")[0].split())
        for name, docs in said.items()
    }
    return {**found, "none": "No control is trained, and no gain is stated."}


def _read_notes(path: Path) -> str:
    """Return the comments at the head of a file, below its headline."""
    lines = []
    for line in read_text_or_empty(path).splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            lines.append(line[2:] if line.startswith("# ") else line[1:])
    return "\n".join(lines[1:]).strip("\n")
