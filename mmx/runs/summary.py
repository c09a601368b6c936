"""``summary.json``: the answer of a finished run, with the same types for writing and reading.

A :class:`Summary` is assembled once and never changed. A file of an older mmx may lack entries,
which then have their defaults, and one of a newer mmx may have more, which are kept.
``docs/reference/summary.schema.json`` is the JSON schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from mmx.errors import RunError
from mmx.evaluation.chance import Chance
from mmx.evaluation.faster import Faster
from mmx.json_object import Json
from mmx.runs.records import BySplit, Count, Interval, Metrics, Record

FORMAT = 1
"""The format of ``summary.json``; 0 stands for older files, which have none."""
SPLITS = ("val", "test")
Number = int | float


class ClassResult(Record):
    """One class on the test split; None if it does not occur, or is never predicted."""

    recall: float | None = None
    precision: float | None = None
    support: Count = 0


class ClassTable(Record):
    """All classes on the test split, and the confusion matrix."""

    balanced_accuracy: float | None = None
    f1_macro: float | None = None
    classes: dict[str, ClassResult] = {}
    confusion: list[list[Any]] = []


class ChanceResult(Record):
    """What one answer for all rows reaches; see :class:`Chance`.

    Only for a metric other than accuracy there are ``metric``, ``value`` and ``bound``.
    """

    accuracy: float
    samples: Count
    metric: str = "accuracy"
    value: float | None = None
    bound: float | None = None
    lower_is_better: bool = False

    @classmethod
    def of(cls, chance: Chance) -> ChanceResult:
        """Return the entry of a summary."""
        if chance.bound is None:
            return cls(accuracy=chance.accuracy, samples=chance.samples)
        return cls(**asdict(chance))

    def as_chance(self) -> Chance:
        """Return the chance level."""
        return Chance(**self.model_dump(include={each.name for each in fields(Chance)}))

    def is_beaten_by(self, value: float) -> bool:
        """Return whether a value of the metric is better than chance."""
        return self.as_chance().is_beaten_by(value)


class SourceResult(Record):
    """The source: its task, and its validation metrics if it was trained."""

    task: str = ""
    metrics: BySplit = {}


class BinResult(Record):
    """Answers of similar confidence: how many, their mean confidence, and how many are right."""

    count: Count
    confidence: float
    accuracy: float


class CalibrationOfSplit(Record):
    """What calibration changes on a split: calibration error, log loss, and the bins."""

    ece_before: float
    ece_after: float
    log_loss_before: float
    log_loss_after: float
    before: list[BinResult] = []
    after: list[BinResult] = []


class CalibrationResult(Record):
    """The calibration of the target: output · ``scale`` + ``offset``, fitted on validation."""

    method: str
    scale: list[float]
    offset: list[float]
    temperature: float | None = None
    splits: dict[str, CalibrationOfSplit]


class ChosenMetric(Record):
    """The metric that ``metric=`` chose, and its direction."""

    name: str
    lower_is_better: bool = False


class TargetResult(Record):
    """The target: its metrics, and how they were reached.

    ``every_metric`` has all metrics of the kind of target on the test rows, whichever was chosen,
    None where one is undefined; ``labels`` those of each label, where rows have several.
    ``metric`` is None where the usual one of the kind of target counts.
    """

    task: str = ""
    metrics: BySplit = {}
    best_epoch: Count = 0
    steps: Count = 0
    classes: ClassTable | None = None
    chance: ChanceResult | None = None
    calibration: CalibrationResult | None = None
    every_metric: dict[str, float | None] = {}
    labels: dict[str, dict[str, float | None]] = {}
    metric: ChosenMetric | None = None


class ControlResult(Record):
    """A control; only the best single modality has ``modality`` and ``candidates``."""

    metrics: BySplit = {}
    modality: str | None = None
    candidates: dict[str, BySplit] = {}


class StatedGain(Record):
    """The gain of the target over a control.

    It is positive where the target is better: where ``lower_is_better``, it is the control's
    metric minus the target's. ``level``, ``correction`` and the rows on which the two differ are
    set in ``gains``, which has an entry for each control; ``control`` and ``learned`` in the
    ``gain`` of the run.
    """

    metric: str = ""
    value: float = 0.0
    interval: Interval | None = None
    control: str = "scratch"
    learned: bool = True
    level: float = 0.95
    correction: str = "none"
    verdict: str = ""
    better_rows: Count | None = None
    worse_rows: Count | None = None
    mcnemar_p: float | None = None
    lower_is_better: bool = False


class CaughtUp(Record):
    """When the target reached its control's best metric; see ``mmx.evaluation.faster``."""

    metric: str
    value: float | None = None
    control: str
    control_steps: Count
    control_s: float
    target_steps: Count | None
    target_s: float | None

    def as_faster(self) -> Faster:
        """Return the comparison, of which a sweep takes the mean."""
        return Faster(**self.model_dump(include={each.name for each in fields(Faster)}))


class RegularizerFacts(Record):
    """A regulariser by name; its options are further keys."""

    name: str | None = None


class Tried(Record):
    """The longest trial of a candidate; one more key is its validation metric, or null."""

    candidate: str
    epochs: Count
    fate: str

    @model_validator(mode="after")
    def _one_metric(self) -> Tried:
        values = list((self.model_extra or {}).values())
        if len(values) != 1 or not (values[0] is None or isinstance(values[0], float)):
            raise ValueError("one metric is expected")
        return self

    @property
    def metric(self) -> tuple[str, float | None]:
        """The metric that the search maximises, and its value."""
        ((name, value),) = (self.model_extra or {}).items()
        return name, value


class RungResult(Record):
    """One rung of a search: who was tried for how many epochs, kept, and dropped for what."""

    epochs: Count = 0
    tried: list[str] = []
    kept: list[str] = []
    dropped: dict[str, str] = {}


class SearchFacts(Record):
    """What a search tried before it chose the config of the run."""

    winner: str = ""
    verdict: str = ""
    rungs: list[RungResult] = []
    seconds: float
    budget: dict[str, Number]
    eta: Number | None = None
    steps: Count
    tried: list[Tried]
    not_tried: dict[str, str]


class LineFacts(Record):
    """The line from the starting weights to the trained ones: metrics at each α, as text."""

    metric: str
    best: float | None = None
    kept: float
    alpha: Annotated[dict[str, BySplit], Field(min_length=1)]

    @model_validator(mode="after")
    def _metric_everywhere(self) -> LineFacts:
        for found in self.alpha.values():
            if any(self.metric not in found.get(split, {}) for split in SPLITS):
                raise ValueError(f"{self.metric} is expected at each point")
        return self


class TransferFacts(Record):
    """The transfer: how many tensors were copied, adapted, frozen and fresh, and choices made."""

    mode: str = ""
    regularizer: RegularizerFacts | None = None
    copied: Count = 0
    adapted: Count = 0
    frozen: Count = 0
    fresh: Count = 0
    wise_ft: LineFacts | None = None
    weights: dict[str, float] = {}
    grid: Json = {}
    density: dict[str, float] = {}
    auto: SearchFacts | None = None


class Timing(Record):
    """Seconds of training, and seconds per row in use."""

    source_s: float = 0.0
    source_cached: bool = False
    target_s: float = 0.0
    train_samples_per_s: float = 0.0
    seconds_per_sample: float = 0.0
    control_s: float | None = None
    controls_s: dict[str, float] = {}
    search_s: float | None = None
    total_s: float = 0.0


class ParameterCounts(Record):
    """Parameters of the target's model."""

    total: Count = 0
    trainable: Count = 0
    fusion: Count = 0
    shared: Count = 0


class Cost(Record):
    """The cost of using the model."""

    flops_per_sample: int = 0


class TestedFold(Record):
    """Which fold of a cross-validation was tested: ``number`` of ``count``, and which repeat."""

    number: Count = 1
    count: Count = 1
    repeat: Count = 1


class DataCard(Record):
    """What a task read: rows of each split, rows that have each input, and the kind of target."""

    rows: dict[str, Count] = {}
    inputs: dict[str, Count] = {}
    kind: str = ""
    outputs: Count = 0


class Summary(Record):
    """The answer of a finished run."""

    run: str = ""
    format: Count = 0
    status: str = "done"
    source: SourceResult = SourceResult()
    target: TargetResult = TargetResult()
    fusion: str = ""
    seed: Count = 0
    fold: TestedFold | None = None
    device: str = ""
    precision: str = ""
    params: ParameterCounts = ParameterCounts()
    cost: Cost = Cost()
    transfer: TransferFacts = TransferFacts()
    timing: Timing = Timing()
    notes: list[str] = []
    control: dict[str, ControlResult] = {}
    gain: StatedGain | None = None
    gains: dict[str, StatedGain] = {}
    faster: CaughtUp | None = None
    data: dict[str, str] = {}
    data_cards: dict[str, DataCard] = {}


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
"""Entries that the summary of every finished run has."""


def find_missing(summary: Json, keys: Sequence[str]) -> str | None:
    """Return the first of some dotted keys that a summary, as JSON, lacks; None if it has all."""
    for key in keys:
        node: Any = summary
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is None:
            return key
    return None


def require_whole(summary: Json, path: Path) -> None:
    """Refuse a summary without all entries that are shown of every finished run.

    Raises:
        RunError: An entry is missing.
    """
    if (key := find_missing(summary, FINISHED)) is not None:
        raise RunError(f"{path} is not whole: it lacks {key}")
    # Every test metric must be there for each model and split with which it is compared.
    whole = Summary.from_json(summary)
    tested: Metrics = whole.target.metrics["test"]
    for name in tested:
        every = [whole.target.metrics, *(each.metrics for each in whole.control.values())]
        if any(name not in each.get(split, {}) for each in every for split in SPLITS):
            raise RunError(f"{path} is not whole: {name} is missing where it is compared")
    compared = [*whole.gains, *([whole.faster.control] if whole.faster else [])]
    for name in compared:
        if name not in whole.control:
            raise RunError(f"{path} is not whole: it lacks control.{name}")
