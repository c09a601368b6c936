"""The weight files that encoders start from, and digests of their content."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mmx.encoders.image.pretrained import published_file
from mmx.errors import Problem, closest

WEIGHT_SUFFIXES = (".pth", ".pt", ".safetensors")
SETTLED_NS = 2_000_000_000
"""Nanoseconds; a file changed more recently may change again without a new time stamp."""
_DIGESTS: dict[tuple[str, int, int, int, int], str] = {}


def digest_content(path: Path) -> str:
    """Return the digest of a file's content, or of all names and contents in a folder.

    A process reads a file only once, as long as its size and times stay the same.
    """
    if path.is_dir():
        whole = hashlib.blake2b(digest_size=16)
        for each in sorted(path.rglob("*")):
            if each.is_file():
                name = each.relative_to(path).as_posix()
                whole.update(f"{name} {digest_content(each)}\n".encode())
        return whole.hexdigest()
    stat = path.stat()
    key = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key in _DIGESTS:
        return _DIGESTS[key]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS:
        _DIGESTS[key] = digest
    return digest


def digest_given_weights(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the weight files that a config names, by modality."""
    nodes = config.get("encoder")
    files = {
        name: Path(node["weights"]).expanduser()
        for name, node in (nodes.items() if isinstance(nodes, Mapping) else ())
        if isinstance(node, Mapping) and isinstance(node.get("weights"), str)
    }
    return _digest_files(files)


def digest_weights(
    nodes: Mapping[str, Any], makers: Mapping[str, Callable[..., nn.Module]]
) -> dict[str, str]:
    """Return the digests of all files that encoders start from, including published ones.

    Args:
        nodes: Modality to the encoder's node of the config.
        makers: Modality to ``make(spec)`` of the encoder.
    """
    files = {name: _find_weight_file(nodes[name], makers[name]) for name in nodes if name in makers}
    return _digest_files({name: path for name, path in files.items() if path is not None})


def find_missing_weights(
    nodes: Mapping[str, Any], makers: Mapping[str, Callable[..., nn.Module]]
) -> Iterator[Problem]:
    """Yield the weight files of mmx's encoders that do not exist."""
    for name, maker in makers.items():
        node = nodes.get(name)
        given = node.get("weights") if isinstance(node, Mapping) else None
        kind = getattr(maker, "func", maker)
        if not isinstance(given, str) or not hasattr(kind, "published"):
            continue
        path = Path(given).expanduser()
        if not path.is_file():
            found = _find_nearest(path)
            near = None if found is None else str(found)
            key = f"encoder.{name}.weights"
            yield Problem(
                f"{key}={given}",
                "is a folder" if path.is_dir() else "there is no such file",
                accepted=f"a file with tensors alone ({', '.join(WEIGHT_SUFFIXES)})",
                closest=near,
                type_this=None if near is None else _write_override(key, near),
            )


def _find_nearest(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent
    try:
        files = [each.name for each in folder.iterdir() if each.suffix in WEIGHT_SUFFIXES]
    except OSError:
        return None
    near = closest(path.name, files) or (files[0] if len(files) == 1 else None)
    return folder / near if near else None


def _write_override(key: str, value: str) -> str:
    """Return an override, quoted where its value needs that."""
    if re.fullmatch(r"[\w./+-]+", value):
        return f"{key}={value}"
    return f"'{key}=\"{value}\"'"


def _digest_files(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the digest of each file or folder that exists."""
    found = ((name, path) for name, path in files.items() if path.is_file() or path.is_dir())
    return {name: digest_content(path) for name, path in found}


def _find_weight_file(node: Any, maker: Callable[..., nn.Module]) -> Path | None:
    """Return the file that an encoder starts from: the one given, or the published one."""
    if not isinstance(node, Mapping):
        return None
    if isinstance(path := node.get("weights"), str):
        return Path(path).expanduser()
    published = getattr(getattr(maker, "func", maker), "published", None)
    return published_file(published.url) if node.get("pretrained") and published else None
