"""Devices and number formats: which are available, and which are fast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from mmx.errors import ConfigError, Problem

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: CUDA was asked for and is not available.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        why = "this torch was built without CUDA" if not torch.version.cuda else "no CUDA device"
        raise ConfigError(
            [Problem("device=cuda", why, accepted="auto, cpu", type_this="device=cpu")]
        )
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def bf16_is_fast(device: torch.device) -> bool:
    """Return whether the device computes bfloat16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool({"amx_bf16", "avx512_bf16"} & cpu_formats())


def cpu_formats() -> set[str]:
    """Return which of the bfloat16 instructions of AMX and AVX-512 the CPU has."""
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
    else:  # torch 2.11 and 2.12 have only private functions for it
        found = {
            "amx_bf16": torch.cpu._is_amx_tile_supported(),
            "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
        }
    return {name for name in ("amx_bf16", "avx512_bf16") if found.get(name, False)}


@dataclass(frozen=True)
class Precision:
    """The number format of the forward pass; weights and optimiser stay in float32.

    Attributes:
        name: fp32, bf16 or fp16.
        device: The device of the forward pass.
    """

    name: str
    device: torch.device

    @classmethod
    def choose(cls, name: str, device: torch.device) -> Precision:
        """Return the format for ``auto``, ``fp32``, ``bf16`` or ``fp16``."""
        if name == "auto":
            name = "bf16" if bf16_is_fast(device) else "fp32"
        return cls(name, device)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of a forward pass."""
        if self.name not in DTYPES:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.name])

    def scaler(self) -> torch.amp.GradScaler:
        """Return a gradient scaler; it does nothing unless the format is fp16."""
        # bf16 has the exponents of fp32: its gradients do not underflow.
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")
