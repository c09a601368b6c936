"""``mmx compare SWEEP``: all groups of a sweep, two by two on the same test rows."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.runs.directory import RunDirectory

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a sweep of three groups of two seeds, with scores of their test rows."""
    folder = tmp_path_factory.mktemp("made") / "sweep"
    given = overrides(None, tables["two"], ("tabular",), "control=none", "seed=1,2")
    more = ["trainer.epochs=1", "trainer.threads=1", "device=cpu", f"hydra.sweep.dir={folder}"]
    assert main(["train", "-m", *given, *more, "optimizer.lr=0.0001,0.01,0.1"]) == 0
    return folder


@pytest.fixture
def sweep(made: Path, tmp_path: Path) -> Path:
    """Return a copy of it, moved as by another user."""
    shutil.copytree(made, tmp_path / "moved")
    return tmp_path / "moved"


def runs_of(sweep: Path) -> dict[str, list[str]]:
    """Return the runs of each learning rate, in the order of their seeds."""
    with (sweep / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["optimizer.lr"], []).append(
            str(sweep / "runs" / Path(row["run"]).name)
        )
    return found


def comparisons(out: str) -> list[str]:
    """Return the lines on groups two by two, which follow the table."""
    return out.split("\n\n")[-1].splitlines()


def change_rows(sweep: Path, change: Callable[[dict[str, str]], None]) -> None:
    path = sweep / "summary.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_three_groups_are_three_comparisons_that_hold_together(
    sweep: Path, capsys: Capture
) -> None:
    capsys.readouterr()
    assert main(["compare", str(sweep)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("best by validation")
    head, *lines = comparisons(out)
    assert head.startswith("3 comparisons on the same test rows, 98.33 % intervals, which all ")
    names = [f"optimizer.lr={value}" for value in ("0.0001", "0.01", "0.1")]
    couples = [(names[0], names[1]), (names[0], names[2]), (names[1], names[2])]
    runs = runs_of(sweep)
    for line, (one, two) in zip(lines, couples, strict=True):
        means = [
            sum(RunDirectory(Path(run)).summary()["target"]["metrics"]["test"]["accuracy"]
                for run in runs[name.partition("=")[2]]) / 2
            for name in (one, two)
        ]  # fmt: skip
        assert f": {two} {means[1]:.3f}, {one} {means[0]:.3f} accuracy: " in line
        assert "2 seeds" in line


def test_two_groups_are_what_their_runs_by_hand_are(sweep: Path, capsys: Capture) -> None:
    runs = runs_of(sweep)
    change_rows(
        sweep, lambda row: row.update(status="failed" if row["optimizer.lr"] == "0.01" else "done")
    )
    capsys.readouterr()
    assert main(["compare", str(sweep)]) == 0
    (whole,) = comparisons(capsys.readouterr().out)
    assert main(["compare", *runs["0.0001"], "--with", *runs["0.1"]]) == 0
    by_hand = capsys.readouterr().out.strip().replace("B ", "optimizer.lr=0.1 ")
    assert whole == by_hand.replace("A ", "optimizer.lr=0.0001 ")


def test_seeds_that_not_every_group_has_are_left_out_and_said(sweep: Path, capsys: Capture) -> None:
    def fail(row: dict[str, str]) -> None:
        if (row["optimizer.lr"], row["seed"]) == ("0.01", "2"):
            row["status"] = "failed"

    change_rows(sweep, fail)
    capsys.readouterr()
    assert main(["compare", str(sweep)]) == 0
    lines = comparisons(capsys.readouterr().out)
    assert lines[-1] == "left out, since not every group has them: seed 2"
    assert all("one seed" in line for line in lines[1:-1])


def test_one_group_is_refused_with_what_can_be_typed(sweep: Path, capsys: Capture) -> None:
    change_rows(
        sweep,
        lambda row: row.update(status=row["status"] if row["optimizer.lr"] == "0.1" else "failed"),
    )
    one, two = runs_of(sweep)["0.1"]
    capsys.readouterr()
    assert main(["compare", str(sweep)]) == 2
    err = capsys.readouterr().err
    assert "the sweep has one group with finished runs, of 2 runs: there is nothing to " in err
    assert f"mmx compare {one} {two}" in err
    assert main(["compare", one, two]) == 0


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("plan.json", "{", "is not JSON"),
        ("plan.json", '{"jobs": [{"overrides": [], "fingerprint": "x"}]}', "an older mmx made it"),
        ("plan.json", '{"jobs": 3}', "an older mmx made it"),
        ("summary.csv", None, "summary.csv"),
        ("summary.csv", "", "has 0 jobs and"),
        ("summary.csv", "run,status\na,done\n", "has 1 jobs and"),
    ],
)
def test_files_that_are_not_a_sweeps_are_refused(
    sweep: Path, capsys: Capture, name: str, text: str | None, said: str
) -> None:
    if text is None:
        (sweep / name).unlink()
    else:
        (sweep / name).write_text(text)
    capsys.readouterr()
    assert main(["compare", str(sweep)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_a_damaged_run_is_left_out_and_named(sweep: Path, capsys: Capture) -> None:
    summary = Path(runs_of(sweep)["0.1"][0]) / "summary.json"
    found = json.loads(summary.read_text())
    found["target"]["metrics"]["test"]["accuracy"] = 0.9
    summary.write_text(json.dumps(found))
    capsys.readouterr()
    assert main(["compare", str(sweep)]) == 0
    said = capsys.readouterr().out
    assert f"left out: {summary} is not what mmx wrote" in said
    assert "left out, since not every group has them: seed 1" in said
