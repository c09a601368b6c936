"""The names of a run's stages: a role and, for a control, which one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Role(str, Enum):
    """What a stage is for; a task is a source or a target.

    A member equals its text, so that it can be a key of configs and files.
    """

    SOURCE = "source"
    TARGET = "target"
    CONTROL = "control"
    SEARCH = "search"

    def __str__(self) -> str:
        """Return its text."""
        return self.value


TASK_ROLES = (Role.SOURCE, Role.TARGET)
"""Those of tasks; their texts are config keys, and the option groups that choose tasks."""


@dataclass(frozen=True)
class StageId:
    """Which stage of a run: ``source``, ``target``, ``control``, ``control-unimodal-image``, ….

    Its text names the stage's folder of checkpoints and its lines in ``metrics.jsonl``.

    Attributes:
        role: What the stage is for.
        control: Which control, such as ``linear_probe`` or ``unimodal-image``; empty for the
            control from scratch, and for stages that are no control.
    """

    role: Role
    control: str = ""

    SOURCE: ClassVar[StageId]
    TARGET: ClassVar[StageId]
    CONTROL: ClassVar[StageId]
    SEARCH: ClassVar[StageId]

    @property
    def task(self) -> Role:
        """The role of the task that is trained on: source, or target for all other stages.

        Random draws follow from it, so that the target and its controls see the same batches in
        the same order.
        """
        return Role.SOURCE if self.role is Role.SOURCE else Role.TARGET

    @classmethod
    def parse(cls, text: str) -> StageId:
        """Return the stage with this name.

        Raises:
            ValueError: There is no such stage.
        """
        role, dash, control = text.partition("-")
        found = cls(Role(role), control)  # Role raises ValueError too
        if dash and not (control and found.role is Role.CONTROL):
            raise ValueError(f"{text!r} is no stage")
        return found

    def __str__(self) -> str:
        """Return the name that files and messages use."""
        return f"{self.role}-{self.control}" if self.control else str(self.role)

    def __format__(self, spec: str) -> str:
        """Return the name, padded as text is: a dataclass would refuse a width."""
        return format(str(self), spec)


StageId.SOURCE = StageId(Role.SOURCE)
StageId.TARGET = StageId(Role.TARGET)
StageId.CONTROL = StageId(Role.CONTROL)
StageId.SEARCH = StageId(Role.SEARCH)
