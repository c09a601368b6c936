"""Where in a YAML that is not mmx's own a key stands that has a problem: the file, and the line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from mmx.config.composed import Composed
from mmx.config.locate import find_options, read_text_or_empty
from mmx.config.part_packages import list_part_directories
from mmx.errors import Problem

_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class _File:
    """A user's file that a config is composed of.

    Attributes:
        path: Where it is.
        prefix: Where its keys belong in the config, as key parts.
        content: Its parsed text, with positions.
    """

    path: Path
    prefix: tuple[str, ...]
    content: yaml.Node


def place_in_files(
    problems: Sequence[Problem], composed: Composed, extra: Sequence[Path]
) -> list[Problem]:
    """Return the problems, with the place of each key that one of the user's files sets.

    What a command line sets has no place: there it is before the reader's eyes.

    Args:
        problems: What is wrong with the composed config.
        composed: The config.
        extra: The user's config directories.
    """
    folders = [*extra, *list_part_directories()]
    files = list(_list_files(composed, extra, folders)) if problems and folders else []
    return [_place(problem, composed, files) for problem in problems]


def _list_files(
    composed: Composed, extra: Sequence[Path], folders: Sequence[Path]
) -> Iterator[_File]:
    """Yield the chosen options that are files of the folders, those that win first."""
    # An experiment's keys replace those of the options that it chooses.
    for group in sorted(composed.choices, key=lambda group: group != "experiment"):
        options = find_options(group, extra)
        # The last of several experiments wins.
        for name in reversed(re.findall(r"[\w./+-]+", str(composed.choices[group]))):
            path = options.get(name.removesuffix(".yaml"))
            if path is None or not any(path.is_relative_to(folder) for folder in folders):
                continue
            text = read_text_or_empty(path)
            try:
                content = yaml.compose(text, Loader=yaml.SafeLoader)
            except (yaml.YAMLError, ValueError, RecursionError):
                continue
            if content is not None:
                found = _PACKAGE.search(text)
                package = found[1] if found else group.replace("/", ".")
                parts = [] if package == "_global_" else package.split(".")
                yield _File(path, tuple(parts), content)


def _place(problem: Problem, composed: Composed, files: Sequence[_File]) -> Problem:
    """Return a problem with the place of its key; unchanged where no file sets it."""
    key, has_value, _ = problem.given.partition("=")
    parts = tuple(key.split("."))
    groups = {group.replace("/", ".") for group in composed.choices}
    typed = {text.lstrip("+~").partition("=")[0].replace("/", ".") for text in composed.overrides}
    # The choice of an option sets none of its keys.
    if any(key.startswith(f"{each}.") for each in typed - groups) or any(
        each.startswith(f"{key}.") for each in typed
    ):
        return problem
    if key in typed and (has_value or key not in groups):
        return problem
    for file in files:
        if key in groups and has_value:
            line = _find_choice(file.content, key.replace(".", "/"))
        elif parts[: len(file.prefix)] == file.prefix:
            line = _find_line(file.content, parts[len(file.prefix) :])
        else:
            line = None
        if line is not None:
            where = f"{file.path}, line {line}"
            return replace(problem, where=where, type_this=_advise(problem, key))
    return problem


def _advise(problem: Problem, key: str) -> str | None:
    """Return what to write in the file, where a command line cannot mend it: a misspelt key."""
    typed, near = problem.type_this, problem.closest
    parent, _, last = (near or "").rpartition(".")
    if typed is None or not near or parent != key.rpartition(".")[0]:
        return typed
    name, sign, value = typed.partition("=")
    if name != near or not sign:
        return typed
    return f"{last}: {value}   (in place of that line)"


def _find_line(content: yaml.Node, parts: Sequence[str]) -> int | None:
    """Return the line, counted from 1, in which a key of a file stands; None if it does not."""
    node, line = content, content.start_mark.line + 1
    for part in parts:
        if not isinstance(node, yaml.MappingNode):
            break  # an item of a list has the line of the list's key
        for name, value in node.value:
            if name.value == part:
                node, line = value, name.start_mark.line + 1
                break
        else:
            return None
    return line


def _find_choice(content: yaml.Node, group: str) -> int | None:
    """Return the line of a file's defaults list that chooses an option of a group."""
    if not isinstance(content, yaml.MappingNode):
        return None
    for name, items in content.value:
        if name.value != "defaults" or not isinstance(items, yaml.SequenceNode):
            continue
        for item in items.value:
            for chosen, _ in item.value if isinstance(item, yaml.MappingNode) else ():
                words = str(chosen.value).split()  # such as "override /fusion"
                if words and words[-1].lstrip("/").partition("@")[0] == group:
                    line: int = chosen.start_mark.line
                    return line + 1
    return None
