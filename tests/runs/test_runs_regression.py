"""Whole runs on numbers such as seconds since 1970: what they say is of the table's own numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from mmx.cli import main


def write(path: Path, labels: list[Any]) -> Path:
    lines = [f"{i % 7},{i},{label}" for i, label in enumerate(labels)]
    path.write_text("\n".join(["a,b,y", *lines]) + "\n")
    return path


def words(path: Path, *more: str) -> list[str]:
    return [
        "source=none",
        "target=table",
        f"target.path={path}",
        "target.label=y",
        "target.kind=regression",
        "target.columns={tabular: [a, b]}",
        "objective=mean_squared_error",
        "encoder.tabular.width=8",
        "encoder.tabular.hidden=8",
        "trainer.threads=1",
        "trainer.epochs=5",
        "control=majority",
        "device=cpu",
        *more,
    ]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr().out.strip()


def read(path: str) -> dict[str, np.ndarray]:
    with Path(path).open() as file:
        rows = list(csv.DictReader(file))
    wanted = ("row", "prediction", "target")
    return {name: np.array([float(row[name]) for row in rows]) for name in wanted}


@pytest.mark.parametrize(
    ("first", "unit"), [(1_700_000_000, 1), (1_700_000_000_000, 1), (-5e-31, 1e-30), (0, 1e120)]
)
def test_metrics_are_those_of_the_predictions_against_the_table(
    tmp_path, monkeypatch, capsys, first, unit
):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 9, 80)
    labels = [first + unit * (3 * i + int(more)) for i, more in enumerate(noise)]
    path = write(tmp_path / "t.csv", labels)
    place = said(capsys, "train", *words(path))
    summary = json.loads((Path(place) / "summary.json").read_text())
    found = read(said(capsys, "predict", place))
    truth = np.array([float(labels[int(row) - 1]) for row in found["row"]])
    assert found["target"].tolist() == truth.tolist()  # to the last bit
    test = summary["target"]["metrics"]["test"]
    assert test["mse"] == sk.mean_squared_error(truth, found["prediction"])
    assert test["mae"] == sk.mean_absolute_error(truth, found["prediction"])
    assert test["r2"] == sk.r2_score(truth, found["prediction"])
    assert len(set(found["prediction"])) > 3  # not rounded to a few steps of float32
    evaluated = json.loads(said(capsys, "eval", place, "suite=missing"))
    assert evaluated["test"]["r2"] == pytest.approx(test["r2"], rel=1e-12)
    assert evaluated["missing"]["subsets"]["tabular"]["mae"] == pytest.approx(test["mae"])
    control = summary["control"]["majority"]["metrics"]["test"]["r2"]
    gain = summary["gains"]["majority"]
    assert gain["value"] == pytest.approx(test["r2"] - control, abs=1e-12)
    low, high = gain["interval"]
    assert low - 1e-9 <= gain["value"] <= high + 1e-9


def test_the_order_of_a_line_is_learned_whatever_its_offset(tmp_path, monkeypatch, capsys):
    """100 seconds in a row: float32 would know of two numbers among them, 64 apart."""
    monkeypatch.chdir(tmp_path)
    runs = []
    for first in (0, 1_600_000_000):
        path = write(tmp_path / f"{first}.csv", [first + i for i in range(100)])
        place = said(capsys, "train", *words(path, "control=none", "trainer.epochs=2"))
        runs.append(read(said(capsys, "predict", place))["prediction"] - first)
    assert runs[0] == pytest.approx(runs[1], abs=1e-3)
