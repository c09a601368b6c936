"""Events of a training under way, and requests to stop it."""

from __future__ import annotations

import math
import signal
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from time import monotonic
from typing import Any

from mmx.stage_id import StageId


class EventKind(str, Enum):
    """Kinds of events; a member equals its text, which is what files contain."""

    STAGE = "stage"
    """A stage begins."""
    STEP = "step"
    """The optimiser has stepped."""
    EPOCH = "epoch"
    """An epoch has been validated."""
    VITALS = "vitals"
    """Gradients and probes of the modalities, or weights of the tasks, in an epoch."""
    NOTE = "note"
    """A message for people."""
    DONE = "done"
    """A stage has ended."""

    def __str__(self) -> str:
        """Return its text."""
        return self.value


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: Its kind.
        stage: The stage it belongs to; a search counts as a stage.
        epoch, step: Counted from 1; 0 before training.
        steps: Steps of the whole stage.
        values: Metric name to value, as ``split.metric`` where it belongs to a split.
        seconds: Seconds of training in this stage so far.
        rate: Training samples a second since the last event of this kind.
        text: A message for people.
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
        """Return the event as JSON-able values."""
        return {**asdict(self), "stage": str(self.stage)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        """Return the event that :meth:`to_json` made the data from.

        Raises:
            KeyError, TypeError, ValueError: The data are not those of an event.
        """
        kind, stage = EventKind(data["kind"]), StageId.parse(data["stage"])
        return cls(**{**data, "kind": kind, "stage": stage})


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")

Listener = Callable[[Event], None]


SAME_SIGNAL_SECONDS = 0.5
"""Time in which two signals count as one: a terminal and a launcher both pass on a Ctrl-C."""


class StopRequest:
    """A signal's request to stop the run; read between two steps."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._last = -math.inf

    def __call__(self, number: int, _frame: types.FrameType | None) -> None:
        """Note the signal; a second one stops at once."""
        now = monotonic()
        if now - self._last < SAME_SIGNAL_SECONDS:
            return
        self._last = now
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP (a lost terminal) into a request inside the block."""
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
