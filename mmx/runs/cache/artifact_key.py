"""An artifact's key: one digest of its kind, all that it is made from, and the code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2]
NO_NUMBERS = (
    "__main__.py",
    "cli.py",
    "contract",
    "csv_text.py",
    "printable.py",
    "quoting.py",
    "reports",
    "runs",
    "streams.py",
    "terminal.py",
    "verbs",
)
"""Files and folders of mmx that no tensor depends on."""
LIBRARIES = ("torch", "torchvision", "torchaudio", "numpy", "scikit-learn", "pillow", "soundfile")
"""Libraries that decode, fit and compute."""
FORMAT = 1
"""Increased when artifacts are stored differently."""


def make_key(kind: str, inputs: dict[str, Any]) -> str:
    """Return the key of an artifact, 32 hex digits.

    Args:
        kind: Its kind: ``stage``, ``features``, ``mapping``, …
        inputs: All that it depends on, as JSON-able data.

    Raises:
        TypeError: The inputs contain something that is not JSON.
    """
    text = json.dumps([FORMAT, kind, canonicalize(inputs), code_version()], sort_keys=True)
    return _digest(text.encode())


def canonicalize(node: Any, where: str = "inputs") -> Any:
    """Return JSON-able data in a canonical form, the same for equal data.

    ``1`` and ``1.0`` are the same number, a tuple is a list, and the order of a mapping does not
    matter. The key ``1`` of a mapping is not the key ``"1"``.

    Raises:
        TypeError: Something is not JSON; the message names it.
    """
    if isinstance(node, dict):
        return {
            _canonicalize_name(name, where): canonicalize(node[name], f"{where}.{name}")
            for name in node
        }
    if isinstance(node, (list, tuple)):
        return [canonicalize(item, f"{where}[{index}]") for index, item in enumerate(node)]
    if isinstance(node, float) and node.is_integer():
        return int(node)
    if node is None or isinstance(node, (str, int, float)):
        return node
    raise TypeError(f"{where} is a {type(node).__name__}: a key is made of JSON data alone")


def _canonicalize_name(name: Any, where: str) -> str:
    if isinstance(name, (list, tuple, dict)):
        raise TypeError(f"{where} has a {type(name).__name__} as a name: it is not JSON data")
    return json.dumps(canonicalize(name, f"a name in {where}"))


@cache
def code_version() -> str:
    """Return the digest of the code and libraries that numbers depend on."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    text = json.dumps([digest_sources(PACKAGE, NO_NUMBERS), versions], sort_keys=True)
    return _digest(text.encode())


def digest_sources(package: Path, without: Collection[str] = ()) -> str:
    """Return the digest of a package's Python files, by name and content.

    Args:
        package: Its folder.
        without: Files and folders at its top level that are left out.
    """
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        if relative.parts[0] not in without:
            content = path.read_bytes()
            # With the length, so that bytes cannot move from one file to the next unnoticed.
            whole.update(f"{relative.as_posix()} {len(content)}\n".encode())
            whole.update(content)
    return whole.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
