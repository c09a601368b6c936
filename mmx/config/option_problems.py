"""What is wrong with the option that a group was given, and what to type instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmx.config.clashes import find_clash
from mmx.config.locate import find_alias
from mmx.config.synonyms import find_synonym
from mmx.errors import Problem, closest
from mmx.quoting import format_value, type_override
from mmx.renamed_options import find_word
from mmx.stage_id import TASK_ROLES
from mmx.table_suffixes import TABLE_SUFFIXES, find_suffix
from mmx.untrusted import unusable_path

TARS = (".tar", ".tgz")


def check_options(
    group: str, given: Any, text: str, known: Sequence[str], extra: Sequence[Path]
) -> Problem | None:
    """Return what is wrong with the value of a group: no option of it, several, or two owners'.

    Args:
        group: The group.
        given: Its value; ``experiment`` may have several.
        text: The override as it was typed.
        known: The options that the group has.
        extra: The user's config directories.
    """
    if isinstance(given, list) and group != "experiment":
        several = f"-m {group}={','.join(str(name) for name in given)}"
        reason = f"{group} takes one option, and a sweep several"
        return Problem(text, reason, accepted=", ".join(known), type_this=several)
    for name in given if isinstance(given, list) else [given]:
        if isinstance(name, str) and (option := name.removesuffix(".yaml")) in known:
            if clash := find_clash(group, option, text, extra):
                return clash
            continue
        if problem := refuse_path(group, name, text):
            return problem
        return _refuse_unknown(group, name, text, known, extra)
    return None


def _refuse_unknown(
    group: str, name: Any, text: str, known: Sequence[str], extra: Sequence[Path]
) -> Problem:
    """Return the problem of a name that a group does not have."""
    near = None if name is None else closest(str(name), known)
    typed = near and f"{group}={near}"
    if renamed := find_word(group, str(name)):
        return Problem(text, renamed.why, accepted=", ".join(known), type_this=renamed.advice)
    if meant := find_synonym(group, str(name), known):
        near, typed = meant
    reason = f"{group} has no option {format_value(name)}"
    if typed is None and isinstance(name, str) and name.isidentifier() and name != "none":
        file = f"{find_alias(group, extra) or group}/{name}.yaml"
        if extra:
            reason += f", and there is no {extra[0]}/{file}"
        else:
            own = f"--config-dir <folder> --allow <package> {group}={name}"
            typed = f"{own}   (for an option of your own, in <folder>/{file})"
    return Problem(text, reason, accepted=", ".join(known), closest=near, type_this=typed)


def refuse_path(group: str, name: Any, text: str) -> Problem | None:
    """Return what to type for a file or folder that was given as the source or target."""
    if group not in TASK_ROLES or not isinstance(name, str):
        return None
    if unusable_path(name) is not None:
        return None
    path = Path(name).expanduser()
    suffix, exists = find_suffix(path), path.exists()
    is_written_as_path = name.startswith((".", "/", "~")) or suffix in (*TABLE_SUFFIXES, *TARS)
    if not exists and not is_written_as_path:
        return None
    place = type_override(f"{group}.path", name)
    if suffix in TARS:
        option = "webdataset"
    elif suffix in TABLE_SUFFIXES:
        option = "table"
        place += f" {group}.label=<column> '{group}.columns={{<modality>: <column>}}'"
    else:
        option = "image_folder"
    reason = f"{group} takes the name of an option, and this is a path"
    if not exists:
        reason += " at which there is nothing"
    return Problem(text, reason, type_this=f"{group}={option} {place}")
