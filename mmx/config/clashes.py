"""Options that two have: mmx and an installed package, or two packages. They are never guessed."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from mmx.config.composed import Composed
from mmx.config.locate import builtin_directory, find_options, find_owners
from mmx.config.part_packages import MMX
from mmx.errors import Problem


def find_clash(group: str, option: str, given: str, extra: Sequence[Path] = ()) -> Problem | None:
    """Return the problem of an option that several have; None where one has it.

    Args:
        group: The group, such as ``encoder/image``.
        option: Its option.
        given: What was typed, or what a file says.
        extra: The user's config directories; an option of theirs is the one that is meant.
    """
    owners = find_owners(group, option, extra)
    if len(owners) < 2:
        return None
    name, folder = next((name, folder) for name, folder in owners.items() if name != MMX)
    typed = f"--config-dir {shlex.quote(str(folder))} {group}={option}"
    return Problem(
        given,
        f"is an option of {' and of '.join(owners)}, and nothing says which is meant",
        type_this=f"{typed}   (that of {name}; for another, pip uninstall {name.split()[0]})",
    )


def find_chosen_clashes(
    composed: Composed, typed: Collection[str], extra: Sequence[Path]
) -> Iterator[Problem]:
    """Yield the problems of options that files choose and that several have.

    What mmx's own files choose is mmx's own where mmx has it.

    Args:
        composed: A config with its choices.
        typed: Groups that the command line chooses, which are checked one by one.
        extra: The user's config directories.
    """
    own = builtin_directory()
    experiment = find_options("experiment", extra).get(composed.choices.get("experiment", ""))
    from_outside = experiment is not None and not experiment.is_relative_to(own)
    for group, option in composed.choices.items():
        if group in typed:
            continue
        chosen_here = from_outside or MMX not in find_owners(group, option, extra)
        if chosen_here and (problem := find_clash(group, option, f"{group}={option}", extra)):
            yield problem
