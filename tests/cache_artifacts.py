"""Artifacts of a cache for tests: kept, found, damaged, and held by another process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from mmx.runs.cache import Artifact, Cache

PLENTY = 10**9
Made = tuple[dict[str, Tensor], dict[str, Any]]


def never() -> Made:
    raise AssertionError("made again")


def quiet(_: object) -> None:
    pass


def bits(tensor: Tensor) -> bytes:
    """Return the memory of a tensor, element by element."""
    return bytes(tensor.detach().resolve_conj().resolve_neg().contiguous().untyped_storage())


def fill(cache: Cache, number: int, *, size: int = 1000, used: float | None = None) -> Artifact:
    """Keep ``size`` bytes as artifact ``number``; say when it was used."""
    made = ({"w": torch.full((size,), number, dtype=torch.uint8)}, {"number": number})
    cache.get_or_make("stage", {"number": number}, lambda: made, say=quiet, what=f"w{number}")
    artifact = find(cache, number)
    if used is not None:
        os.utime(artifact.path / "provenance.json", (used, used))
    return artifact


def find(cache: Cache, number: int) -> Artifact:
    key = cache.key("stage", {"number": number})
    (found,) = (artifact for artifact in cache.entries() if artifact.key == key)
    return found


def numbers(cache: Cache) -> list[int]:
    """Return which artifacts are kept, the least recently used first."""
    return [int(artifact.what[1:]) for artifact in cache.entries()]


@contextlib.contextmanager
def taken(cache: Cache, key: str) -> Iterator[None]:
    """Hold a key as another process would."""
    with FileLock(str(cache.path / ".locks" / key)):
        yield


def flip(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
