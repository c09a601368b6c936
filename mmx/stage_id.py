"""The names of a run's stages: the role that a task has in it, and which control it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Role(str, Enum):
    """What a stage is for; a task is a source or a target.

    A member equals its text, so that it is found under it in configs and files.
    """

    SOURCE = "source"
    TARGET = "target"
    CONTROL = "control"
    SEARCH = "search"

    def __str__(self) -> str:
        """Return its text."""
        return self.value


@dataclass(frozen=True)
class StageId:
    """Which stage of a run: ``source``, ``target``, ``control``, ``control-unimodal-image``, ….

    Its text names the stage's folder of checkpoints and its lines in ``metrics.jsonl``.

    Attributes:
        role: What it is for.
        control: Which control, such as ``linear_probe`` or ``unimodal-image``; empty for the
            one from scratch, and for what is no control.
    """

    role: Role
    control: str = ""

    SOURCE: ClassVar[StageId]
    TARGET: ClassVar[StageId]
    CONTROL: ClassVar[StageId]
    SEARCH: ClassVar[StageId]

    @property
    def task(self) -> Role:
        """The role of the task that it works on: source, or target for all others.

        Draws depend on it, so that target and controls see the same batches in one order.
        """
        return Role.SOURCE if self.role is Role.SOURCE else Role.TARGET

    @classmethod
    def parse(cls, text: str) -> StageId:
        """Return the stage of this text.

        Raises:
            ValueError: There is none.
        """
        role, dash, control = text.partition("-")
        found = cls(Role(role), control)
        if dash and not (control and found.role is Role.CONTROL):
            raise ValueError(f"{text!r} is no stage")
        return found

    def __str__(self) -> str:
        """Return it as files and messages name it."""
        return f"{self.role}-{self.control}" if self.control else str(self.role)

    def __format__(self, spec: str) -> str:
        """Return its text, padded as text is."""
        return format(str(self), spec)


StageId.SOURCE = StageId(Role.SOURCE)
StageId.TARGET = StageId(Role.TARGET)
StageId.CONTROL = StageId(Role.CONTROL)
StageId.SEARCH = StageId(Role.SEARCH)
