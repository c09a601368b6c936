"""Where config files are, and the one-line description of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml

from mmx.config.part_packages import MMX, find_part_packages, list_part_directories
from mmx.errors import UnreadableFileError
from mmx.printable import printable
from mmx.stage_id import TASK_ROLES
from mmx.untrusted import read_text

FILE_BYTES = 2**18
"""Largest size of a config file."""
TASK_GROUP = "task"
ALIASES = {**{role.value: TASK_GROUP for role in TASK_ROLES}, "source_objective": "objective"}
"""Group to the other group that it also takes options from."""
ENCODER = "encoder"
"""Group of the encoders, one for each modality."""

_PACKAGE = Path(__file__).parent.parent
HIDDEN_GROUPS = ("hydra", TASK_GROUP)


def builtin_directory() -> Path:
    """Return the folder of mmx's own configs: in the installed package, or in the repository."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def list_directories(extra: Sequence[Path] = ()) -> list[Path]:
    """Return the config directories; the user's come first, and so win.

    Those of installed packages come last: what they add takes no option of mmx's own away.
    """
    return [*extra, builtin_directory(), *list_part_directories()]


def read_config_directories(words: Sequence[str]) -> list[Path]:
    """Return the user's config directories on a command line, which may be unfinished."""
    names = ("--config-dir", "-cd")
    found = [Path(value) for flag, value in pairwise(words) if flag in names]
    glued = [word.partition("=") for word in words]
    return [*found, *(Path(value) for flag, sign, value in glued if sign and flag in names)]


def find_alias(path: str, extra: Sequence[Path] = ()) -> str | None:
    """Return the other path that has the same options; None where there is none.

    ``source`` takes those of ``task``, and ``encoder/image_front``, the encoder of one of several
    images, those of ``encoder/image``.

    Args:
        path: A group, or a group and what is in it, with slashes.
        extra: The user's config directories.
    """
    head, _, rest = path.strip("/").partition("/")
    if head in ALIASES:
        return f"{ALIASES[head]}/{rest}".rstrip("/")
    name, _, option = rest.partition("/")
    if head != ENCODER or not name:
        return None
    words = name.split("_")
    for count in range(len(words) - 1, 0, -1):
        modality = "_".join(words[:count])
        if any((root / ENCODER / modality).is_dir() for root in list_directories(extra)):
            return f"{ENCODER}/{modality}/{option}".rstrip("/")
    return None


def find_options(group: str, extra: Sequence[Path] = ()) -> dict[str, Path]:
    """Return the options of a group with their files, sorted by name."""
    alias = find_alias(group, extra)
    folders = [group] if alias is None else [group, alias]
    found: dict[str, Path] = {}
    for root in list_directories(extra):
        for folder in folders:
            for path in sorted((root / folder).glob("*.yaml")):
                found.setdefault(path.stem, path)  # the first directory wins
    return dict(sorted(found.items()))


def find_builtin_options(group: str) -> dict[str, Path]:
    """Return mmx's own options of a group, without those of installed packages."""
    own = builtin_directory()
    return {name: path for name, path in find_options(group).items() if path.is_relative_to(own)}


def find_owners(group: str, option: str, extra: Sequence[Path] = ()) -> dict[str, Path]:
    """Return who has an option, ``mmx`` or an installed package, and the folder that it is in.

    None where the user has a file for it, who thereby says which is meant.

    Args:
        group: The group, such as ``encoder/image``.
        option: Its option.
        extra: The user's config directories.
    """
    alias = find_alias(group, extra)
    folders = [group] if alias is None else [group, alias]

    def has_it(root: Path) -> bool:
        return any((root / folder / f"{option}.yaml").is_file() for folder in folders)

    if any(has_it(root) for root in extra):
        return {}
    own = builtin_directory()
    packages = {str(each): each.folder for each in find_part_packages() if each.folder is not None}
    return {name: root for name, root in {MMX: own, **packages}.items() if has_it(root)}


@cache
def find_default_option(group: str) -> str | None:
    """Return the default option of a group; None if it has none."""
    root = yaml.safe_load((builtin_directory() / "config.yaml").read_text(encoding="utf-8"))
    own = {
        key: str(option)
        for item in root["defaults"]
        if item != "_self_"
        for key, option in item.items()
    }
    return own.get(group) or own.get(find_alias(group) or "")


def list_groups(extra: Sequence[Path] = ()) -> list[str]:
    """Return the groups a command line may choose from, in the order of a run."""
    order = [*TASK_ROLES, "encoder", "sharing", "mapping", "missing", "fusion", "balance"]
    order += ["transfer", "regularizer", "objective", "source_objective", "optimizer", "metric"]
    order += ["calibration", "tracker", "experiment"]
    found = set(ALIASES)
    for root in list_directories(extra):
        for path in root.rglob("*.yaml"):
            group = path.relative_to(root).parent.as_posix()
            if group != "." and group.split("/")[0] not in HIDDEN_GROUPS:
                found.add(group)

    def rank(group: str) -> tuple[int, str]:
        top = group.split("/")[0]
        return (order.index(top) if top in order else len(order), group)

    return sorted(found, key=rank)


def read_text_or_empty(path: Path) -> str:
    """Return the text of a YAML file, empty where it cannot be read."""
    try:
        return read_text(path, limit=FILE_BYTES)
    except UnreadableFileError:
        return ""


def read_headline(path: Path) -> str:
    """Return the first comment of a YAML file, its one-line description."""
    for line in read_text_or_empty(path).splitlines():
        if line.startswith("# @"):  # Hydra's header, such as "# @package _global_"
            continue
        return printable(line.lstrip("# ").strip()) if line.startswith("#") else ""
    return ""
