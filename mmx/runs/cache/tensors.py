"""Tensors and facts packed into bytes in the safetensors format, and unpacked."""

from __future__ import annotations

import json

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mmx.json_object import Json
from mmx.runs.cache.folder import HEADER, TENSORS, DamagedError, read_header


def make_plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as reading returns them: sorted, on the CPU, contiguous, unshared."""
    return {
        # clone: .cpu() of a CPU tensor is the tensor itself, which training would still change.
        name: tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format)
        for name in sorted(tensors)
    }


def pack(tensors: dict[str, Tensor], facts: Json, key: str) -> bytes:
    """Return tensors and facts as bytes; :func:`unpack` is the inverse.

    Complex numbers are stored as pairs, since safetensors does not support all complex types.

    Args:
        tensors: Tensors from :func:`make_plain`.
        facts: JSON-able.
        key: The artifact's key, so that an artifact in a wrong folder is noticed.
    """
    pairs = [name for name, tensor in tensors.items() if tensor.is_complex()]
    stored = {
        name: torch.view_as_real(tensor) if tensor.is_complex() else tensor
        for name, tensor in tensors.items()
    }
    text = json.dumps({"key": key, "facts": facts, "complex": pairs})
    return save(stored, metadata={HEADER: text})


def unpack(data: bytes) -> tuple[dict[str, Tensor], Json]:
    """Return the tensors, sorted by name, and the facts.

    Raises:
        DamagedError: They are not what :func:`pack` returns.
    """
    try:
        header = read_header(data)
        stored = load(data)
        for name in header["complex"]:
            stored[name] = torch.view_as_complex(stored[name])
        facts = header["facts"]
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedError(f"{TENSORS} cannot be unpacked: {error}") from error
    if not isinstance(facts, dict):
        raise DamagedError(f"{TENSORS} holds facts that are no mapping")
    return {name: stored[name] for name in sorted(stored)}, facts
