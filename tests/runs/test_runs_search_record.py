"""``auto.json``: what it holds, that a record never changes, and what is read of a broken one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mmx.runs.directory import RunDirectory
from mmx.runs.search_record import SearchRecord, Trial, read_search, read_search_end, write_search
from mmx.runs.summary import RungResult

KEPT = Path(__file__).parent / "kept" / "auto"


@pytest.fixture
def data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((KEPT / "auto.json").read_text())
    return found


@pytest.fixture
def record(data: dict[str, Any]) -> SearchRecord:
    return SearchRecord.from_json(data)


def test_it_is_written_as_it_was_read(
    data: dict[str, Any], record: SearchRecord, tmp_path: Path
) -> None:
    directory = RunDirectory(tmp_path)
    assert write_search(directory, record) is record
    text = (tmp_path / "auto.json").read_text()
    assert text == (KEPT / "auto.json").read_text()
    assert list(json.loads(text)) == list(data)
    assert read_search(directory) == record


def test_nothing_of_it_can_be_set(record: SearchRecord) -> None:
    with pytest.raises(ValidationError):
        record.winner = "transfer=scratch"  # type: ignore[misc]


def test_each_step_is_another_record(record: SearchRecord) -> None:
    before = record.model_copy(deep=True)
    trial = Trial(candidate="new", epochs=3, val={}, score=None, steps=0, seconds=1.5, error="no")
    rung = RungResult(epochs=3, tried=["new"], kept=["new"], dropped={})
    after = record.with_trial(trial).with_rung(rung).with_winner("new", "it is new")
    assert record == before
    assert after.trials == [*before.trials, trial]
    assert after.rungs == [*before.rungs, rung]
    assert after.seconds == before.seconds + 1.5
    assert (after.winner, after.verdict, after.best) == ("new", "it is new", "new")
    assert after.without_rungs().rungs == []
    assert after.find_trial("new", 3) == trial
    assert after.find_trial("new", 2) is None


def test_fates(record: SearchRecord) -> None:
    assert record.find_fate("transfer=parameter") == "won"
    assert record.find_fate("transfer=scratch").startswith("rung 2: ")
    assert record.find_fate("transfer=parameter regularizer=l2_sp").startswith("not tried: ")
    (refused, *_) = record.plan.refused
    assert record.find_fate(refused) == record.plan.refused[refused]


def test_the_table_has_those_first_that_got_furthest(record: SearchRecord) -> None:
    head, *rows = record.format_table()
    assert head.split() == ["candidate", "epochs", "accuracy"]
    tried = [row.rpartition("  ")[0].split()[:3] for row in rows[:4]]
    assert tried[0] == ["transfer=parameter", "2", "0.110"]
    assert tried[1] == ["transfer=scratch", "2", "0.100"]
    assert len(rows) == len(record.order) + len(record.plan.refused)
    assert len({row.find("won") for row in rows if row.endswith("won")}) == 1


def test_the_summary_says_what_it_said(record: SearchRecord) -> None:
    kept = json.loads((KEPT / "summary.json").read_text())
    end = read_search_end(RunDirectory(KEPT))
    assert end is not None
    assert end.facts.to_json() == kept["transfer"]["auto"]
    assert end.notes[0] == kept["notes"][0]


def cut(*path: str) -> Any:
    def change(data: dict[str, Any]) -> dict[str, Any]:
        node: Any = data
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]
        return data

    return change


def give(key: str, value: object) -> Any:
    return lambda data: {**data, key: value}


@pytest.mark.parametrize(
    "change",
    [
        cut("plan"),
        cut("plan", "refused"),
        cut("winner"),
        cut("left_out"),
        cut("controls"),
        give("winner", 7),
        give("trials", [{"candidate": "a"}]),
        give("rungs", "x"),
        give("seconds", "1.0"),
        give("scores", {"fresh": {"logme": "x"}}),
    ],
)
def test_what_a_search_does_not_write_is_not_read(
    change: Any, data: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "auto.json").write_text(json.dumps(change(data)))
    assert read_search(RunDirectory(tmp_path)) is None
    assert read_search_end(RunDirectory(tmp_path)) is None


def test_a_search_that_goes_on_has_no_end(record: SearchRecord, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert read_search(directory) is None
    write_search(directory, record.model_copy(update={"winner": None}))
    assert read_search_end(directory) is None
