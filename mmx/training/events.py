"""What a training says while it goes on, to whoever listens."""

from __future__ import annotations

import signal
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from mmx.stage_id import StageId


class EventKind(str, Enum):
    """What can happen; a member equals its text, which files hold."""

    STAGE = "stage"
    """A stage begins."""
    STEP = "step"
    """The optimiser has stepped."""
    EPOCH = "epoch"
    """An epoch has been validated."""
    VITALS = "vitals"
    """Of the modalities, or the tasks' weights, in an epoch."""
    NOTE = "note"
    """Something to tell people."""
    DONE = "done"
    """A stage has ended."""

    def __str__(self) -> str:
        """Return its text."""
        return self.value


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What kind of thing.
        stage: Where; a search is one of its own.
        epoch, step: Counted from 1; 0 before training.
        steps: Steps of the whole stage.
        values: Metric name to value, as ``split.metric`` where it belongs to a split.
        seconds: Of training in this stage so far.
        rate: Training samples a second since the last event of this kind.
        text: For people.
    """

    kind: EventKind
    stage: StageId
    epoch: int = 0
    step: int = 0
    steps: int = 0
    values: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    rate: float = 0.0
    text: str = ""

    def to_json(self) -> dict[str, object]:
        """Return what a line of JSON holds of it."""
        return {**asdict(self), "stage": str(self.stage)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        """Return the event that a line of JSON holds.

        Raises:
            KeyError, TypeError, ValueError: It holds none.
        """
        kind, stage = EventKind(data["kind"]), StageId.parse(data["stage"])
        return cls(**{**data, "kind": kind, "stage": stage})


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")

Listener = Callable[[Event], None]


class StopRequest:
    """Whether a signal has asked the run to stop; read between two steps."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self, number: int, _frame: types.FrameType | None) -> None:
        """Note the signal; a second one stops at once."""
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and a lost terminal into a request while the block runs."""
    request = StopRequest()
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    try:
        before = {number: signal.signal(number, request) for number in numbers}
    except ValueError:  # not the main thread: whoever owns it handles signals
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
