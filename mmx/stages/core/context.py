"""The values that the stages of a run pass to each other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmx.experiment import Experiment
from mmx.modalities import Spec
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.runs.cache import Cache
from mmx.runs.directory import RunDirectory
from mmx.stage_id import StageId
from mmx.tasks import Target, TaskData
from mmx.training.data import Data
from mmx.training.events import Event, EventKind, Listener, StopRequest
from mmx.training.precision import Precision
from mmx.training.recipe import FitResult
from mmx.transfer import Report
from mmx.transfer.weighting import Weighting

Specs = dict[str, Spec]


@dataclass(frozen=True)
class Context:
    """What every stage of a run shares; without a cache everything is computed again."""

    experiment: Experiment
    directory: RunDirectory
    precision: Precision
    listen: Listener
    stop: StopRequest
    cache: Cache | None = None

    def note(self, stage: StageId, text: str) -> None:
        """Send a message for people."""
        self.listen(Event(EventKind.NOTE, stage, text=text))


@dataclass(frozen=True)
class Opened:
    """A task with its data on the device.

    Attributes:
        task: Its raw values.
        data: Its decoded rows.
        specs: Modality to its spec.
        notes: Notes for the reader.
    """

    task: TaskData
    data: Data
    specs: Specs
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class JointTask:
    """The source in joint training: it shares weights with the target, and trains with it."""

    model: MultimodalModel
    criterion: Criterion
    data: Data
    target: Target
    weighting: Weighting


@dataclass(frozen=True)
class WeightLine:
    """The line of WiSE-FT, from a stage's starting weights to its trained ones.

    Attributes:
        start: Tensors by name at α = 0.
        end: The same at α = 1.
        val: Validation metrics at each of ``ALPHAS``.
        best: The α with the best validation metrics.
        kept: The α of the weights that the stage's model has.
    """

    start: dict[str, Tensor]
    end: dict[str, Tensor]
    val: tuple[dict[str, float], ...]
    best: float
    kept: float


@dataclass(frozen=True)
class Trained:
    """The result of a stage.

    Attributes:
        model: The model with its best weights.
        criterion: The bound objective, for evaluation.
        data: The data it was trained on, with the features of frozen encoders.
        fitted: The result of training.
        report: Where its starting weights came from.
        notes: Notes for the reader.
        joint: The source, if both trained jointly; otherwise None.
        cached: Whether it was taken from the artifact cache.
        line: The WiSE-FT line; None unless the transfer asks for it.
    """

    model: MultimodalModel
    criterion: Criterion
    data: Data
    fitted: FitResult
    report: Report
    notes: tuple[str, ...] = ()
    joint: JointTask | None = None
    cached: bool = False
    line: WeightLine | None = None
