"""Tensors and facts as one block of bytes, in the safetensors format, and back."""

from __future__ import annotations

import json

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mmx.json_object import Json
from mmx.runs.cache.folder import HEADER, TENSORS, DamagedError, header


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as reading gives them: by name, on the CPU, contiguous, sharing nothing."""
    return {
        name: tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format)
        for name in sorted(tensors)
    }


def pack(tensors: dict[str, Tensor], facts: Json, key: str) -> bytes:
    """Return what :func:`unpack` takes.

    Complex numbers are stored as pairs, since the format does not know all of them.

    Args:
        tensors: As :func:`plain` makes them.
        facts: JSON-able.
        key: Of the artifact, so that one under a wrong name is known.
    """
    pairs = [name for name, tensor in tensors.items() if tensor.is_complex()]
    stored = {
        name: torch.view_as_real(tensor) if tensor.is_complex() else tensor
        for name, tensor in tensors.items()
    }
    beside = json.dumps({"key": key, "facts": facts, "complex": pairs})
    return save(stored, metadata={HEADER: beside})


def unpack(data: bytes) -> tuple[dict[str, Tensor], Json]:
    """Return the tensors, sorted by name, and the facts.

    Raises:
        DamagedError: They are not what :func:`pack` gives.
    """
    try:
        beside = header(data)
        stored = load(data)
        for name in beside["complex"]:
            stored[name] = torch.view_as_complex(stored[name])
        facts = beside["facts"]
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedError(f"{TENSORS} cannot be unpacked: {error}") from error
    if not isinstance(facts, dict):
        raise DamagedError(f"{TENSORS} holds facts that are no mapping")
    return {name: stored[name] for name in sorted(stored)}, facts
