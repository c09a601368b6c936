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
"""Parts of mmx that no tensor depends on."""
LIBRARIES = ("torch", "torchvision", "torchaudio", "numpy", "scikit-learn", "pillow", "soundfile")
"""What decodes, fits and computes."""
FORMAT = 1
"""Counts up when artifacts are stored in another way."""


def key(kind: str, inputs: dict[str, Any]) -> str:
    """Return the key of an artifact, 32 hex digits.

    Args:
        kind: What sort of thing it is: ``stage``, ``features``, ``mapping``, …
        inputs: All that it depends on, as JSON-able data.

    Raises:
        TypeError: The inputs hold something that is no JSON.
    """
    text = json.dumps([FORMAT, kind, canonicalize(inputs), code_version()], sort_keys=True)
    return _digest(text.encode())


def canonicalize(node: Any, where: str = "inputs") -> Any:
    """Return JSON-able data in the one form that equal data share.

    ``1`` and ``1.0`` are the same number, a tuple is a list, and the order of a mapping does
    not count. The key ``1`` of a mapping is not the key ``"1"``.

    Raises:
        TypeError: Something is no JSON; what is said names it.
    """
    if isinstance(node, dict):
        return {_name(name, where): canonicalize(node[name], f"{where}.{name}") for name in node}
    if isinstance(node, (list, tuple)):
        return [canonicalize(item, f"{where}[{index}]") for index, item in enumerate(node)]
    if isinstance(node, float) and node.is_integer():
        return int(node)
    if node is None or isinstance(node, (str, int, float)):
        return node
    raise TypeError(f"{where} is a {type(node).__name__}: a key is made of JSON data alone")


def _name(name: Any, where: str) -> str:
    if isinstance(name, (list, tuple, dict)):
        raise TypeError(f"{where} has a {type(name).__name__} as a name: it is not JSON data")
    return json.dumps(canonicalize(name, f"a name in {where}"))


@cache
def code_version() -> str:
    """Return the digest of the code and libraries that numbers depend on."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    text = json.dumps([sources(PACKAGE, NO_NUMBERS), versions], sort_keys=True)
    return _digest(text.encode())


def sources(package: Path, without: Collection[str] = ()) -> str:
    """Return the digest of a package's Python files, by name and content.

    Args:
        package: Its folder.
        without: Files and folders at its top that do not count.
    """
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        if relative.parts[0] not in without:
            content = path.read_bytes()
            whole.update(f"{relative.as_posix()} {len(content)}\n".encode())
            whole.update(content)
    return whole.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
