"""The progress of a sweep whose jobs run side by side: a live table, or plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
TIMED_SECONDS = 1.0
"""Least time of steps from which the time of all jobs is estimated."""
FAILED = "failed: "
"""What the line of a job begins with whose run has failed."""


@dataclass(frozen=True)
class _Timed:
    """A step of a stage, and when it was heard of."""

    event: Event
    moment: float


@dataclass
class _JobState:
    """What is known of a job that was begun.

    ``first`` is the first step of the present stage; ``trained`` are the seconds of training in
    stages that have ended: of a job on a cluster, all is heard of at its end.
    """

    began: float
    first: _Timed | None = None
    event: Event | None = None
    told: str = ""
    best: str = ""
    skipped: bool = False
    failed: bool = False
    trained: float = 0.0


@dataclass
class SweepView(View):
    """What is shown of a sweep; see :func:`open_sweep_view`.

    Args:
        names: A short name for each job.
        plan: How they share the machine.
        console: Where it is shown.
        what: What they are called.
        stages: How many stages each job trains; without it no time is told before a job has ended.
        clock: Tells the time in seconds.
    """

    names: Sequence[str]
    plan: WorkerPlan
    console: Console
    what: str = "jobs"
    stages: Sequence[int] = ()
    clock: Callable[[], float] = time.monotonic
    running: dict[int, _JobState] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ended: int = 0
    timed: tuple[float, str] | None = None

    def open(self) -> None:
        """Say what begins."""
        self.say(f"{len(self.names)} {self.what}, {self.plan.describe()}")

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def hear(self, number: int, message: Message) -> None:
        """Take a message of a job."""
        state = self.running.setdefault(number, _JobState(self.clock()))
        if isinstance(message, Line):
            state.skipped = state.skipped or message.text.startswith(SKIPPED)
            state.failed = state.failed or message.text.startswith(FAILED)
            if message.text.startswith(FAILED):
                self.say(f"failed {self.names[number]}: {message.text.removeprefix(FAILED)}")
            else:
                self.show_line(message)
        elif isinstance(message, Heard):
            self._follow(number, state, message.event)
        else:
            del self.running[number]
            self._end(number, state, message)

    def _follow(self, number: int, state: _JobState, event: Event) -> None:
        if event.kind is EventKind.DONE:
            state.trained += event.seconds
        if event.kind is EventKind.DONE and event.stage == StageId.TARGET:
            state.best = format_metrics(event.values)
        elif event.kind is EventKind.NOTE and event.text.startswith("WARNING"):
            self.say(f"{self.names[number]}: {event.text}", "bold red")
        elif event.kind is not EventKind.VITALS:
            state.event = event
            if event.kind in (EventKind.STEP, EventKind.EPOCH) and self.timed is None:
                self._time_steps(number, state, _Timed(event, self.clock()))
            state.told = format_metrics(event.values) or event.text or state.told

    def _time_steps(self, number: int, state: _JobState, now: _Timed) -> None:
        """Estimate the seconds of a job from the first steps of the first stage that tells them.

        The very first step is left out, since it also makes what later ones find ready.
        """
        first = state.first
        if first is None or first.event.stage != now.event.stage:
            state.first = now
            return
        steps, took = now.event.step - first.event.step, now.moment - first.moment
        if steps < 1 or took < TIMED_SECONDS or not self.stages or not self.stages[number]:
            return
        stages = self.stages[number]
        alike = "" if stages == 1 else f", {stages} stages alike"
        where = f"steps {first.event.step} to {now.event.step} of {now.event.steps}"
        why = f"from {where} of {now.event.stage} in {self.names[number]}{alike}"
        self.timed = took / steps * now.event.steps * stages, why
        self.tell_time()

    def tell_time(self) -> None:
        """Say how long the jobs will take, once, before one has ended."""
        left = self.count_seconds_left()
        if self.timed is not None and left is not None and not self.seconds:
            count = len(self.names) - self.ended
            time_left = format_time(left)
            self.say(f"about {time_left} of training for {count} {self.what}, {self.timed[1]}")

    def _end(self, number: int, state: _JobState, message: Ended | Lost) -> None:
        self.ended += 1
        took = max(self.clock() - state.began, state.trained)
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
        elif not message.code and not state.skipped and not state.failed:
            self.seconds.append(took)
            if state.best:
                self.say(f"done {name}: {state.best}  ({took:.1f} s)")

    def show_line(self, line: Line) -> None:
        """Print a line of a job."""
        self.say(line.text, line.style)

    def tick(self) -> None:
        """Redraw what is redrawn."""

    def count_seconds_left(self) -> float | None:
        """Return the seconds until the end: from the mean of the jobs so far, or timed steps.

        None while neither is known.
        """
        left = len(self.names) - self.ended
        at_once = max(1, min(self.plan.processes, left))
        if self.seconds:
            return left * sum(self.seconds) / len(self.seconds) / at_once
        return None if self.timed is None else left * self.timed[0] / at_once


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
        now = self.clock()
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
        return Text(text if left is None else f"{text}, about {format_time(left)} left", "dim")


def format_time(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def open_sweep_view(
    names: Sequence[str], plan: WorkerPlan, what: str = "jobs", stages: Sequence[int] = ()
) -> SweepView:
    """Return a live view where stderr is a terminal, else plain lines.

    Args:
        names: A short name for each job.
        plan: How they share the machine.
        what: What they are called.
        stages: How many stages each job trains.
    """
    console = Console(stderr=True)
    kind = LiveSweepView if console.is_terminal else SweepView
    return kind(names, plan, console, what, stages)
