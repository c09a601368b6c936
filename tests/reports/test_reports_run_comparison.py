from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from mmx.reports.run_comparison import Comparison, compare, find_differing, flatten
from mmx.runs.directory import RunDirectory
from mmx.runs.identity import Identity, find_differences
from mmx.runs.manifest import Manifest


def run(where: Path, summary: dict[str, Any], seed: int = 0, torch: str = "2") -> RunDirectory:
    directory = RunDirectory.create(
        where,
        label="x",
        fingerprint="f" * 32,
        config={"seed": seed, "trainer": {"epochs": 2}},
        manifest=Manifest(versions={"torch": torch}, argv=[str(where)]),
        files={},
    )
    directory.write_json("summary.json", summary)
    return directory


SUMMARY = {
    "run": "a",
    "timing": {"total_s": 1.0},
    "target": {"metrics": {"test": {"accuracy": 0.5, "r2": math.nan}}},
    "gain": {"value": 0.1, "interval": [0.0, 0.2]},
    "params": {"total": 3},
}


def test_equal_numbers_are_counted_and_seconds_do_not_matter(tmp_path: Path) -> None:
    other = {**SUMMARY, "run": "b", "timing": {"total_s": 9.0}}
    found = compare(run(tmp_path, SUMMARY), run(tmp_path, other))
    assert found == Comparison(identical=5, drifted={}, around={})


def test_what_drifted_is_named_with_what_differs_around_it(tmp_path: Path) -> None:
    other = {
        **SUMMARY,
        "target": {"metrics": {"test": {"accuracy": 0.5 + 2**-53, "mae": 1.0}}},
        "gain": {"value": 0.1, "interval": [0.0, 0.3]},
    }
    found = compare(run(tmp_path, SUMMARY), run(tmp_path, other, seed=1, torch="3"))
    assert found.identical == 2
    nan = found.drifted.pop("target.metrics.test.r2")
    assert math.isnan(nan[0])
    assert nan[1] is None
    assert found.drifted == {
        "target.metrics.test.accuracy": (0.5, 0.5000000000000001),
        "gain.interval": ([0.0, 0.2], [0.0, 0.3]),
        "target.metrics.test.mae": (None, 1.0),
    }
    assert found.around == {"seed": (0, 1), "versions.torch": ("2", "3")}


def test_metrics_of_labels_that_an_older_run_lacks_are_no_difference(tmp_path: Path) -> None:
    def of_labels(**more: float) -> dict[str, Any]:
        labels = {"sea": {"f1": 0.5, **more}, "a.b": {"f1": 0.25, **more}}
        return {**SUMMARY, "target": {"metrics": {}, "labels": labels}}

    old, new = of_labels(), of_labels(precision=0.5, recall=0.75)
    for pair in ((old, new), (new, old)):
        found = compare(*(run(tmp_path, each) for each in pair))
        assert (found.drifted, found.identical) == ({}, 5)
    new["target"]["labels"]["sea"]["f1"] = 0.75
    found = compare(run(tmp_path, old), run(tmp_path, new))
    assert found.drifted == {"target.labels.sea.f1": (0.5, 0.75)}


def test_differing_goes_by_path() -> None:
    assert find_differing({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == {
        "a.c": (2, 3),
        "d": (None, 4),
    }
    assert find_differing({}, {}) == {}


def test_flat_keeps_lists_whole() -> None:
    assert flatten({"a": {"b": [1, {"c": 2}]}, 3: None}) == {"a.b": [1, {"c": 2}], "3": None}


def test_a_list_with_what_is_no_number_is_as_it_was(tmp_path: Path) -> None:
    gain = {"value": math.nan, "interval": [math.nan, math.nan]}
    one, other = (run(tmp_path, {**SUMMARY, "gain": dict(gain)}) for _ in range(2))
    assert compare(one, other) == Comparison(identical=5, drifted={}, around={})
    known = run(tmp_path, {**SUMMARY, "gain": {**gain, "interval": [0.0, math.nan]}})
    assert list(compare(one, known).drifted) == ["gain.interval"]
    assert list(find_differing({"a": [1, 2]}, {"a": [1]})) == ["a"]


def known(**more: Any) -> Manifest:
    """Return a manifest that records all, with some of it replaced."""
    recorded = {"config": "c", "code": {"mmx": "m", "mine": "p"}, "weights": {"image": "w"}}
    identity = more.pop("identity", None)
    data = {
        "identity": {} if identity == {} else {**recorded, **(identity or {})},
        "data": {"target": "d"},
        "versions": {"torch": "2.11", "mmx": "1"},
        "machine": {"cpu": "x", "threads": 2, "platform": "linux"},
        **more,
    }
    return Manifest.from_json(data)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"machine": {"cpu": "x", "threads": 2, "platform": "newer"}}, ()),
        ({"versions": {"torch": "2.11", "mmx": "2"}}, ()),
        ({"identity": {"config": "other"}}, ("config",)),
        ({"identity": {"config": "other", "settled": "c"}}, ()),
        ({"data": {"target": "e", "source": "new"}}, ("data (target)",)),
        ({"identity": {"code": {"mmx": "n", "mine": "p"}}}, ("code (mmx)",)),
        ({"identity": {"code": {"mmx": "m", "mine": "q"}}}, ("code (mine)",)),
        ({"identity": {"weights": {"image": "v"}}}, ("weights (encoder.image)",)),
        ({"versions": {"torch": "2.14"}}, ("versions (torch 2.11 -> 2.14)",)),
        ({"machine": {"cpu": "x", "threads": 1}}, ("hardware (threads 2 -> 1)",)),
        ({"identity": {}, "data": {}, "versions": {"torch": None}, "machine": {}}, ()),
    ],
)
def test_what_changed_is_named(more: dict[str, Any], said: tuple[str, ...]) -> None:
    assert find_differences(Identity.of(known()), Identity.of(known(**more))) == said
