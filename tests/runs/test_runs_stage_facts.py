"""A stage's facts: written and read back, those of older versions, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmx.errors import RunError
from mmx.json_object import Json
from mmx.runs.records import read_record
from mmx.runs.stage_facts import STAGE_FACTS_FORMAT, LinePoints, StageFacts, TargetFacts
from mmx.tasks.contents import Target

OLD: Json = {
    "specs": {"tabular": {"kind": "tabular"}},
    "target": {"kind": "classes", "classes": ["a", "b"], "mean": 0.0, "std": 1.0},
    "fitted": {"val": {"accuracy": 0.5}},
    "frozen_encoders": ["tabular"],
    "notes": ["one"],
}
"""As a checkpoint without a format has them."""


def test_facts_come_back_as_they_were_written() -> None:
    facts = StageFacts(
        format=STAGE_FACTS_FORMAT,
        specs={"image": {"height": 8}},
        target=TargetFacts.describe(Target("regression", (), 2.5, 0.5)),
        fitted={"val": {"r2": 0.25}},
        frozen_encoders=["image"],
        notes=["a", "b"],
        line=LinePoints(val=[{"r2": 0.1}, {"r2": 0.25}], best=1.0, kept=1.0),
    )
    text = json.dumps(facts.to_json())
    assert StageFacts.from_json(json.loads(text)) == facts
    assert json.loads(text)["format"] == 1


def test_facts_without_a_format_are_read_as_format_0() -> None:
    facts = StageFacts.from_json(OLD)
    assert (facts.format, facts.line) == (0, None)
    assert facts.target.as_target() == Target("classes", ("a", "b"))
    assert facts.to_json() == OLD  # and nothing is added to them


def test_keys_of_a_newer_version_are_let_through() -> None:
    assert StageFacts.from_json({**OLD, "format": 2, "more": 1}).to_json()["more"] == 1


@pytest.mark.parametrize(
    ("key", "given"), [("format", -1), ("format", "1"), ("notes", [1]), ("specs", {}), ("line", 3)]
)
def test_facts_of_another_type_are_refused_by_name(key: str, given: object) -> None:
    with pytest.raises(RunError) as refused:
        read_record({**OLD, key: given}, StageFacts, Path("some.safetensors"))
    assert f"some.safetensors is not what mmx wrote: {key}" in refused.value.message
