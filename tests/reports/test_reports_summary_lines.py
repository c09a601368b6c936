"""What a run says of the test rows on which target and control differ."""

from __future__ import annotations

from mmx.reports.summary_lines import format_gains
from mmx.runs.summary import Summary

ROWS = {"better_rows": 4, "worse_rows": 0, "mcnemar_p": 0.125}
GAIN = {
    "metric": "accuracy",
    "value": 0.1,
    "interval": [0.0, 0.23],
    "verdict": "no clear difference",
}


def test_rows_to_none_are_told_with_their_exact_p() -> None:
    gain = {**GAIN, "control": "scratch"}
    lines = format_gains(Summary.from_json({"gain": gain, "gains": {"scratch": {**GAIN, **ROWS}}}))
    assert lines[1] == (
        "test rows: the target alone is right on 4, the scratch control alone on 0 "
        "(McNemar's exact test: p = 0.12)"
    )


def test_a_run_of_before_says_nothing_of_rows() -> None:
    lines = format_gains(Summary.from_json({"gain": GAIN, "gains": {"scratch": GAIN}}))
    assert len(lines) == 1
