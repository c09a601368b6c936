"""The root keys of a config, and what the parts of an experiment are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from mmx.modalities import Modality

Modalities = dict[str, Modality[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The root keys of a config.

    Args:
        seed: Decides everything that is drawn.
        control: Which control is trained beside the target.
        device: Where to compute; ``auto`` takes CUDA where there is one.
        precision: Number format of the forward pass.
        compile: Whether encoders and fusion are compiled.
        data_dir: Where tasks look for their data.
        output_dir: Where run directories are made.
        download: Whether anything may be downloaded.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    control: Literal["scratch", "none"] = "scratch"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    data_dir: str
    output_dir: str = "outputs"
    download: bool = False
