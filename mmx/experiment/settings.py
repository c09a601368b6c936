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
        modalities: Those that are used of what the tasks have; None for all.
        match: ``params`` chooses the fusion's width by its number of parameters.
        match_params: Trainable parameters of fusion and head that ``params`` aims at.
        control: Which control is trained beside the target.
        device: Where to compute; ``auto`` takes CUDA where there is one.
        precision: Number format of the forward pass.
        compile: Whether encoders and fusion are compiled.
        data_dir: Where tasks look for their data.
        output_dir: Where run directories are made.
        cache: Where stages' results are kept for later runs: ``auto``, ``off`` or a folder.
        cache_gb: What the cache may take, in gigabytes; what was not used for longest goes.
        download: Whether anything may be downloaded.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    modalities: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    match: Literal["none", "params"] = "none"
    match_params: Annotated[int, Field(ge=1)] = 200_000
    control: Literal["scratch", "none"] = "scratch"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    data_dir: str
    output_dir: str = "outputs"
    cache: str = "auto"
    cache_gb: Annotated[float, Field(ge=0)] = 20.0
    download: bool = False
