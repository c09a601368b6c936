"""The root keys of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from mmx.config.build import Builder
from mmx.config.nodes import ConfigNode
from mmx.errors import Problem
from mmx.modalities import Modality
from mmx.quoting import format_value

Modalities = dict[str, Modality[Any, Any]]
LINE_KEYS = ("seeds", "curve")
"""Keys that only the command line of ``mmx train`` reads: each is short for a sweep."""
LAUNCH_KEYS = ("jobs", "budget")
"""Keys that say how a command line is run, and nothing of its runs."""
MOST_RUNS = 100_000
"""Most runs that a key stands for."""
MOST_PROCESSES = 1024
"""Most processes that train one run."""
Jobs = Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
CurveFraction = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The root keys of a config.

    Args:
        seed: Seed of all random draws.
        seeds: On a command line: how many seeds to run, beginning with ``seed``.
        modalities: The modalities of the tasks to use; None for all.
        share_encoders: Modalities of which all inputs of a task have one encoder.
        match: ``params`` chooses the fusion's width by its number of parameters.
        match_params: Trainable parameters of fusion and head that ``params`` aims at.
        control: What the target is compared with: one control, a list of several, or ``none``.
        templates: The texts that stand for a class where ``control=zero_shot``, with ``{}`` in the
            place of its name; their mean counts.
        curve: On a command line: the fractions of the target's labels to run.
        jobs: On a command line with ``-m``: how many jobs run at the same time; ``auto`` goes by
            cores, memory and GPUs.
        processes: How many processes train the run together, each a share of every batch.
        budget: On a command line: the time after which the run or sweep is stopped and saved, such
            as ``2h``; None for none. See :func:`mmx.experiment.budget.read_budget`.
        source_weights: What a source task that is trained starts from: ``fresh`` draws, or the
            ``published`` weights of its encoders.
        device: Where to compute; ``auto`` takes CUDA where there is one.
        precision: Number format of the forward pass.
        compile: Whether encoders and fusion are compiled; ``reduce-overhead`` replays their
            training steps as CUDA graphs too, which pays where kernels are short.
        data_dir: Folder in which tasks look for their data.
        output_dir: Folder in which run directories are made.
        cache: Folder that keeps artifacts for later runs, or ``auto`` or ``off``.
        cache_gb: Size limit of the cache in GB; the least recently used artifacts go first.
        download: Whether anything may be downloaded.
    """

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    seeds: Annotated[int, Field(ge=1, le=MOST_RUNS)] | None = None
    modalities: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    share_encoders: tuple[str, ...] = ()
    match: Literal["none", "params"] = "none"
    match_params: Annotated[int, Field(ge=1, le=10**9)] = 200_000
    control: str | tuple[str, ...] = "scratch"
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("a photo of a {}.",)
    curve: (
        Literal["fractions"] | Annotated[tuple[CurveFraction, ...], Field(min_length=2)] | None
    ) = None
    jobs: Jobs = "auto"
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] = 1
    budget: (
        str | Annotated[int, Field(ge=0, le=10**9)] | Annotated[float, Field(ge=0, le=1e9)] | None
    ) = None
    source_weights: Literal["fresh", "published"] = "fresh"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["reduce-overhead"] = False
    data_dir: str
    output_dir: str = "outputs"
    cache: str = "auto"
    cache_gb: Annotated[float, Field(ge=0, le=1e6)] = 20.0
    download: bool = False


def reduce_to_one_run(
    builder: Builder, config: ConfigNode, settings: Settings | None
) -> ConfigNode:
    """Return the config without the keys of a command line that are short for a sweep."""
    for key in LINE_KEYS:
        value = getattr(settings, key, None)
        if value is not None:
            given = f"{key}={format_value(value)}"
            builder.problems.append(
                Problem(
                    given,
                    "stands for several runs, and this is the config of one",
                    type_this=f"{key}=null   (mmx train {given} runs them all)",
                )
            )
    return {key: value for key, value in config.items() if key not in (*LINE_KEYS, *LAUNCH_KEYS)}
