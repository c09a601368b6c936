"""Writes that happen wholly or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mmx.errors import RunError


def make_folder(path: Path, *, tip: str = "output_dir=<folder>   (where results go)") -> None:
    """Make a folder for results, and those above it.

    Raises:
        RunError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {path} cannot be made: {error.strerror}", tip=tip) from error


def write_text(path: Path, text: str) -> None:
    """Replace a file's content, atomically and durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, data: Any) -> None:
    """Write data as JSON that people can read."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's mapping; empty where the file is absent or broken."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no such file, no text, no JSON
        return {}
    return data if isinstance(data, dict) else {}
