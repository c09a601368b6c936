"""Test rows touch nothing before the final evaluation, whatever is chosen, fitted or held."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint

TWO = ("image", "tabular")
CHOICES = {
    "early stopping": ["trainer.epochs=9", "trainer.patience=1", "optimizer.lr=0.1"],
    "canonical correlations": ["mapping=cca"],
    "discriminants": ["mapping=lda"],
    "neighbours stand in": ["missing=knn"],
    "class weights of co-tuning": ["regularizer=co_tuning"],
    "channel weights": ["regularizer=delta"],
    "source distribution": ["regularizer=mmd"],
    "logistic head": ["transfer=feature", "transfer.head=logistic"],
    "closed form": ["transfer=feature", "transfer.head=closed_form"],
    "head first": ["transfer=parameter", "transfer.lp_ft=true"],
    "pattern": ["transfer=structure"],
    "jointly": ["transfer=joint"],
    "adapters": ["transfer=adapter"],
    "renamed classes": ["transfer=parameter", "transfer.class_map={low: low, high: high}"],
}


def poisoned(path: Path) -> Path:
    """Return a copy of a table whose test rows have noise for inputs and another's label."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    other = {"low": "high", "middle": "low", "high": "middle"}
    for row in rows:
        if row["split"] == "test":
            row["label"] = other[row["label"]]
            row["a"], row["b"] = "1e6", "x"
            row["picture"] = "one1.png"
    copy = path.with_name("poisoned_everywhere.csv")
    with copy.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return copy


def epochs(run: RunDirectory) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.metrics()]


@pytest.mark.parametrize("choice", CHOICES)
def test_nothing_but_test_metrics_depends_on_the_test_rows(
    once: Callable[[list[str]], RunDirectory],
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
    choice: str,
) -> None:
    more = ["control=none", *CHOICES[choice]]
    clean, other = (
        once(overrides(tables["one"], path, TWO, *more))
        for path in (tables["two"], poisoned(tables["two"]))
    )
    (one, facts), (two, others) = (checkpoint.read(r.stage_file("target")) for r in (clean, other))
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert facts["specs"] == others["specs"]
    assert epochs(clean) == epochs(other)
    if choice == "early stopping":
        assert facts["fitted"]["epochs"] < 9
    before, after = clean.summary(), other.summary()
    assert before["target"]["metrics"].pop("test") != after["target"]["metrics"].pop("test")
    assert before["target"]["metrics"] == after["target"]["metrics"]
    kept = [
        {k: v for k, v in each["transfer"].items() if "seconds" not in k}
        for each in (before, after)
    ]
    assert kept[0] == kept[1]
