"""What is printed while a run goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmx.reports.view import LiveView, PlainView, format_metrics
from mmx.stage_id import StageId
from mmx.training.events import Event, EventKind


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
