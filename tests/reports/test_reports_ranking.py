"""The order of a ranking, against a slow one, and what is written of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from mmx.reports.ranking import (
    COUNTED,
    RankedCandidate,
    Ranking,
    find_common_scores,
    list_remarks,
    make_ranking_table,
    order,
    rank_values,
)
from mmx.transfer.scores import SCORES

KNOWN = ("logme", "h_score_shrunk", "transrate", "knn")


def test_columns_are_in_the_order_of_ranks_and_h_score_has_no_vote() -> None:
    """``ranking.csv`` of other versions has these columns in this order."""
    first = ["logme", "h_score", "h_score_shrunk", "leep", "nce", "transrate", "knn"]
    ranks = [score.rank for score in SCORES.values()]
    assert list(SCORES)[: len(first)] == first
    assert ranks == sorted(set(ranks))
    assert [name for name in first if name not in COUNTED] == ["h_score"]
    assert [name for name in first if SCORES[name].reads_source_outputs] == ["leep", "nce"]


def candidate(
    name: str, scores: dict[str, float], probe: float | None, **more: Any
) -> RankedCandidate:
    facts = {"scores": scores, "blank": {}, "metric": "accuracy", "probe": probe, **more}
    return RankedCandidate(f"source={name}", {"source": name}, facts)


def failed(name: str) -> RankedCandidate:
    return RankedCandidate(f"source={name}", {"source": name}, error="it went wrong")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_places_are_ranks_with_ties_averaged(values: list[int]) -> None:
    assert rank_values(values) == list(rankdata([-value for value in values]))


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 5), min_size=1, max_size=6))
def test_the_order_is_that_of_the_mean_place_then_of_the_probe(rows: list[tuple[int, ...]]) -> None:
    found = order(
        [
            candidate(str(row), dict(zip(KNOWN, values, strict=False)), values[4])
            for row, values in enumerate(rows)
        ]
    )
    means = []
    for mine in rows:
        total = 0.0
        for column in range(4):
            better = sum(other[column] > mine[column] for other in rows)
            same = sum(other[column] == mine[column] for other in rows)
            total += better + (1 + same) / 2
        means.append(total / 4)
    expected = sorted(range(len(rows)), key=lambda row: (means[row], -rows[row][4]))
    assert [int(each.candidate.varied["source"]) for each in found] == expected
    assert [each.mean_place for each in found] == [means[row] for row in expected]
    assert [each.place for each in found] == list(range(1, len(rows) + 1))


def test_only_scores_that_all_have_are_counted() -> None:
    both = candidate("a", {"logme": 0.1, "leep": -0.1, "h_score": 9.0}, 0.1)
    one = candidate("b", {"logme": 0.2, "h_score": 1.0}, 0.9)
    assert find_common_scores([both, one]) == ["logme"]
    assert find_common_scores([both]) == ["logme", "leep"]
    assert find_common_scores([both, one, failed("c")]) == ["logme"]
    assert [each.candidate.varied["source"] for each in order([both, failed("c"), one])] == [
        "b",
        "a",
        "c",
    ]


def test_without_scores_the_probe_orders() -> None:
    found = order([candidate(name, {}, probe) for name, probe in (("a", 0.1), ("b", 0.3))])
    assert [(each.candidate.varied["source"], each.mean_place) for each in found] == [
        ("b", None),
        ("a", None),
    ]
    unmeasured = order([candidate("a", {}, None), candidate("b", {}, 0.1)])
    assert [each.candidate.varied["source"] for each in unmeasured] == ["b", "a"]
    assert list_remarks(found)[0] == "no score is common: by probe"


def test_remarks_say_why_cells_are_blank_and_where_the_probe_disagrees() -> None:
    why = {"leep": "no head", "nce": "no head"}
    found = order(
        [candidate("a", {"logme": 1.0}, 0.2), candidate("b", {"logme": 0.5}, 0.4, blank=why)]
    )
    lines = list_remarks(found)
    assert lines[0].endswith("the probe breaks ties; counted: logme")
    assert lines[1:3] == [
        "blank leep, nce: no head",
        "scores and probe disagree: the probe is best for source=b",
    ]
    agreeing = list_remarks(order([candidate("a", {"logme": 1.0}, 0.4)]))
    assert not any("disagree" in line for line in agreeing)


def test_an_h_score_at_its_most_for_all_is_explained_and_no_other() -> None:
    def said(*values: float) -> list[str]:
        found = order([candidate(str(v), {"h_score": v, "logme": v}, 0.4) for v in values])
        return [line for line in list_remarks(found) if line.startswith("h_score")]

    assert said(9.0, 8.9999) == [
        "h_score 9.000 says nothing here: it is at its most, the number of classes less one, for "
        "every candidate, as it is for any features that are nearly as many as the rows; "
        "h_score_shrunk counts in its place"
    ]
    assert "for this candidate, as" in said(9.0)[0]
    assert said(9.0, 8.9) == said(0.0001, 0.0) == said(8.4) == []
    assert not any("h_score" in line for line in list_remarks(order([candidate("a", {}, 0.4)])))


def test_the_best_is_named_by_the_command_that_trains_it() -> None:
    facts = {"scores": {}, "blank": {}, "metric": "accuracy", "probe": 0.1}
    worse = RankedCandidate("w", {"source": "w"}, facts, command="mmx train source=w")
    best = RankedCandidate(
        "b", {"source": "b"}, {**facts, "probe": 0.2}, command="mmx train source=b"
    )
    assert list_remarks(order([worse, best]))[-1] == (
        "no score is reliable alone, and none replaces training; the first of them: "
        "mmx train source=b"
    )


def test_the_files(tmp_path: Path) -> None:
    place = Ranking.of(tmp_path, ["f", "e"], 10)
    assert place == Ranking.of(tmp_path, ["e", "f", "f"], 10)
    assert place != Ranking.of(tmp_path, ["e", "f"], 11)
    why = {"leep": "no head"}
    first = candidate("a", {"logme": 1.0}, 0.5, rows=3, width=2, blank=why, modalities=["image"])
    found = order([failed("c"), candidate("b", {"logme": 0.5}, None), first])
    path = place.write("t", 4, found)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["place"], row["source"], row["logme"], row["probe"]) for row in rows] == [
        ("1", "a", "1.0", "0.5"),
        ("2", "b", "0.5", ""),
        ("", "c", "", ""),
    ]
    assert rows[0]["blank"] == "leep: no head"
    assert rows[0]["modalities"] == "image"
    assert rows[2]["error"] == "it went wrong"
    kept = json.loads((place.path / "ranking.json").read_text())
    assert (kept["target"], kept["seed"], kept["counted"]) == ("t", 4, ["logme"])
    assert [each["mean_place"] for each in kept["candidates"]] == [1.0, 2.0, None]
    assert kept["candidates"][0]["blank"] == why


def test_the_table_has_a_row_for_each_that_did_not_fail() -> None:
    shown = make_ranking_table(order([candidate("a", {"logme": 1.0}, 0.5), failed("b")]))
    assert shown.row_count == 1
    assert [column.header for column in shown.columns][:3] == ["", "mean place", "source"]
    cells = {str(column.header): str(next(iter(column.cells))) for column in shown.columns}
    scores = {**dict.fromkeys(SCORES, ""), "logme": "1.000"}
    assert list(cells.items()) == [
        *{"": "1", "mean place": "1.00", "source": "a", **scores, "probe accuracy": "0.500"}.items()
    ]
