"""What the header of a stage's checkpoint says next to its tensors.

A stage writes its :class:`StageFacts` once. A checkpoint of an older mmx may lack what has a
default here, and one of a newer mmx may hold more, which is let through.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmx.json_object import Json
from mmx.runs.records import Count, Metrics, Record
from mmx.tasks.contents import Kind, Target

STAGE_FACTS_FORMAT = 1
"""Of a stage's facts; 0 stands for those of older versions, which name no format."""


class TargetFacts(Record):
    """What the stage's model predicts; see :class:`~mmx.tasks.contents.Target`."""

    kind: Kind
    classes: list[str]
    mean: float
    std: float

    @classmethod
    def describe(cls, target: Target) -> TargetFacts:
        """Return what a checkpoint says of a target."""
        return cls(kind=target.kind, classes=list(target.classes), mean=target.mean, std=target.std)

    def as_target(self) -> Target:
        """Return the target that was described."""
        return Target(self.kind, tuple(self.classes), self.mean, self.std)


class LinePoints(Record):
    """The points of a WiSE-FT line: validation metrics at each α, the best α, and the kept one."""

    val: list[Metrics]
    best: float
    kept: float


class StageFacts(Record):
    """What a reader of a stage's checkpoint needs to know of its tensors.

    Attributes:
        specs: Modality to what its encoder knows of its input.
        target: What the model predicts.
        fitted: A :class:`~mmx.training.recipe.FitResult`; empty in what is read for a model alone.
        frozen_encoders: Modalities whose features are computed once.
        notes: What a reader of the summary should know.
        line: Of a stage that measured the line from its starting weights.
    """

    format: Count = 0
    specs: Annotated[dict[str, Json], Field(min_length=1)]
    target: TargetFacts
    fitted: Json = Field(default_factory=dict)
    frozen_encoders: list[str]
    notes: list[str] = Field(default_factory=list)
    line: LinePoints | None = None
