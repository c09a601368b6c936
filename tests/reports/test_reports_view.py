"""What is printed while a run goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmx.reports.sweep_view import SweepView
from mmx.reports.view import LiveView, PlainView, format_metrics
from mmx.stage_id import StageId
from mmx.training.events import Event, EventKind
from mmx.workers.messages import Ended, Heard, Line
from mmx.workers.plan import WorkerPlan


def said(view: type[PlainView | LiveView], *events: Event) -> str:
    text = io.StringIO()
    console = Console(file=text, width=160, force_terminal=view is LiveView, color_system=None)
    with view(console) as shown:
        for event in events:
            shown(event)
    return text.getvalue()


def test_an_epoch_tells_its_penalty_in_full() -> None:
    values = {"train.loss": 1.5, "train.penalty": 0.000123456, "val.accuracy": 0.25}
    assert format_metrics(values) == "train.loss 1.5  train.penalty 0.0001235  val.accuracy 0.250"
    event = Event(EventKind.EPOCH, StageId.TARGET, epoch=2, step=9, steps=9, values=values)
    assert said(PlainView, event) == (
        "target   epoch 2  step 9/9  train.loss 1.5  train.penalty 0.0001235  val.accuracy 0.250\n"
    )


@pytest.mark.parametrize("view", [PlainView, LiveView])
def test_a_head_that_is_fitted_has_no_steps(view: type[PlainView | LiveView]) -> None:
    text = said(
        view,
        Event(EventKind.STAGE, StageId.TARGET, text="the head is fitted, without epochs"),
        Event(EventKind.EPOCH, StageId.TARGET, epoch=1, values={"val.accuracy": 0.5}),
        Event(EventKind.DONE, StageId.TARGET, values={"val.accuracy": 0.5}, text="fitted"),
    )
    assert "0/0" not in text
    assert "val.accuracy 0.500" in text
    if view is PlainView:
        assert "target   fitted, without steps  val.accuracy 0.500\n" in text
    else:
        assert "1/1" in text


class Sweep:
    """A view of four jobs, two at a time, and a clock that is set by hand."""

    def __init__(self, stages: tuple[int, ...] = (3, 3, 3, 3)) -> None:
        self.text, self.now = io.StringIO(), 0.0
        console = Console(file=self.text, width=160)
        names = [f"seed={seed}" for seed in range(1, 5)]
        plan = WorkerPlan(2, 1)
        self.view = SweepView(names, plan, console, stages=stages, clock=lambda: self.now)

    def step(self, job: int, moment: float, step: int, stage: StageId = StageId.SOURCE) -> None:
        self.now = moment
        self.view.hear(job, Heard(Event(EventKind.STEP, stage, step=step, steps=50)))

    def lines(self) -> list[str]:
        return self.text.getvalue().splitlines()


def test_the_first_steps_tell_how_long_a_sweep_takes() -> None:
    sweep = Sweep()
    sweep.step(0, 10.0, 1)  # the first takes long
    sweep.step(1, 10.1, 1)
    sweep.step(0, 10.4, 3)
    assert sweep.view.count_seconds_left() is None  # too short to say
    sweep.step(0, 12.0, 5)
    # 2 s for 4 steps: 25 s a stage, 75 s a job, and two at a time make 150 s of four.
    assert sweep.view.count_seconds_left() == pytest.approx(150.0)
    sweep.step(0, 20.0, 6)
    assert sweep.lines() == [
        "about 2 min of training for 4 jobs, from steps 1 to 5 of 50 of source in seed=1, "
        "3 stages alike"
    ]
    sweep.now = 100.0  # a job that has ended is the better measure: 90 s each
    sweep.view.hear(0, Ended())
    assert sweep.view.count_seconds_left() == pytest.approx(3 * 90 / 2)


def test_steps_of_different_stages_are_not_compared() -> None:
    sweep = Sweep((1, 1, 1, 1))
    sweep.step(0, 1.0, 40)
    sweep.step(0, 3.0, 1, StageId.TARGET)
    assert sweep.view.timed is None
    sweep.step(0, 5.0, 2, StageId.TARGET)
    assert sweep.lines() == [
        "about 3 min of training for 4 jobs, from steps 1 to 2 of 50 of target in seed=1"
    ]


def test_no_time_is_told_where_a_search_decides_the_stages() -> None:
    sweep = Sweep((0, 0, 0, 0))
    sweep.step(0, 1.0, 1)
    sweep.step(0, 9.0, 9)
    assert sweep.lines() == []


def test_a_run_that_failed_after_its_target_is_not_done() -> None:
    sweep = Sweep()
    done = Event(EventKind.DONE, StageId.TARGET, values={"val.accuracy": 0.5})
    sweep.view.hear(2, Heard(done))
    sweep.view.hear(2, Line("failed: no room to write x: No space left\n  tip: make room"))
    sweep.view.hear(2, Ended())
    assert sweep.lines() == ["failed seed=3: no room to write x: No space left", "  tip: make room"]
    assert sweep.view.seconds == []


def test_a_job_that_is_heard_of_at_its_end_took_as_long_as_it_trained() -> None:
    sweep = Sweep()
    for stage, seconds in ((StageId.SOURCE, 3.0), (StageId.TARGET, 4.5)):
        values = {"accuracy": 0.5}
        event = Event(EventKind.DONE, stage, values=values, seconds=seconds)
        sweep.view.hear(1, Heard(event))
    sweep.view.hear(1, Ended())
    assert sweep.lines() == ["done seed=2: accuracy 0.500  (7.5 s)"]
    assert sweep.view.count_seconds_left() == pytest.approx(3 * 7.5 / 2)
