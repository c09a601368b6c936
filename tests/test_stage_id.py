"""The names of stages: their text is that of folders, lines of metrics and messages."""

from __future__ import annotations

import json

import pytest

from mmx.stage_id import Role, StageId
from mmx.training.events import Event, EventKind

NAMES = {
    "source": StageId(Role.SOURCE),
    "target": StageId(Role.TARGET),
    "control": StageId(Role.CONTROL),
    "control-linear_probe": StageId(Role.CONTROL, "linear_probe"),
    "control-unimodal-image": StageId(Role.CONTROL, "unimodal-image"),
    "search": StageId(Role.SEARCH),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_stage_reads_as_it_is_written(text):
    stage = NAMES[text]
    assert str(stage) == text
    assert StageId.parse(text) == stage
    assert f"[{stage:25s}]" == f"[{text.ljust(25)}]"


@pytest.mark.parametrize("text", ["", "sources", "control-", "target-linear_probe", "-control"])
def test_what_is_no_stage_is_refused(text):
    with pytest.raises(ValueError, match=r"is no stage|is not a valid Role"):
        StageId.parse(text)


@pytest.mark.parametrize(
    ("text", "task"),
    [("source", "source"), ("target", "target"), ("control-linear_probe", "target")],
)
def test_a_stage_works_on_the_task_of_a_role(text, task):
    assert StageId.parse(text).task == task


def test_a_role_is_its_text_in_files_and_messages():
    assert json.dumps({Role.SOURCE: [Role.TARGET]}) == '{"source": ["target"]}'
    assert {"source": 1}[Role.SOURCE] == 1
    assert (f"{Role.SOURCE}", str(Role.SOURCE)) == ("source", "source")


def test_an_event_comes_back_from_its_line():
    event = Event(EventKind.EPOCH, NAMES["control-unimodal-image"], epoch=2, values={"a": 0.5})
    line = json.dumps(event.to_json())
    assert line.startswith('{"kind": "epoch", "stage": "control-unimodal-image", "epoch": 2, ')
    assert Event.from_json(json.loads(line)) == event


@pytest.mark.parametrize("changed", [{"kind": "epochs"}, {"stage": "sauce"}, {"more": 1}])
def test_a_line_that_holds_no_event_is_refused(changed):
    line = Event(EventKind.EPOCH, StageId.TARGET).to_json()
    with pytest.raises((TypeError, ValueError)):
        Event.from_json({**line, **changed})
