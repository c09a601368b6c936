"""A stage before it is trained: what it is, and its model drawn and started."""

from __future__ import annotations

from dataclasses import dataclass

from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import JointTask, Opened, Trained
from mmx.training.data import Data
from mmx.transfer import Source, Start, Transfer
from mmx.transfer.regularizers import Penalty


@dataclass(frozen=True)
class TrainedSource:
    """A trained source: what the transfer takes of it, and the whole of it."""

    source: Source
    trained: Trained


@dataclass(frozen=True)
class Stage:
    """A stage about to be trained.

    Attributes:
        id: Which one.
        opened: Its task.
        transfer: Where its starting weights come from.
        source: The trained source, where the transfer or its regulariser takes of it.
        joint: The source to train jointly with; None where the stage trains alone.
    """

    id: StageId
    opened: Opened
    transfer: Transfer
    source: TrainedSource | None = None
    joint: Opened | None = None

    @property
    def kept(self) -> bool:
        """Whether other runs may want the same: all but the target, which is what a run is for."""
        return self.id.role is not Role.TARGET


@dataclass(frozen=True)
class PreparedStage:
    """A stage with its model drawn and started: all that is needed to train it or read it back.

    Attributes:
        model: On its device.
        criterion: The bound objective.
        data: With the features of its frozen encoders.
        start: How it started, and the phases to come.
        joint: The source of joint training; None where the stage trains alone.
        penalty: What holds it near its source; None for nothing.
        notes: What a reader should know.
    """

    model: MultimodalModel
    criterion: Criterion
    data: Data
    start: Start
    joint: JointTask | None
    penalty: Penalty | None
    notes: tuple[str, ...]
