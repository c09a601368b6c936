"""Exceptions of a class under test, in one line: type, message, and place in its code."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path

MMX = Path(__file__).parents[1]
CHECKS = Path(__file__).parent
LONGEST = 200


def describe_fault(error: BaseException) -> str:
    """Return the type, the message, and the last line of the user's code in the traceback."""
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return f"{type(error).__name__}: {text or 'without a message'} ({find_place(error)})"


def find_place(error: BaseException) -> str:
    """Return ``file:line`` of the last frame in the user's code; else in mmx; else anywhere."""
    frames = traceback.extract_tb(error.__traceback__)
    files = [(Path(frame.filename), frame.lineno) for frame in frames]
    own = [
        found for found in files if not _is_installed(found[0]) and not _is_inside(found[0], MMX)
    ]
    mmx = [
        found for found in files if _is_inside(found[0], MMX) and not _is_inside(found[0], CHECKS)
    ]
    path, line = (own or mmx or files)[-1]
    cwd = Path.cwd()
    return f"{path.relative_to(cwd) if _is_inside(path, cwd) else path}:{line}"


def _is_installed(path: Path) -> bool:
    """Return whether a file belongs to Python or to an installed package."""
    if "site-packages" in path.parts or str(path).startswith("<"):
        return True
    names = ("stdlib", "platstdlib")
    return any(_is_inside(path, Path(sysconfig.get_path(name))) for name in names) or _is_inside(
        path, Path(sys.prefix) / "lib"
    )


def _is_inside(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder)
