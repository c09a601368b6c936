"""The types of summary.json: what is written, what is read, and the schema that says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from mmx.runs.summary import StatedGain, Summary, TargetResult, Timing

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from schemas import SCHEMAS, schema_text  # noqa: E402


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_in_the_docs_is_that_of_the_types(name):
    written = (ROOT / "docs/reference" / name).read_text(encoding="utf-8")
    assert written == schema_text(SCHEMAS[name]), "type: python scripts/schemas.py"


def test_a_summary_is_changed_by_nobody():
    summary = Summary(timing=Timing(total_s=1.0))
    with pytest.raises(ValidationError, match="frozen"):
        summary.notes = ["more"]
    with pytest.raises(ValidationError, match="frozen"):
        summary.timing.total_s = 2.0


def test_what_was_not_set_is_not_written_and_what_is_not_known_is_let_through():
    target = TargetResult.from_json({"task": "stl10", "metrics": {}, "later": [1]})
    assert target.to_json() == {"task": "stl10", "metrics": {}, "later": [1]}
    assert Summary(faster=None).to_json() == {"faster": None}


@pytest.mark.parametrize("wrong", [{"value": "0.1"}, {"interval": [0.1]}, {"better_rows": -1}])
def test_a_value_of_another_type_is_refused(wrong):
    with pytest.raises(ValidationError):
        StatedGain.from_json(wrong)
