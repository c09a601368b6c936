"""A run's own splits after its table was edited: numbered as the model numbers them, or refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mmx.cli import main

Row = dict[str, str]
KINDS = {
    "classes": ("target.label=label",),
    "multilabel": ("target.label=tags", "target.kind=multilabel", "objective=binary_cross_entropy"),
    "regression": ("target.label=y", "target.kind=regression", "objective=mean_squared_error"),
}


def make_rows() -> list[Row]:
    """Return 24 rows of each split, of the classes b, c and d."""
    random = np.random.default_rng(4)
    rows = []
    for n in range(72):
        label = n % 3
        rows.append(
            {
                "x": f"{label + random.normal(0, 0.4):.3f}",
                "label": "bcd"[label],
                "tags": "|".join(sorted({"bcd"[label], "bcd"[n % 2]})),
                "y": f"{label + 0.01 * n:.3f}",
                "split": ("train", "val", "test")[n // 3 % 3],
            }
        )
    return rows


def write(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("edited")
    runs: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in runs:
            table = write(folder / "first.csv", make_rows())
            usual = ["source=none", "target=table", f"target.path={table}", "target.split=split"]
            usual += ["target.columns={tabular: [x]}", "trainer.epochs=4", "control=none"]
            usual += ["trainer.threads=1", "device=cpu", f"output_dir={folder / kind}"]
            assert main(["train", *usual, *KINDS[kind]]) == 0
            runs[kind] = next((folder / kind / "runs").iterdir())
        return runs[kind]

    return run


def add_to_training(rows: list[Row]) -> list[Row]:
    """Add training rows of a class that comes first, and with a far number."""
    return [{**rows[0], "label": "a", "tags": "a", "y": "900", "split": "train"}, *rows]


def reverse(rows: list[Row]) -> list[Row]:
    return rows[::-1]


def remove_b(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["label"] != "b"]


EDITS: dict[str, Callable[[list[Row]], list[Row]]] = {
    "a new class in training rows": add_to_training,
    "rows in another order": reverse,
    "a class gone": remove_b,
}


def predict_own(run: Path, table: Path, folder: Path) -> list[Row]:
    out = folder / "own.csv"
    assert main(["predict", str(run), f"target.path={table}", "--output", str(out)]) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def measure(run: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["eval", str(run), f"target.path={table}", "suite=missing"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def compute(kind: str, lines: list[Row], truth: list[Row]) -> float:
    """Return the primary metric of predictions, from the table itself."""
    if kind == "regression":
        pairs = [(float(a["prediction"]), float(b["y"])) for a, b in zip(lines, truth, strict=True)]
        return float(np.mean([abs(a - b) for a, b in pairs]))
    if kind == "classes":
        pairs_of_names = zip(lines, truth, strict=True)
        return float(np.mean([a["prediction"] == b["label"] for a, b in pairs_of_names]))
    scores = []
    for name in "bcd":
        has = [name in row["tags"].split("|") for row in truth]
        said = [name in line["prediction"].split("|") for line in lines]
        scores.append(f1_score(has, said))
    return float(np.mean(scores))


PRIMARY = {"classes": "accuracy", "multilabel": "f1_macro", "regression": "mae"}
COLUMN = {"classes": "label", "multilabel": "tags", "regression": "y"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edit", EDITS)
def test_the_truth_is_that_of_the_edited_table(
    kind: str,
    edit: str,
    train: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, rows = train(kind), EDITS[edit](make_rows())
    table = write(tmp_path / "edited.csv", rows)
    truth = [row for row in rows if row["split"] == "test"]
    lines = predict_own(run, table, tmp_path)
    if kind == "classes":
        assert [line["target"] for line in lines] == [row["label"] for row in truth]
    found = measure(run, table, capsys)["test"]
    assert found[PRIMARY[kind]] == pytest.approx(compute(kind, lines, truth), abs=1e-4)


@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_a_test_row_of_an_unknown_class_is_refused(
    verb: str, train: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, rows = train("classes"), make_rows()
    for split in ("train", "test"):
        next(row for row in rows if row["split"] == split)["label"] = "cc"
    table = write(tmp_path / "edited.csv", rows)
    words = [] if verb == "eval" else ["--output", str(tmp_path / "out.csv")]
    assert main([verb, str(run), f"target.path={table}", *words]) == 1
    said = capsys.readouterr().err
    assert "1 row has the class 'cc', which the run was not trained on" in said
    assert "leave these rows out, or train on them: the model never answers 'cc'" in said
    assert not (tmp_path / "out.csv").exists()
