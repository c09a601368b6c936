"""What a worker tells the process that gave it a job."""

from __future__ import annotations

from dataclasses import dataclass

from mmx.training.events import Event


@dataclass(frozen=True)
class Line:
    """A line of text for people, with the style that rich gives it."""

    text: str
    style: str | None = None


@dataclass(frozen=True)
class Heard:
    """An event of the run that the job is."""

    event: Event


@dataclass(frozen=True)
class Ended:
    """The job has ended.

    Attributes:
        code: 0, or the exit code of a run that was interrupted.
        error: An exception that no run has recorded, as text.
    """

    code: int = 0
    error: str = ""


@dataclass(frozen=True)
class Lost:
    """The worker has died in the middle of the job; ``code`` is the negative number of a signal."""

    code: int


Message = Line | Heard | Ended | Lost
