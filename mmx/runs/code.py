"""Digests of the code that numbers depend on: that of mmx, and that of allowed packages.

Nothing is imported: files are located as Python would locate them, and read.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from mmx.runs.cache.artifact_key import NO_NUMBERS, PACKAGE, digest_sources

CODE = (".py", ".so", ".pyd")
_KNOWN: dict[str, tuple[ModuleType | None, str | None]] = {}


@cache
def numbers_digest() -> str:
    """Return the digest of the files of mmx that a number can depend on."""
    return digest_sources(PACKAGE, NO_NUMBERS)


def package_digest(name: str) -> str | None:
    """Return the digest of an allowed package's source files, by name and content.

    It covers the whole package that the first part of the name stands for, and the modules in
    the same folder that it imports. The digest is computed once for a loaded module, since the
    code that runs is the one that was loaded.

    Args:
        name: As given to ``--allow``: a package, a module, or one inside a package.

    Returns:
        None if there are no files, as for a module that was made in memory.
    """
    top = name.partition(".")[0]
    module = sys.modules.get(top)
    # Computed again once the module is loaded, or another one of the name is.
    if top not in _KNOWN or _KNOWN[top][0] is not module:
        _KNOWN[top] = (module, _digest(top))
    return _KNOWN[top][1]


def _digest(top: str) -> str | None:
    places = _find_places(top)
    if not places:
        return None
    whole = hashlib.blake2b(digest_size=16)
    for name, path in sorted(dict(_list_files(top, places)).items()):
        try:
            content = path.read_bytes()
        except OSError:  # a broken link
            continue
        whole.update(f"{name} {len(content)}\n".encode())
        whole.update(content)
    return whole.hexdigest()


def _find_places(top: str) -> list[Path]:
    """Return the folders of a package, or the file of a module; empty if it is not found."""
    module = sys.modules.get(top)
    spec = getattr(module, "__spec__", None)
    if spec is None:
        if module is not None:
            file = getattr(module, "__file__", None)
            return [Path(file)] if file and Path(file).is_file() else []
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(each) for each in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else []


def _list_files(top: str, places: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package, and of its imports from the same folder, with their names."""
    waiting, seen = [(top, place) for place in places], {top, "mmx"}
    while waiting:
        name, place = waiting.pop()
        folder = place.parent
        for path in _own_files(place):
            yield f"{name}/{path.relative_to(folder).as_posix()}", path
            if _is_library(folder):  # what it imports has a version, which is recorded
                continue
            for other in sorted(_find_imports(path) - seen):
                neighbours = [folder / other, folder / f"{other}.py"]
                found = [each for each in neighbours if each.exists()]
                waiting += [(other, each) for each in found]
                seen |= {other} if found else set()


def _own_files(place: Path) -> list[Path]:
    """Return a module's file, or the code files of a package without those in hidden folders."""
    if place.is_file():
        return [place]
    found = []
    for folder, inner, files in os.walk(place):
        # Changed in place: os.walk goes on into what is left here, in this order.
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__pycache__")))
        found += [Path(folder) / name for name in sorted(files) if name.endswith(CODE)]
    return found


def _find_imports(path: Path) -> set[str]:
    """Return the first parts of the names that a file imports."""
    if path.suffix != ".py":
        return set()
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@cache
def _is_library(folder: Path) -> bool:
    """Return whether a folder contains installed packages; their versions are recorded instead."""
    paths = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return folder.name in ("site-packages", "dist-packages") or str(folder) in paths
