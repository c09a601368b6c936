"""A stage before it is trained: its description, and its prepared model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from mmx.encoders.published import Published
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import JointTask, Opened
from mmx.stages.core.published_values import PublishedValues
from mmx.training.data import Data
from mmx.transfer import Source, Start, Transfer
from mmx.transfer.regularizers import Penalty


@dataclass(frozen=True)
class GivenSource:
    """A source as it is given to a target: trained before, or published weights.

    Attributes:
        source: What a transfer reads of it.
        make_model: Returns ``model``; called once, and only where something reads it.
        data: Its rows; None of published weights.
        seconds: Of training.
        cached: Whether it was taken from the artifact cache, trained in an earlier run.
        published: Modality to the published weights that these are; empty of a trained source.
        values: Modality to what those weights give to its encoder.
    """

    source: Source
    make_model: Callable[[], MultimodalModel]
    data: Data | None = None
    seconds: float = 0.0
    cached: bool = False
    published: dict[str, Published] = field(default_factory=dict)
    values: dict[str, PublishedValues] = field(default_factory=dict)

    @cached_property
    def model(self) -> MultimodalModel:
        """The complete model, which regularisers compare the target with."""
        return self.make_model()


@dataclass(frozen=True)
class Stage:
    """A stage about to be trained.

    Attributes:
        id: Its name.
        opened: Its task.
        transfer: The transfer mode, which determines its starting weights.
        source: The source, if the transfer or its regulariser uses it.
        joint: The source to train jointly with; None if the stage trains alone.
    """

    id: StageId
    opened: Opened
    transfer: Transfer
    source: GivenSource | None = None
    joint: Opened | None = None

    @property
    def is_cacheable(self) -> bool:
        """Whether other runs may use the same stage, as all but the target."""
        return self.id.role is not Role.TARGET


@dataclass(frozen=True)
class PreparedStage:
    """A stage with its starting weights: all that is needed to train it, or to read its result.

    Attributes:
        model: The model on its device.
        criterion: The bound objective.
        data: The data, with the features of frozen encoders.
        start: How it started, and its phases.
        joint: The source in joint training; None if the stage trains alone.
        penalty: The bound regulariser, or None.
        notes: Notes for the reader.
    """

    model: MultimodalModel
    criterion: Criterion
    data: Data
    start: Start
    joint: JointTask | None
    penalty: Penalty | None
    notes: tuple[str, ...]
