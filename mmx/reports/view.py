"""The progress of a run for people: a live view on a terminal, or plain lines in a log."""

from __future__ import annotations

import multiprocessing
import time
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import Self

from mmx.stage_id import StageId
from mmx.terminal import Console
from mmx.training.events import Event, EventKind

UNBOUNDED = ("loss", "penalty", "mse", "mae", "r2")
"""Metrics that are not bounded by 0 and 1."""
PLAIN_EVERY_SECONDS = 5.0
"""Least time between two lines of epochs in a log."""


def format_metric(name: str, value: float) -> str:
    """Return a metric as text, with three decimals if it lies between 0 and 1."""
    text = f"{value:.4g}" if name.split(".")[-1] in UNBOUNDED else f"{value:.3f}"
    return text.removeprefix("-") if float(text) == 0 else text  # no -0.000


def format_metrics(values: dict[str, float]) -> str:
    """Return metrics on one line."""
    return "  ".join(f"{name} {format_metric(name, value)}" for name, value in values.items())


class View:
    """What is shown while something goes on, in a ``with`` block."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Begin to show; a plain view has nothing to begin."""

    def close(self) -> None:
        """Show no more; a plain view has nothing to close."""


class PlainView(View):
    """Plain lines on stderr, for pipes and logs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Print epochs, notes and results; skip steps."""
        if event.kind in (EventKind.STEP, EventKind.VITALS):
            return
        if event.kind is EventKind.EPOCH:
            last = event.step == event.steps
            if not last and time.monotonic() - self._last < PLAIN_EVERY_SECONDS:
                return
            self._last = time.monotonic()
            where = f"epoch {event.epoch}  step {event.step}/{event.steps}"
            where = where if event.steps else "fitted, without steps"
            text = f"{where}  {format_metrics(event.values)}"
        else:
            text = "  ".join(filter(None, [event.text, format_metrics(event.values)]))
        self.console.print(
            f"{event.stage:8s} {text}", highlight=False, markup=False, soft_wrap=True
        )


class LiveView(View):
    """Progress bars of stages with rates, time left and metrics, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.fields[stage]:8s}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[metrics]}", markup=False),
            console=console,
        )
        self.note = Text("", style="dim", overflow="ellipsis", no_wrap=True)
        self.live = Live(
            Group(self.bars, self.note), console=console, refresh_per_second=8, transient=False
        )
        self.tasks: dict[StageId, TaskID] = {}

    def open(self) -> None:
        """Begin to draw."""
        self.live.start()

    def close(self) -> None:
        """Leave the last state on the screen."""
        self.note.plain = ""
        self.live.stop()

    def __call__(self, event: Event) -> None:
        """Redraw."""
        if event.kind in (EventKind.NOTE, EventKind.STAGE):
            self.note.plain = f"{event.stage}: {event.text}"
            if event.text.startswith("WARNING"):
                self.console.print(event.text, style="bold red", markup=False)
            return
        task = self.tasks.get(event.stage)
        if task is None:
            task = self.bars.add_task(
                str(event.stage), total=event.steps or None, stage=event.stage, rate="", metrics=""
            )
            self.tasks[event.stage] = task
        if event.kind is EventKind.DONE:
            self.bars.update(task, metrics=f"{format_metrics(event.values)}  ({event.text})")
            return
        # A fitted head has no steps: its bar is complete at once.
        self.bars.update(task, completed=event.step or not event.steps, total=event.steps or 1)
        if event.rate:
            self.bars.update(task, rate=f"{event.rate:,.0f} samples/s")
        if event.kind is EventKind.EPOCH:
            self.bars.update(task, metrics=format_metrics(event.values))


def open_view() -> LiveView | PlainView:
    """Return a live view where stderr is a terminal; plain lines elsewhere and in workers."""
    console = Console(stderr=True)
    alone = multiprocessing.current_process().name == "MainProcess"
    return LiveView(console) if console.is_terminal and alone else PlainView(console)
