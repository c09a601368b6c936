"""Installed packages that add options: the entry points of the group ``mmx.parts``.

A package names the module that has a folder ``configs``, laid out as mmx's own::

    [project.entry-points."mmx.parts"]
    own_part = "own_part"

Nothing of it is imported: metadata is read, and the folder is found where Python would find the
module. Its files are data, read like those of ``--config-dir``; the classes that they name are
executed only with ``--allow``.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from mmx.config.allowed import hide_working_directory

GROUP = "mmx.parts"
"""The group of entry points."""
CONFIGS = "configs"
"""The folder of YAML in the module that an entry point names."""
MMX = "mmx"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class PartPackage:
    """An installed package whose entry point offers options.

    Attributes:
        distribution: Its name, as pip knows it.
        version: The installed one.
        module: The module that has the folder of YAML.
        folder: That folder; None where there is none.
    """

    distribution: str
    version: str
    module: str
    folder: Path | None

    @property
    def package(self) -> str:
        """What ``--allow`` takes."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


def find_part_packages() -> tuple[PartPackage, ...]:
    """Return the installed packages that offer options, sorted; each folder once."""
    return _find(tuple(sys.path))


def list_part_directories() -> list[Path]:
    """Return the folders of YAML of installed packages."""
    return [each.folder for each in find_part_packages() if each.folder is not None]


def find_package_of(path: Path) -> PartPackage | None:
    """Return the installed package that a file of options belongs to; None for other files."""
    return next(
        (each for each in find_part_packages() if each.folder and path.is_relative_to(each.folder)),
        None,
    )


@lru_cache(maxsize=8)
def _find(path: tuple[str, ...]) -> tuple[PartPackage, ...]:
    """Return the packages on a path; a process reads their metadata once for each path."""
    found: dict[tuple[str, Path | None], PartPackage] = {}
    with hide_working_directory():  # it may be a stranger's folder, with metadata in it
        entries = list(metadata.entry_points(group=GROUP))
    for entry in entries:
        if entry.dist is None or entry.dist.name == MMX:
            continue
        folder = _find_folder(entry.value)
        each = PartPackage(entry.dist.name, entry.dist.version, entry.value, folder)
        found.setdefault((entry.value if folder is None else "", folder), each)
    return tuple(sorted(found.values(), key=lambda each: (each.distribution, each.module)))


def _find_folder(module: str) -> Path | None:
    """Return a module's folder of YAML, without importing the module."""
    if not _MODULE.fullmatch(module):
        return None
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    places = (spec.submodule_search_locations if spec else None) or ()
    folders = (Path(place, *inner, CONFIGS) for place in places)
    return next((folder.resolve() for folder in folders if folder.is_dir()), None)
