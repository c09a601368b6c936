"""What the JSON files of a run directory hold: the types that everybody who reads them relies on.

A run may come from anybody, so a file is held against its record once, where it is read; a value
of another type is named with its file, and nobody further up has to look again. Keys that are
not here are let through as they are: later versions may write more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmx.errors import RunError
from mmx.printable import shorten
from mmx.tasks.contents import Kind

SHOWN = 60
"""Letters of a wrong value that an error shows."""
Metrics = dict[str, float]
BySplit = dict[str, Metrics]
Count = Annotated[int, Field(ge=0)]
Process = Annotated[int, Field(ge=1, lt=2**31)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Record(BaseModel):
    """A mapping, without any conversion of what it holds: ``"7"`` is no number."""

    model_config = ConfigDict(extra="allow", strict=True)


class Status(_Record):
    """``status.json``."""

    status: str
    since: str | None = None
    pid: Process | None = None
    host: str | None = None
    heartbeat: str | None = None
    error: str | None = None
    signal: int | None = None
    expected: bool | None = None


class _Code(_Record):
    digest: str | None = None
    git: str | None = None


class _Machine(_Record):
    threads: Annotated[int, Field(ge=1)] | None = None
    cuda: str | None = None


class Manifest(_Record):
    """``manifest.json``."""

    argv: list[str] = []
    cwd: str | None = None
    choices: dict[str, str] = {}
    overrides: list[str] = []
    seed: Count | None = None
    parent: str | None = None
    fingerprint: str | None = None
    data: dict[str, str] = {}
    cached: dict[str, bool] = {}
    versions: dict[str, str | None] = {}
    code: _Code = _Code()
    machine: _Machine = _Machine()


class _Class(_Record):
    recall: float | None = None
    precision: float | None = None
    support: Count | None = None


class _Classes(_Record):
    balanced_accuracy: float | None = None
    classes: dict[str, _Class] = {}


class _Chance(_Record):
    accuracy: float
    samples: Count


class _Source(_Record):
    task: str | None = None
    metrics: BySplit = {}


class _Target(_Source):
    classes: _Classes | None = None
    chance: _Chance | None = None


class _Control(_Record):
    metrics: BySplit = {}
    modality: str | None = None


class _Gain(_Record):
    metric: str | None = None
    value: float | None = None
    interval: Interval | None = None
    control: str = "scratch"
    level: float = 0.95
    verdict: str = ""


class _Faster(_Record):
    metric: str
    value: float | None = None
    control: str
    control_steps: Count
    control_s: float
    target_steps: Count | None
    target_s: float | None


class _Regularizer(_Record):
    name: str | None = None


class _Tried(_Record):
    candidate: str
    epochs: Count
    fate: str

    @model_validator(mode="after")
    def _one_metric(self) -> _Tried:
        values = list((self.model_extra or {}).values())
        if len(values) != 1 or not (values[0] is None or isinstance(values[0], float)):
            raise ValueError("one metric is expected")
        return self


class _Searched(_Record):
    tried: list[_Tried]
    not_tried: dict[str, str]
    budget: dict[str, float]
    steps: Count
    seconds: float


class _Line(_Record):
    metric: str
    kept: float
    alpha: Annotated[dict[str, BySplit], Field(min_length=1)]

    @model_validator(mode="after")
    def _metric_everywhere(self) -> _Line:
        for found in self.alpha.values():
            if any(self.metric not in found.get(split, {}) for split in SPLITS):
                raise ValueError(f"{self.metric} is expected at each point")
        return self


class _Transfer(_Record):
    mode: str | None = None
    regularizer: _Regularizer | None = None
    auto: _Searched | None = None
    wise_ft: _Line | None = None


class _Plan(_Record):
    metric: str
    budget: dict[str, float]
    refused: dict[str, str]


class _Trial(_Record):
    candidate: str
    epochs: Count
    val: Metrics
    seconds: float
    steps: Count
    score: list[float] | None = None


class _Rung(_Record):
    tried: list[str]
    dropped: dict[str, str]


class Search(_Record):
    """``auto.json``."""

    plan: _Plan
    order: list[str]
    scores: dict[str, Any]
    trials: list[_Trial]
    rungs: list[_Rung]
    seconds: float
    winner: str | None
    verdict: str


class Won(Search):
    """``auto.json`` of a search that has ended."""

    winner: str
    controls: list[str]
    left_out: dict[str, str]
    source_cached: bool


class _Timing(_Record):
    source_s: float | None = None
    target_s: float | None = None
    control_s: float | None = None
    search_s: float | None = None
    total_s: float | None = None
    train_samples_per_s: float | None = None
    seconds_per_sample: float | None = None
    source_cached: bool | None = None


class _Parameters(_Record):
    total: Count | None = None
    trainable: Count | None = None
    fusion: Count | None = None
    shared: Count | None = None


class _Cost(_Record):
    flops_per_sample: int | None = None


class Summary(_Record):
    """``summary.json``."""

    source: _Source = _Source()
    target: _Target = _Target()
    transfer: _Transfer = _Transfer()
    control: dict[str, _Control] = {}
    gain: _Gain | None = None
    gains: dict[str, _Gain] = {}
    faster: _Faster | None = None
    timing: _Timing = _Timing()
    params: _Parameters = _Parameters()
    cost: _Cost = _Cost()
    fusion: str | None = None
    seed: Count | None = None
    notes: list[str] = []


class _Meaning(_Record):
    kind: Kind
    classes: list[str]
    mean: float
    std: float


class Facts(_Record):
    """What the header of a stage's checkpoint says beside its tensors."""

    specs: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    target: _Meaning
    frozen_encoders: list[str]


class Line(_Record):
    """One line of ``metrics.jsonl``."""

    stage: str
    epoch: Count
    step: Count | None = None
    split: str
    name: str
    value: float | None
    seconds: float | None = None


SPLITS = ("val", "test")
FINISHED = (
    "source.task",
    "target.task",
    "target.metrics.test",
    "target.metrics.val",
    "transfer.mode",
    "fusion",
    "seed",
    "timing.source_s",
    "timing.source_cached",
    "timing.target_s",
    "timing.total_s",
    "timing.train_samples_per_s",
    "timing.seconds_per_sample",
    "params.total",
    "params.trainable",
    "params.shared",
    "cost.flops_per_sample",
)
"""What every finished run's summary has."""


def checked(data: dict[str, Any], record: type[BaseModel], path: Path) -> dict[str, Any]:
    """Return data as it was read, after it was held against its record.

    Raises:
        RunError: A value is not of the type that its readers rely on.
    """
    try:
        record.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = shorten(".".join(str(part) for part in first["loc"]))
        why = str(first["msg"])
        if first["type"] != "missing":
            why += f", not {shorten(repr(first['input']), SHOWN)}"
        raise RunError(f"{path} is not what mmx wrote: {key}: {why}") from error
    return data


def finished(summary: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the summary of a finished run, after a look whether all is there that is shown.

    Raises:
        RunError: It was cut.
    """
    for key in FINISHED:
        node: Any = summary
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is None:
            raise RunError(f"{path} is not whole: it lacks {key}")
    controls = summary.get("control", {})
    for name in summary["target"]["metrics"]["test"]:
        every = [summary["target"], *controls.values()]
        if any(name not in each["metrics"].get(split, {}) for each in every for split in SPLITS):
            raise RunError(f"{path} is not whole: {name} is missing where it is compared")
    compared = [*summary.get("gains", {}), (summary.get("faster") or {}).get("control")]
    for name in filter(None, compared):
        if name not in controls:
            raise RunError(f"{path} is not whole: it lacks control.{name}")
    return summary
