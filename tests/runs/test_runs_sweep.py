"""The table of a sweep, and the group_runs of its runs."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from mmx.runs.draw import Draw
from mmx.runs.sweep import make_tables
from mmx.runs.sweep_row import SweepRow, group_runs


def said(table: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def row(label: dict[str, str], seed: int, name: str, status: str = "done", **more: Any) -> SweepRow:
    cells = {"seconds": 1.0, "seed": str(seed), **label, "test.accuracy": 0.5, **more}
    return SweepRow("", tuple(label.items()), Draw(seed=seed), name, status, cells=cells)


def test_a_group_is_all_that_shares_a_label() -> None:
    rows = [
        row({"fusion": "concat"}, 0, "a"),
        row({"fusion": "concat"}, 1, "b"),
        row({"fusion": "gmu"}, 0, "c"),
        row({"fusion": "gmu"}, 1, "d", status="failed"),
        row({"fusion": "concat"}, 0, "a"),  # shares the run of an earlier job
    ]
    found = {key: [each.run for each in members] for key, members in group_runs(rows).items()}
    assert found == {(("fusion", "concat"),): ["a", "b"], (("fusion", "gmu"),): ["c"]}


def test_jobs_in_brackets_are_shown_too() -> None:
    rows = [row({"modalities": f"[{names}]"}, 0, names) for names in ("image", "image,text")]
    assert "[image,text]" in said(make_tables(rows)[0])


def test_no_table_where_no_job_has_ended() -> None:
    assert make_tables([row({}, 0, "a", status="interrupted"), row({}, 1, "", status="x")]) == []
    assert len(make_tables([row({}, 0, "a"), row({}, 1, "", status="not started")])) == 2


@pytest.mark.parametrize("count", [3, 10, 11, 12, 20, 200])
def test_means_over_seeds_have_students_interval(count: int) -> None:
    values = [0.5 + 0.1 * math.sin(seed) for seed in range(count)]
    rows = [
        row({}, seed, str(seed), **{"test.accuracy": value}) for seed, value in enumerate(values)
    ]
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    half = (interval.high - interval.low) / 2
    assert f"{sum(values) / count:.3f} ± {half:.3f}" in said(make_tables(rows)[1])


def test_of_two_seeds_both_values_are_shown_for_an_interval() -> None:
    rows = [row({}, seed, str(seed), **{"test.accuracy": 0.25 + seed / 2}) for seed in range(2)]
    text = " ".join(said(make_tables(rows)[1]).split())
    assert "Mean over seeds (± 95 % interval, of 3 or more; of two, both values)" in text
    assert "0.500 (0.250 and 0.750)" in text
    assert "6.353" not in text  # half of Student's interval
