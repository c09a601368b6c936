"""The facts in the header of a stage's checkpoint.

A stage writes its :class:`StageFacts` once. A checkpoint of an older mmx may lack entries that
have a default here, and one of a newer mmx may have more, which are kept.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmx.json_object import Json
from mmx.runs.records import Count, Metrics, Record
from mmx.tasks.contents import Kind, Target

STAGE_FACTS_FORMAT = 1
"""The format of a stage's facts; 0 stands for older versions, which wrote no format."""


class TargetFacts(Record):
    """What the stage's model predicts; see :class:`~mmx.tasks.contents.Target`."""

    kind: Kind
    classes: list[str]
    mean: float
    std: float

    @classmethod
    def describe(cls, target: Target) -> TargetFacts:
        """Return the facts of a target."""
        return cls(kind=target.kind, classes=list(target.classes), mean=target.mean, std=target.std)

    def as_target(self) -> Target:
        """Return the target that the facts describe."""
        return Target(self.kind, tuple(self.classes), self.mean, self.std)


class LinePoints(Record):
    """The points of a WiSE-FT line: validation metrics at each α, the best α, and the kept one."""

    val: list[Metrics]
    best: float
    kept: float


class PublishedTensors(Record):
    """Tensors that are left out of a checkpoint, since published files hold the very same.

    Attributes:
        name: What the published weights are called.
        files: The digest of their files.
        bits: The digest of the tensors.
        tensors: Their names in the checkpoint.
    """

    name: str
    files: str
    bits: str
    tensors: list[str]


class StageFacts(Record):
    """What is needed to use the tensors of a stage's checkpoint.

    Attributes:
        specs: Modality to its spec.
        target: What the model predicts.
        fitted: A :class:`~mmx.training.recipe.FitResult`; empty where only the model is needed.
        frozen_encoders: Modalities with a frozen encoder, whose features are computed once.
        notes: Notes for the summary.
        line: The WiSE-FT line; None unless the stage measured it.
        published: Modality to the tensors that are left out; None where all are there.
    """

    format: Count = 0
    specs: Annotated[dict[str, Json], Field(min_length=1)]
    target: TargetFacts
    fitted: Json = Field(default_factory=dict)
    frozen_encoders: list[str]
    notes: list[str] = Field(default_factory=list)
    line: LinePoints | None = None
    published: dict[str, PublishedTensors] | None = None
