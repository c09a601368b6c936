"""Options that two have: mmx and an installed package, or two packages.

What mmx has is mmx's own, with a note; between packages nothing is guessed.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from mmx.config.composed import Composed
from mmx.config.locate import find_owners
from mmx.config.option_files import chooses
from mmx.config.part_packages import MMX, list_part_directories
from mmx.errors import Problem


def find_clash(group: str, option: str, given: str, extra: Sequence[Path] = ()) -> Problem | None:
    """Return the problem of an option that several packages have, and mmx has not; else None.

    Args:
        group: The group, such as ``encoder/image``.
        option: Its option.
        given: What was typed, or what a file says.
        extra: The user's config directories; an option of theirs is the one that is meant.
    """
    owners = find_owners(group, option, extra)
    if MMX in owners or len(owners) < 2:
        return None
    name, folder = next(iter(owners.items()))
    return Problem(
        given,
        f"is an option of {' and of '.join(owners)}, and nothing says which is meant",
        type_this=f"{_type_option(folder, group, option)}   "
        f"(that of {name}; for another, pip uninstall {shlex.quote(name.split()[0])})",
    )


def describe_namesake(group: str, option: str, extra: Sequence[Path] = ()) -> str | None:
    """Return a note on an option of mmx of which an installed package has one too; else None.

    Args:
        group: The group, such as ``encoder/image``.
        option: Its option.
        extra: The user's config directories; an option of theirs is the one that is meant.
    """
    owners = find_owners(group, option, extra)
    if MMX not in owners or len(owners) < 2:
        return None
    others = [
        f"{name} has one too, which {_type_option(folder, group, option)} takes"
        for name, folder in owners.items()
        if name != MMX
    ]
    return f"{group}={option} is mmx's own; {'; '.join(others)}"


def _type_option(folder: Path, group: str, option: str) -> str:
    """Return what chooses the option of a folder, quoted for a shell."""
    return shlex.join(["--config-dir", str(folder), f"{group}={option}"])


def find_chosen_clashes(
    composed: Composed, typed: Collection[str], extra: Sequence[Path]
) -> Iterator[Problem]:
    """Yield the problems of options that files choose and that several packages have.

    Args:
        composed: A config with its choices.
        typed: Groups that the command line chooses, which are checked one by one.
        extra: The user's config directories.
    """
    for group, option in composed.choices.items():
        if group not in typed and (
            problem := find_clash(group, option, f"{group}={option}", extra)
        ):
            yield problem


def describe_namesakes(composed: Composed, extra: Sequence[Path]) -> Iterator[str]:
    """Yield the notes on options of mmx that were chosen, and that a package has too.

    Args:
        composed: A config with its choices and overrides.
        extra: The user's config directories.
    """
    if not list_part_directories():
        return
    typed = {text.lstrip("+~").partition("=")[0] for text in composed.overrides}
    experiment = composed.choices.get("experiment", "")
    for group, option in composed.choices.items():
        chosen = group in typed or chooses(group, experiment, extra)
        if chosen and (note := describe_namesake(group, option, extra)):
            yield note
