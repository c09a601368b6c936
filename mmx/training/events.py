"""Events of a training under way, and requests to stop it."""

from __future__ import annotations

import math
import signal
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from time import monotonic, time
from typing import Any

from mmx.errors import Interrupted
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


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Signals that stop a run cleanly. Clusters send the last two before they take a machine away."""

Listener = Callable[[Event], None]


SAME_SIGNAL_SECONDS = 0.5
"""Time in which two signals count as one: a terminal and a launcher both pass on a Ctrl-C."""


OVER_BUDGET = 1000
"""Stands in the place of a signal's number where a budget of time is used up; above all of them."""


class StopRequest:
    """A request to stop the run, by a signal or a budget of time; read between two steps.

    Args:
        until: When the budget is used up, in seconds since 1970; None for no budget.
    """

    def __init__(self, until: float | None = None) -> None:
        self.signal_number: int | None = None
        self.until = until
        self._last = -math.inf

    @property
    def reason(self) -> int | None:
        """The signal that asks to stop, or ``OVER_BUDGET``; None while nothing does."""
        if self.signal_number is not None:
            return self.signal_number
        return OVER_BUDGET if self.until is not None and time() >= self.until else None

    @property
    def is_made(self) -> bool:
        """Whether the run is to stop."""
        return self.reason is not None

    def describe(self, where: str, reason: int | None = None) -> Interrupted:
        """Return the exception of a run that stops.

        Args:
            where: What it says, such as ``stopped in stage target after step 3 of 10``.
            reason: That on which the processes of a run have agreed; None for its own.
        """
        reason = self.reason if reason is None else reason
        if reason in (None, OVER_BUDGET):
            return Interrupted(f"{where}: its budget of time is used up", signal_number=None)
        return Interrupted(where, signal_number=reason)

    def ask(self, number: int) -> None:
        """Note a request that came by other ways than a signal, unless there is one already."""
        if self.signal_number is None:
            self.signal_number = number

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
def stop_on_signals(until: float | None = None) -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM, SIGHUP (a lost terminal) and a cluster's into a request in the block.

    Args:
        until: When a budget of time is used up, in seconds since 1970; None for no budget.
    """
    request = StopRequest(until)
    numbers = _list_signals()
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


@contextmanager
def hold_signals() -> Iterator[None]:
    """Start processes in the block that get the signals to stop only when they release them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _list_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release_signals() -> None:
    """Get the signals to stop that have come since this process was started, and those to come."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _list_signals())


def _list_signals() -> list[int]:
    return [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
