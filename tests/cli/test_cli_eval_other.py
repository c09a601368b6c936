"""``mmx eval RUN other.csv``: all metrics on another table, and in what its rows differ."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from mmx.cli import main
from mmx.runs.training_statistics import FILE
from mmx.verbs import evaluate_other

Row = dict[str, Any]


def make_rows(count: int, seed: int) -> list[Row]:
    random = np.random.default_rng(seed)
    words = np.array(["red", "blue", "green", "old", "new", "small", "big"])
    rows = []
    for n in range(count):
        label = n % 3
        text = " ".join(random.choice(words, 6)) + (" " + "abc"[label] * 3) * int(n % 5 > 0)
        rows.append(
            {
                "text": text,
                "number": round(float(random.normal(label)), 3),
                "kind": ["x", "y"][int(random.integers(2))],
                "label": "abc"[label],
                "y": round(float(label + random.normal()), 3),
                "tags": "|".join(t for t in "abc" if t == "abc"[label] or random.random() < 0.3),
            }
        )
    return rows


def write(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    write(folder / "train.csv", make_rows(240, 0))
    return folder


@pytest.fixture(scope="module")
def train(folder: Path) -> Callable[..., Path]:
    runs: dict[tuple[str, ...], Path] = {}

    def run(*words: str) -> Path:
        if words not in runs:
            out = folder / f"out{len(runs)}"
            columns = "target.columns={text: text, tabular: [number, kind]}"
            usual = ["source=none", "target=table", f"target.path={folder / 'train.csv'}", columns]
            usual += ["trainer.epochs=3", "control=none", "trainer.threads=1", "device=cpu"]
            assert main(["train", *usual, *words, f"output_dir={out}"]) == 0
            runs[words] = next((out / "runs").iterdir())
        return runs[words]

    return run


def measure(
    capsys: pytest.CaptureFixture[str], *words: str, code: int = 0
) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    assert main(["eval", *words]) == code
    said = capsys.readouterr()
    return (json.loads(said.out) if said.out else {}), said.err


def test_metrics_are_those_of_the_predictions(
    train: Callable[..., Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, rows = train("target.label=label", "calibration=temperature"), make_rows(150, 1)
    table = write(folder / "same.csv", rows)
    found, err = measure(capsys, str(run), str(table))
    assert "shift:" not in err
    assert (found["rows"], found["primary"], found["calibrated"]) == (150, "accuracy", True)
    assert found["shift"] == []
    answers = folder / "answers.csv"
    assert main(["predict", str(run), str(table), "--output", str(answers)]) == 0
    with answers.open(newline="") as file:
        lines = list(csv.DictReader(file))
    truth = [row["label"] for row in rows]
    chances = np.array([[float(line[f"p({name})"]) for name in "abc"] for line in lines])
    chances /= chances.sum(1, keepdims=True)
    metrics = found["metrics"]
    assert metrics["accuracy"] == accuracy_score(truth, [line["prediction"] for line in lines])
    assert metrics["auroc"] == pytest.approx(
        roc_auc_score(truth, chances, multi_class="ovr"), abs=1e-4
    )
    assert metrics["log_loss"] == pytest.approx(log_loss(truth, chances), abs=1e-4)
    for name, interval in found["intervals"].items():
        if name not in ("top_5", "ece"):
            assert interval[0] <= metrics[name] <= interval[1], name
    assert metrics["top_5"] is found["intervals"]["top_5"] is None
    [kept] = (run / "eval").glob("on_same_*.json")
    assert json.loads(kept.read_text()) == found
    assert measure(capsys, str(run), str(table), "--out", str(folder / "x.json"))[0] == found
    assert json.loads((folder / "x.json").read_text()) == found


def test_other_rows_are_said_to_be_other(
    train: Callable[..., Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in make_rows(400, 2) if row["label"] != "b"]
    for n, row in enumerate(rows):
        row["number"] = "" if n % 3 else row["number"]
        row["text"] += " zebra okapi" if n % 2 else ""
        row["kind"] = "z"
    rows[0]["number"] = 99
    table = write(folder / "other.csv", rows)
    run = train("target.label=label", "calibration=temperature")
    found, err = measure(capsys, str(run), str(table))
    text, cells, kinds, number, absent, shares = found["shift"]
    assert text.startswith("text: ")
    assert "of the words are unknown, 0 % in the validation rows" in text
    assert "of the cells of 'number' are missing, 0 % in the training rows" in cells
    assert kinds == "tabular: 100 % of the words are unknown, 0 % in the validation rows"
    assert number.startswith("tabular: 'number' is -")
    assert "to 99, " in number
    assert absent.startswith("labels: no row has 'b';")
    assert "'b' 0 % (training 33.5 %)" in shares
    assert all(f"note: shift: {each}" in err for each in found["shift"])
    assert found["metrics"]["auroc"] is None


def test_a_run_without_statistics_opens_its_own_data(
    train: Callable[..., Path],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, rows = (
        train("target.label=y", "target.kind=regression", "objective=mean_squared_error"),
        make_rows(60, 3),
    )
    for row in rows:
        row["y"] += 5
    table = write(folder / "moved.csv", rows)
    found, _ = measure(capsys, str(run), str(table))
    assert found["primary"] == "r2"
    assert any(each.startswith("labels: the mean is 5.") for each in found["shift"])
    assert (run / FILE).is_file()
    monkeypatch.setattr(evaluate_other, "read_statistics", lambda directory: None)
    assert measure(capsys, str(run), str(table))[0] == found
    moved = (folder / "train.csv").rename(folder / "gone.csv")
    said, _ = measure(capsys, str(run), str(table))
    moved.rename(folder / "train.csv")
    assert said["shift"] == []
    assert "the rows are not compared with the training rows" in said["notes"][-1]


def test_several_labels_are_measured_by_label(
    train: Callable[..., Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("target.label=tags", "target.kind=multilabel", "objective=binary_cross_entropy")
    table = write(folder / "tags.csv", [{**row, "tags": row["label"]} for row in make_rows(90, 4)])
    found, _ = measure(capsys, str(run), str(table))
    assert list(found["labels"]) == ["a", "b", "c"]
    assert [each["support"] for each in found["labels"].values()] == [30, 30, 30]
    mean = np.mean([each["average_precision"] for each in found["labels"].values()])
    assert found["metrics"]["average_precision"] == pytest.approx(mean)
    assert found["metrics"]["f1_micro"] is not None
    summary = json.loads((run / "summary.json").read_text())["target"]
    assert list(summary["labels"]) == ["a", "b", "c"]
    assert summary["every_metric"]["f1_macro"] == summary["metrics"]["test"]["f1_macro"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": "cc"}, ["1 row has the class 'cc'", "row 3 the first", "it knows a, b, c"]),
        ({"label": ""}, ["has no label"]),
        ({"number": "many"}, ["row 3", "'many'"]),
    ],
)
def test_rows_that_cannot_be_measured_are_refused(
    train: Callable[..., Path],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    change: Row,
    words: list[str],
) -> None:
    rows = make_rows(6, 5)
    rows[2] |= change
    table = write(folder / "bad.csv", rows)
    run = train("target.label=label", "calibration=temperature")
    _, err = measure(capsys, str(run), str(table), code=1)
    assert all(word in err for word in words), err
    assert not list((run / "eval").glob("on_bad*")) if (run / "eval").exists() else True


def test_what_is_of_the_runs_own_data_is_refused_beside_a_table(
    train: Callable[..., Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, table = str(train("target.label=label", "calibration=temperature")), folder / "train.csv"
    for more in (["suite=missing"], ["--split", "val"]):
        _, err = measure(capsys, run, str(table), *more, code=2)
        assert f"tip: mmx eval {run} {table}" in err
    assert "is not a file" in measure(capsys, run, "none.csv", code=2)[1]
