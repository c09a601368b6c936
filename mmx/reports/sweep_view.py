"""The progress of a sweep whose jobs run side by side: a live table, or plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mmx.reports.view import View, format_metrics
from mmx.stage_id import StageId
from mmx.terminal import Console
from mmx.training.events import Event, EventKind
from mmx.workers.messages import Ended, Heard, Line, Lost, Message
from mmx.workers.plan import WorkerPlan

REDRAWN_EVERY_SECONDS = 0.25
SKIPPED = "skipped "
"""What the line of a job begins with that the sweep has already."""


@dataclass
class _JobState:
    """What is known of a job that was begun."""

    began: float
    event: Event | None = None
    told: str = ""
    best: str = ""
    skipped: bool = False


@dataclass
class SweepView(View):
    """What is shown of a sweep; see :func:`open_sweep_view`.

    Args:
        names: A short name for each job.
        plan: How they share the machine.
        console: Where it is shown.
        what: What they are called.
    """

    names: Sequence[str]
    plan: WorkerPlan
    console: Console
    what: str = "jobs"
    running: dict[int, _JobState] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ended: int = 0

    def open(self) -> None:
        """Say what begins."""
        self.say(f"{len(self.names)} {self.what}, {self.plan.describe()}")

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def hear(self, number: int, message: Message) -> None:
        """Take a message of a job."""
        state = self.running.setdefault(number, _JobState(time.monotonic()))
        if isinstance(message, Line):
            state.skipped = state.skipped or message.text.startswith(SKIPPED)
            self.show_line(message)
        elif isinstance(message, Heard):
            self._follow(number, state, message.event)
        else:
            del self.running[number]
            self._end(number, state, message)

    def _follow(self, number: int, state: _JobState, event: Event) -> None:
        if event.kind is EventKind.DONE and event.stage == StageId.TARGET:
            state.best = format_metrics(event.values)
        elif event.kind is EventKind.NOTE and event.text.startswith("WARNING"):
            self.say(f"{self.names[number]}: {event.text}", "bold red")
        elif event.kind is not EventKind.VITALS:
            state.event = event
            state.told = format_metrics(event.values) or event.text or state.told

    def _end(self, number: int, state: _JobState, message: Ended | Lost) -> None:
        self.ended += 1
        took = time.monotonic() - state.began
        name = self.names[number]
        if isinstance(message, Lost):
            how = f"signal {-message.code}" if message.code < 0 else f"exit code {message.code}"
            memory = ", which the system sends where memory is full" if message.code == -9 else ""
            self.say(
                f"lost {name}: its worker was killed ({how}{memory}); the same command resumes it",
                "bold red",
            )
        elif message.error:
            self.say(f"failed {name}: {message.error}", "bold red")
        elif not message.code and not state.skipped:
            self.seconds.append(took)
            if state.best:  # else its run has failed, and has said so
                self.say(f"done {name}: {state.best}  ({took:.1f} s)")

    def show_line(self, line: Line) -> None:
        """Print a line of a job."""
        self.say(line.text, line.style)

    def tick(self) -> None:
        """Redraw what is redrawn."""

    def count_seconds_left(self) -> float | None:
        """Return the seconds until the end, from the mean of the jobs so far; None before one."""
        if not self.seconds:
            return None
        left = len(self.names) - self.ended
        return left * sum(self.seconds) / len(self.seconds) / self.plan.processes


@dataclass
class LiveSweepView(SweepView):
    """A table of the jobs that run, redrawn in place, above a line that counts all."""

    live: Live | None = None
    drawn: float = 0.0

    def open(self) -> None:
        """Say what begins, and draw the table."""
        super().open()
        # Without a thread of its own: workers are forked, and a fork copies no thread.
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.live.start()

    def close(self) -> None:
        """Remove the table: that of all jobs follows."""
        if self.live is not None:
            self.live.stop()

    def show_line(self, line: Line) -> None:
        """Print a line of a job, unless the table shows the same."""
        if not line.text.startswith("job "):
            self.say(line.text, line.style)

    def tick(self) -> None:
        """Redraw, a few times a second."""
        now = time.monotonic()
        if self.live is None or now - self.drawn < REDRAWN_EVERY_SECONDS:
            return
        self.drawn = now
        self.live.update(Group(self._draw_jobs(now), self._draw_count()), refresh=True)

    def _draw_jobs(self, now: float) -> Table:
        table = Table("job", "stage", "", "metrics", "seconds", box=None, padding=(0, 2, 0, 0))
        for number, state in sorted(self.running.items()):
            event = state.event
            stage = "" if event is None else str(event.stage)
            steps = 0 if event is None else event.steps
            bar = ProgressBar(total=steps or 1, completed=event.step if event else 0, width=16)
            seconds = f"{now - state.began:.0f}"
            metrics = Text(state.told, overflow="ellipsis", no_wrap=True)
            table.add_row(Text(self.names[number]), stage, bar, metrics, seconds)
        return table

    def _draw_count(self) -> Text:
        left = self.count_seconds_left()
        text = f"{self.ended} of {len(self.names)} {self.what} ended"
        return Text(text if left is None else f"{text}, about {_format_time(left)} left", "dim")


def _format_time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def open_sweep_view(names: Sequence[str], plan: WorkerPlan, what: str = "jobs") -> SweepView:
    """Return a live view where stderr is a terminal, else plain lines.

    Args:
        names: A short name for each job.
        plan: How they share the machine.
        what: What they are called.
    """
    console = Console(stderr=True)
    return (LiveSweepView if console.is_terminal else SweepView)(names, plan, console, what)
