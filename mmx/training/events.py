"""What a training says while it goes on, to whoever listens."""

from __future__ import annotations

import signal
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: ``stage`` (one begins), ``step``, ``epoch`` (validated), ``vitals`` (of the
            modalities in an epoch), ``done`` or ``note``.
        stage: source, target or control.
        epoch, step: Counted from 1; 0 before training.
        steps: Steps of the whole stage.
        values: Metric name to value, as ``split.metric`` where it belongs to a split.
        seconds: Of training in this stage so far.
        rate: Training samples a second since the last event of this kind.
        text: For people.
    """

    kind: str
    stage: str
    epoch: int = 0
    step: int = 0
    steps: int = 0
    values: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    rate: float = 0.0
    text: str = ""


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
