"""Checkpoints: tensors in safetensors, everything else as JSON in the same file's header.

    header   "mmx": {"format": 2, "digest": "…", "facts": {…}}, and where each tensor lies
    tensors

A checkpoint is one file, so that one rename replaces it: a reader finds the old state or the
new one, never half of each. The digest covers all bytes of the file except its own, and every
read checks it, so that a single changed bit is noticed. Early versions of mmx wrote only the
facts, without a digest; their files are read unchecked. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mmx.errors import DamagedFileError, RunError, UnreadableFileError
from mmx.json_object import Json
from mmx.untrusted import open_regular

FORMAT = 2
HEADER_LIMIT = 32 * 2**20
"""Most bytes of a header: names of tensors and the specs of the inputs, such as a vocabulary."""
_JSON = "mmx"
_KEYS = {"format", "digest", "facts"}
_DIGEST_BYTES = 32
_BLANK = b"0" * (2 * _DIGEST_BYTES)  # in place of the digest while it is computed
_LENGTH_BYTES = 8  # of safetensors: the header's length, little-endian, opens the file
_CHUNK = 2**20


def write_checkpoint(
    path: Path, tensors: dict[str, Tensor], facts: Json, *, before: Path | None = None
) -> None:
    """Write a checkpoint, atomically and durably.

    Args:
        path: The file.
        tensors: By name.
        facts: JSON-able.
        before: Where the previous file is kept; None if it is not.

    Raises:
        OSError: It cannot be written; the previous file is unchanged, and no other is left.
        ValueError: The header would be larger than what is read again.
    """
    # The digest is hashed as zeros, then written over them: both have the same length.
    text = json.dumps({"format": FORMAT, "digest": _BLANK.decode(), "facts": facts})
    data = memoryview(save(_copy_shared(tensors), metadata={_JSON: text}))
    length = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    if length > HEADER_LIMIT:
        raise ValueError(f"the header of {path} takes {length:,} bytes, not {HEADER_LIMIT:,}")
    # The first run of zeros: the metadata opens the header, and its digest precedes its facts.
    place = bytes(data[:length]).index(_BLANK)
    digest = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    # A run has one writer: what lies here is half-written, or a link that must not be followed.
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:
            file.write(data[:place])
            file.write(digest.encode())
            file.write(data[place + len(_BLANK) :])
            file.flush()
            os.fsync(file.fileno())  # before the rename, so that a crash leaves no empty file
        if before is not None and path.exists():
            path.replace(before)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _copy_shared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU without shared memory, which safetensors refuses."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        mine = tensor.detach().cpu().contiguous()
        # safetensors refuses tensors that share memory, such as those of tied weights.
        found[name] = mine.clone() if mine.data_ptr() in seen else mine
        seen.add(mine.data_ptr())
    return found


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Json]:
    """Return a checkpoint's tensors, on the CPU, and its facts.

    Raises:
        DamagedFileError: The file is not a checkpoint, or its bytes have changed.
        RunError: It is absent, or was written by a later version of mmx.
    """
    facts = _read_checked(path)[0]
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _damage_error(path, str(error)) from error


def read_facts(path: Path) -> Json:
    """Return a checkpoint's facts after checking the whole file.

    Raises:
        DamagedFileError, RunError: As :func:`read_checkpoint`.
    """
    return _read_checked(path)[0]


def has_digest(path: Path) -> bool:
    """Return whether a checkpoint has a digest, which early versions of mmx did not write.

    Raises:
        RunError: As :func:`read_checkpoint`.
    """
    return _read_checked(path)[1]


def _read_checked(path: Path) -> tuple[Json, bool]:
    """Return a checkpoint's facts, and whether a digest was there to check the file against."""
    try:
        with open_regular(path) as file:
            header = _read_header(file)
            kept = json.loads(json.loads(header[_LENGTH_BYTES:])["__metadata__"][_JSON])
            if not isinstance(kept, dict):
                raise ValueError("its facts are no mapping")
            if not kept.keys() & _KEYS:  # of an early version: the facts themselves
                return kept, False
            _check_digest(file, header, kept)
            if kept["format"] != FORMAT:
                raise RunError(
                    f"cannot read the checkpoint {path}: it has format {kept['format']}, of "
                    f"another version of mmx; this one reads {FORMAT}"
                )
    except UnreadableFileError as error:
        kind = RunError if error.missing else DamagedFileError
        raise kind(f"cannot read the checkpoint {path}: it {error.reason}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise _damage_error(path, f"{type(error).__name__}: {error}") from error
    facts: Json = kept["facts"]
    return facts, True


def _read_header(file: BinaryIO) -> bytes:
    """Return the first bytes of a file: the header's length and the header."""
    length = file.read(_LENGTH_BYTES)
    size, available = int.from_bytes(length, "little"), os.fstat(file.fileno()).st_size
    if len(length) < _LENGTH_BYTES or size > available - _LENGTH_BYTES:
        raise ValueError("it is cut short")
    if size > HEADER_LIMIT:
        raise ValueError(f"its header takes {size:,} bytes; at most {HEADER_LIMIT:,} are read")
    return length + file.read(size)


def _check_digest(file: BinaryIO, header: bytes, kept: Json) -> None:
    """Raise ValueError if a file's digest does not match; ``file`` stands after the header."""
    found = str(kept.get("digest")).encode()
    if kept.keys() != _KEYS or len(found) != len(_BLANK) or not isinstance(kept["facts"], dict):
        raise ValueError("its header is not what was written")
    # As the file was hashed: with zeros where the digest is now.
    # the header alone: the facts could hold the same text again, hence 1
    whole = hashlib.blake2b(header.replace(found, _BLANK, 1), digest_size=_DIGEST_BYTES)
    while chunk := file.read(_CHUNK):
        whole.update(chunk)
    if whole.hexdigest().encode() != found:
        raise ValueError("its bytes are not those that were written")


def _damage_error(path: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"cannot read the checkpoint {path}: {why}")


def restore(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load tensors that were read from ``path`` into a module.

    Raises:
        DamagedFileError: Some are not finite; none is loaded then.
        RunError: They do not fit the module.
    """
    check_finite(module, tensors, path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        what = str(error).partition("\n")[2].partition("\n")[0].strip()
        raise RunError(f"{path} does not fit its run's config and code: {what}") from error


def check_finite(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Raise DamagedFileError if tensors are not finite that should be.

    A tensor that is infinite in a fresh module, such as the best loss so far, may be infinite
    in a checkpoint too. Weights may not.
    """
    own = module.state_dict()
    finite = own.keys() - set(find_not_finite(own.items()))
    if names := sorted(finite & set(find_not_finite(tensors.items()))):
        raise DamagedFileError(f"{path} cannot be used: {names[0]} is not finite")


def find_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Return the names of the tensors that contain NaN or infinity."""
    floats = [(n, t.detach()) for n, t in tensors if t.is_floating_point() or t.is_complex()]
    if not floats:
        return []
    # One transfer for all tensors, since each one waits for the device.
    finite = torch.stack([t.isfinite().all() for _, t in floats]).tolist()
    return [name for (name, _), fine in zip(floats, finite, strict=True) if not fine]


def add_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with ``prefix.`` before each name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def take_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors named ``prefix.…``, without the prefix."""
    start = len(prefix) + 1
    return {k[start:]: v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], dict[str, Json]]:
    """Return the optimiser's per-parameter state: tensors by ``index.key``, and the rest."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Json] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                plain.setdefault(str(index), {})[key] = value
    return tensors, plain


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Json]
) -> None:
    """Load what :func:`optimizer_state` returned, in the memory layout of the parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, Json] = {int(index): dict(each) for index, each in plain.items()}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        # Fused kernels walk parameter and state in memory order: the layouts must be equal.
        if tensor.shape == like.shape:
            # empty_like takes the parameter's strides, which the stored tensor need not have.
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        # Other shapes are counters of the optimiser, such as Adam's step, which has no layout.
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
