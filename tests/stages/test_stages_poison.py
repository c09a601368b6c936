"""Test rows touch nothing before the final evaluation, whatever is chosen, fitted or held."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint

pytestmark = pytest.mark.slow

Both = Callable[..., tuple[RunDirectory, RunDirectory]]
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
    "decays and seeds": ["transfer=feature", "transfer.decays=[0,0.1,1]", "transfer.head_seeds=2"],
    "head first": ["transfer=parameter", "transfer.lp_ft=true"],
    "pattern": ["transfer=structure", "transfer.sparsity=magnitude", "optimizer.lr=0.05"],
    "jointly": ["transfer=joint"],
    "adapters": ["transfer=adapter"],
    "renamed classes": ["transfer=parameter", "transfer.class_map={low: low, high: high}"],
}


def rewritten(path: Path, name: str, split: str, change: Callable[[dict[str, str]], None]) -> Path:
    """Return a copy of a table, each row of a split changed."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["split"] == split:
            change(row)
    copy = path.with_name(f"{name}_{split}_{path.name}")
    with copy.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return copy


def poisoned(path: Path, split: str = "test") -> Path:
    """Return a copy of a table whose test rows have noise for inputs and another's label."""
    other = {"low": "high", "middle": "low", "high": "middle"}

    def change(row: dict[str, str]) -> None:
        row["label"] = other[row["label"]]
        row["a"], row["b"] = "1e6", "x"
        row["picture"] = "one1.png"

    return rewritten(path, "poisoned", split, change)


def lengthened(path: Path) -> Path:
    """Return a copy of a table whose test rows have far longer texts and sounds than all others."""
    soundfile.write(path.with_name("long.wav"), 0.3 * np.sin(np.arange(4000)), 8000)

    def change(row: dict[str, str]) -> None:
        row["words"] = row["words"] and "stone river cloud " * 9
        row["sound"] = row["sound"] and "long.wav"

    return rewritten(path, "lengthened", "test", change)


def epochs(run: RunDirectory) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.metrics()]


def same_stage(clean: RunDirectory, other: RunDirectory, stage: str) -> dict[str, Any]:
    """Assert that a stage came out the same in two runs, bit for bit; return its facts."""
    (one, facts), (two, others) = (
        checkpoint.read_checkpoint(r.stage_file(stage)) for r in (clean, other)
    )
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert facts["specs"] == others["specs"]
    return facts


@pytest.fixture
def both(
    once: Callable[[list[str]], RunDirectory],
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
) -> Both:
    """Return ``both(role, change, modalities, *more)``: a run, and one whose table is changed."""

    def run(
        role: str, change: Callable[[Path], Path], modalities: tuple[str, ...], *more: str
    ) -> tuple[RunDirectory, RunDirectory]:
        table = {"source": "one", "target": "two"}[role]
        changed = {**tables, table: change(tables[table])}
        clean, other = (
            once(overrides(each["one"], each["two"], modalities, "control=none", *more))
            for each in (tables, changed)
        )
        return clean, other

    return run


@pytest.mark.parametrize("choice", CHOICES)
def test_nothing_but_test_metrics_depends_on_the_test_rows(both: Both, choice: str) -> None:
    clean, other = both("target", poisoned, TWO, *CHOICES[choice])
    facts = same_stage(clean, other, "target")
    assert epochs(clean) == epochs(other)
    if choice == "pattern":
        assert set(clean.summary()["transfer"]["density"].values()) == {0.5}
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


@pytest.mark.parametrize("mode", ["feature", "parameter"])
def test_nothing_depends_on_how_long_the_test_rows_are(both: Both, mode: str) -> None:
    """Kept features have as many tokens as the longest row: that row may be one of the test."""
    more = [f"transfer={mode}", "fusion=mult"]
    more += [f"{role}.audio.max_seconds=0.5" for role in ("source", "target")]
    clean, other = both("target", lengthened, ("audio", "text", "tabular"), *more)
    same_stage(clean, other, "target")
    assert epochs(clean) == epochs(other)


OF_SOURCE = (
    "canonical correlations",
    "class weights of co-tuning",
    "channel weights",
    "source distribution",
    "logistic head",
    "pattern",
    "jointly",
    "adapters",
)


@pytest.mark.parametrize("choice", OF_SOURCE)
def test_nothing_of_the_target_depends_on_the_sources_test_rows(both: Both, choice: str) -> None:
    clean, other = both("source", poisoned, TWO, *CHOICES[choice])
    for stage in ("target",) if choice == "jointly" else ("source", "target"):
        same_stage(clean, other, stage)
    assert epochs(clean) == epochs(other)
    before, after = clean.summary(), other.summary()
    assert before["target"]["metrics"] == after["target"]["metrics"]


def test_this_poison_shows_where_rows_are_read(both: Both) -> None:
    clean, other = both("source", partial(poisoned, split="train"), TWO, *CHOICES["pattern"])
    name = "encoders.image.stages.1.0.weight"
    one, two = (checkpoint.read_checkpoint(r.stage_file("source"))[0][name] for r in (clean, other))
    assert not torch.equal(one, two)
    one, two = (checkpoint.read_checkpoint(r.stage_file("target"))[0][name] for r in (clean, other))
    assert not torch.equal(one == 0, two == 0)  # another pattern
