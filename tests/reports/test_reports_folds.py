"""Gains over folds, from run directories that were written by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmx.evaluation.folds import find_half_width_of_folds
from mmx.evaluation.sample_metric import SampleScores
from mmx.reports import gains_page
from mmx.reports.pairing import Side, compare_sides
from mmx.reports.sweep_gains import Gains, compute_gains
from mmx.reports.sweep_groups import keep_common_draws
from mmx.runs import sample_scores
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw, count_folds, describe_draws

ROWS = 60


def run(folder: Path, draw: Draw, rate: float) -> RunDirectory:
    """Write what of a finished run is read: a target with hits at a rate, a control at 0.5."""
    path = folder / f"{draw.repeat}-{draw.fold}-{draw.seed}"
    path.mkdir(parents=True)
    random = np.random.default_rng([draw.repeat, draw.fold, draw.seed])
    rows = np.arange(ROWS) + ROWS * draw.fold
    target, control = (
        SampleScores("accuracy", (random.random(ROWS) < part).astype(float)[:, None], rows)
        for part in (rate, 0.5)
    )
    summary: dict[str, Any] = {
        "seed": draw.seed,
        "target": {"metrics": {"test": {"accuracy": target.value}}},
        "gain": {"metric": "accuracy"},
        "control": {"scratch": {"metrics": {"test": {"accuracy": control.value}}}},
    }
    if draw.folds:
        summary["fold"] = {"number": draw.fold, "count": draw.folds, "repeat": draw.repeat}
    (path / "summary.json").write_text(json.dumps(summary))
    directory = RunDirectory(path)
    sample_scores.write_scores(directory, target, {"scratch": control}, {"labels": "same"})
    return directory


def gains_of(folder: Path, draws: Sequence[Draw], rate: float = 0.9) -> Gains:
    return compute_gains({(): [run(folder, draw, rate).path for draw in draws]})


def value_of(directory: RunDirectory) -> float:
    summary = directory.read_summary()
    tested = [
        each.metrics["test"]["accuracy"] for each in (summary.target, summary.control["scratch"])
    ]
    return tested[0] - tested[1]


@pytest.mark.parametrize(("repeats", "over"), [(1, "5 folds"), (3, "15 folds (3 repeats of 5)")])
def test_the_gain_over_folds_has_the_corrected_interval(
    tmp_path: Path, repeats: int, over: str
) -> None:
    draws = [Draw(r, fold, 0, 5) for r in range(1, repeats + 1) for fold in range(1, 6)]
    (found,) = gains_of(tmp_path, draws).found
    values = np.array([value_of(RunDirectory(path)) for path in sorted(tmp_path.iterdir())])
    reach = find_half_width_of_folds(values, 5, 0.95)
    assert found.gain.value == pytest.approx(values.mean())
    assert found.gain.interval is not None
    assert found.gain.interval == pytest.approx((values.mean() - reach, values.mean() + reach))
    assert (found.over, found.count, found.folds) == (over, 5 * repeats, 5)
    numbers = found.numbers()
    assert (numbers["folds"], numbers["repeats"], numbers["seeds"]) == (5 * repeats, repeats, 1)
    assert numbers["higher_folds"] == found.higher == int((values > 0).sum())
    assert "higher_seeds" not in numbers


def test_seeds_of_a_fold_count_once_even_where_one_is_missing(tmp_path: Path) -> None:
    draws = [Draw(1, fold, seed, 3) for fold in (1, 2, 3) for seed in (0, 1)][:-1]
    (found,) = gains_of(tmp_path, draws).found
    each = {path.name: value_of(RunDirectory(path)) for path in tmp_path.iterdir()}
    values = [(each["1-1-0"] + each["1-1-1"]) / 2, (each["1-2-0"] + each["1-2-1"]) / 2]
    values.append(each["1-3-0"])
    assert found.gain.value == pytest.approx(np.mean(values))
    assert found.count == 3
    assert found.target - found.control == pytest.approx(found.gain.value)


def test_one_fold_over_seeds_is_a_gain_over_seeds(tmp_path: Path) -> None:
    (found,) = gains_of(tmp_path, [Draw(1, 2, seed, 5) for seed in (0, 1, 2)]).found
    assert (found.folds, found.count, found.over) == (0, 3, "3 seeds")


def test_pages_speak_of_folds(tmp_path: Path) -> None:
    found = gains_of(tmp_path / "a", [Draw(1, fold, 0, 5) for fold in range(1, 6)])
    grid = gains_page.make_grid(found)
    cells = dict(zip(grid.columns, grid.rows[0], strict=True))
    assert cells["folds"] == "5 folds"
    assert cells["higher in"].endswith("of 5 folds")
    assert "seeds" not in cells
    assert gains_page.list_notes(found)[0] == gains_page.FOLDS
    gains_page.write_gains(tmp_path, found)
    with (tmp_path / "gains.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["folds"], row["repeats"], row["seeds"]) == ("5", "1", "1")
    fewer = gains_of(tmp_path / "b", [Draw(1, fold, 0, 5) for fold in range(1, 5)])
    assert fewer.found[0].over == "4 folds of 5"
    assert gains_page.FEWER_FOLDS in gains_page.list_notes(fewer)


def test_two_groups_are_compared_fold_by_fold(tmp_path: Path) -> None:
    draws = [Draw(1, fold, 0, 4) for fold in range(1, 5)]
    one = [run(tmp_path / "a", draw, 0.3) for draw in reversed(draws)]
    two = [run(tmp_path / "b", draw, 0.9) for draw in draws]
    (text,) = compare_sides([Side("A", one), Side("B", two)])
    assert f"over {4 * ROWS} test rows, 4 folds" in text
    assert text.endswith("B is better; higher in 4 of 4 folds")
    sides, note = keep_common_draws([Side("A", one[:3]), Side("B", two)])
    assert [len(side.runs) for side in sides] == [3, 3]
    assert note == "left out, since not every group has them: fold 1 (seed 0)"


def test_what_runs_differ_in() -> None:
    assert count_folds([Draw(seed=1), Draw(seed=2)]) == 0
    assert count_folds([Draw(1, 1, 0, 5), Draw(1, 1, 1, 5)]) == 0
    assert count_folds([Draw(1, 1, 0, 5), Draw(1, 2, 0, 5)]) == 5
    assert count_folds([Draw(1, 1, 0, 5), Draw(2, 1, 0, 5)]) == 5
    assert describe_draws([Draw(seed=3), Draw(seed=4)]) == "seed 3, 4"
    assert describe_draws([Draw(2, 1, 0, 5)]) == "fold 1 (repeat 2, seed 0)"
