"""The tensors of an exported program (``.pt2``) or of a TorchScript archive, without its program.

A program is code, and reading one by torch may run more than it says: ``torch.export.load``
unpickles constants and evaluates expressions. Only tensors are taken from the archive here; the
architecture is the encoder's. Layout, as torch 2.14 writes it:

    x.pt2  x/data/weights/model_weights_config.json   name to {"path_name", "tensor_meta"}
           x/data/weights/weight_0                    the bytes of a storage
    x.pt   x/data.pkl                                 the tree of modules, pickled
           x/data/0                                   the bytes of a storage
"""

from __future__ import annotations

import io
import json
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".pt2", ".bin")
"""Of the files of tensors that are read."""
WEIGHTS, LIST = "data/weights/", "_weights_config.json"
"""Where a ``.pt2`` keeps its tensors, and how the list of a program's tensors ends."""
TREE_BYTES = 64_000_000
"""Bytes of a tree of modules, or of a list of tensors, that are read at most."""
SCALARS = (
    *(None, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.float32, torch.float64, None, torch.complex64, torch.complex128),
    *(torch.bool, torch.bfloat16),
)
"""Types of a ``.pt2`` by their number there: ``ScalarType`` of torch/_export/serde/schema.py."""
STORAGES = {
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "HalfStorage": torch.float16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "BoolStorage": torch.bool,
    "BFloat16Storage": torch.bfloat16,
}


def read_exported(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of an exported program or a TorchScript archive, by their names there.

    Args:
        path: Of the file.

    Returns:
        None for a file of another kind.

    Raises:
        ValueError: It holds several programs, or something else than plain tensors.
    """
    try:
        with ZipFile(path) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
                raise ValueError("its numbers are not little-endian")
            if (old := "serialized_state_dict.pt") in archive.namelist():  # torch before 2.8
                found: dict[str, Tensor] = torch.load(
                    io.BytesIO(_read(archive, old)), map_location="cpu", weights_only=True
                )
                return found
            lists = [n for n in names if n.startswith(WEIGHTS) and n.endswith(LIST)]
            if len(lists) > 1:
                raise ValueError(f"it holds {len(lists)} programs")
            if lists:
                return dict(_read_program(archive, names, lists[0]))
            if "constants.pkl" in names and any(n.startswith("code/") for n in names):
                return dict(_read_script(archive, names))
    except (BadZipFile, OSError):
        pass
    return None


def _read(archive: ZipFile, name: str, limit: int | None = None) -> bytes:
    """Return a member, which is stored as it is: nothing is unpacked to more than the file."""
    info = archive.getinfo(name)
    if info.compress_type != ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    if limit is not None and info.file_size > limit:
        raise ValueError(f"{name} takes {info.file_size} bytes")
    return archive.read(name)


def _read_program(
    archive: ZipFile, names: dict[str, str], listed: str
) -> Iterator[tuple[str, Tensor]]:
    config = json.loads(_read(archive, names[listed], TREE_BYTES))["config"]
    for name, entry in config.items():
        if entry.get("use_pickle"):
            raise ValueError(f"{name} is pickled, and nothing of the file is executed")
        meta = entry["tensor_meta"]
        kind = SCALARS[meta["dtype"]]
        if kind is None:
            raise ValueError(f"{name} is of type {meta['dtype']}")
        content = _read(archive, names[f"{WEIGHTS}{entry['path_name']}"])
        sizes = [int(each["as_int"]) for each in meta["sizes"]]
        strides = [int(each["as_int"]) for each in meta["strides"]]
        offset = int(meta["storage_offset"]["as_int"])
        yield name, _view(content, kind, offset, sizes, strides)


def _view(
    content: bytes, kind: torch.dtype, offset: int, sizes: Sequence[int], strides: Sequence[int]
) -> Tensor:
    """Return a tensor of the bytes of a storage; torch refuses what lies outside of them."""
    count = math.prod(sizes)
    if count * kind.itemsize > len(content):  # strides of 0 would make much of little
        raise ValueError(f"a tensor of shape {tuple(sizes)} in {len(content)} bytes")
    if not content:
        return torch.empty(tuple(sizes), dtype=kind)
    # A copy of the bytes, since those of a file are read-only; offset and strides count elements.
    storage = torch.frombuffer(bytearray(content), dtype=kind)
    return storage.as_strided(tuple(sizes), tuple(strides), offset).clone()


class _Module:
    """Stands for every class of a TorchScript program: its attributes alone."""

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Tree(pickle.Unpickler):
    """Reads a tree of modules and tensors; everything else is refused by its name.

    Args:
        archive: The archive.
        names: Name of a member without its first folder, to its whole name.
    """

    LISTS: ClassVar[tuple[str, ...]] = ("intlist", "doublelist", "boollist", "tensorlist")

    def __init__(self, archive: ZipFile, names: dict[str, str]) -> None:
        super().__init__(io.BytesIO(_read(archive, names["data.pkl"], TREE_BYTES)))
        self.archive, self.names = archive, names

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or function that the tree names."""
        known: dict[tuple[str, str], Callable[..., Any] | torch.dtype] = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("collections", "OrderedDict"): OrderedDict,
            **{("torch.jit._pickle", f"build_{each}"): list for each in self.LISTS},
            **{("torch", each): kind for each, kind in STORAGES.items()},
        }
        if module.partition(".")[0] == "__torch__":
            return _Module
        if (module, name) not in known:
            raise ValueError(f"it holds a {module}.{name}, which is not read")
        return known[module, name]

    def persistent_load(self, found: Any) -> Callable[[int, Any, Any], Tensor]:
        """Return what makes a tensor of a storage."""
        _, kind, key, *_ = found
        content = _read(self.archive, self.names[f"data/{key}"])
        return lambda offset, sizes, strides: _view(content, kind, offset, sizes, strides)


def _rebuild(storage: Any, offset: int, sizes: Any, strides: Any, *_: object) -> Tensor:
    tensor: Tensor = storage(offset, sizes, strides)
    return tensor


def _read_script(archive: ZipFile, names: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
    yield from _walk(_Tree(archive, names).load(), "")


def _walk(node: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a module and of those within it, as its ``state_dict`` names them."""
    state = node.state if isinstance(node, _Module) else None
    for name, value in state.items() if isinstance(state, dict) else ():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        else:
            yield from _walk(value, f"{prefix}{name}.")
