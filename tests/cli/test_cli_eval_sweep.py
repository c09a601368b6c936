"""``mmx eval SWEEP suite=…``: means over seeds equal those of the runs' own files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mmx.cli import main

pytestmark = pytest.mark.slow
SEEDS, FUSIONS = (1, 2, 3), ("concat", "late_mean")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    random = np.random.default_rng(0)
    lines = ["words,x,y,label"]
    for n in range(90):
        label = n % 3
        word = ["red", "blue", "green"][label if random.random() < 0.7 else 0]
        x, y = random.normal(label), random.normal(label)
        lines.append(f"{word} car,{x:.2f},{y:.2f},{'abc'[label]}")
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    words = ["source=none", "target=table", f"target.path={table}", "target.label=label"]
    words += ["target.columns={text: words, tabular: [x, y]}", "trainer.epochs=2", "control=none"]
    words += ["trainer.threads=1", "device=cpu", f"output_dir={folder / 'out'}"]
    varied = [f"seed={','.join(map(str, SEEDS))}", f"fusion={','.join(FUSIONS)}"]
    assert main(["train", "-m", *words, *varied]) == 0
    [found] = (folder / "out" / "sweeps").iterdir()
    return found


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_runs(sweep: Path, suite: str, fusion: str) -> list[list[dict[str, str]]]:
    """Return the rows of a suite's file of each run with a fusion."""
    runs = [run for run in (sweep / "runs").iterdir() if f"-{fusion}_" in run.name]
    assert len(runs) == len(SEEDS)
    return [read(run / "eval" / f"{suite}.csv") for run in runs]


@pytest.mark.parametrize(
    ("words", "suite", "keys", "metric"),
    [
        (("suite=missing",), "missing", ("shown",), "accuracy"),
        (("suite=missing", "rate=0.5"), "missing_at_random", ("rate",), "accuracy"),
        (("suite=noise",), "noise", ("modality", "noise", "strength"), "accuracy"),
        (("suite=importance",), "importance", ("class", "modality"), "shapley"),
    ],
)
def test_means_and_intervals_are_those_over_the_runs(
    words: tuple[str, ...],
    suite: str,
    keys: tuple[str, ...],
    metric: str,
    sweep: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert main(["eval", str(sweep), *words]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [each["runs"] for each in said[words[0].partition("=")[2]]] == [3, 3]
    lines = [row for row in read(sweep / "eval" / f"{suite}.csv") if row["metric"] == metric]
    assert {line["fusion"] for line in lines} == set(FUSIONS)
    for fusion in FUSIONS:
        runs = read_runs(sweep, suite, fusion)
        own = [line for line in lines if line["fusion"] == fusion]
        conditions = {tuple(row[key] for key in keys) for row in runs[0]}
        assert len(own) == len(conditions) > 0
        for line in own:
            of = tuple(line[key] for key in keys)
            values = [
                np.mean([float(row[metric]) for row in rows if tuple(row[k] for k in keys) == of])
                for rows in runs
            ]
            assert float(line["mean"]) == pytest.approx(np.mean(values))
            half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
            assert float(line["half_width"]) == pytest.approx(half, abs=1e-12)
    page = (sweep / "eval" / f"{suite}.html").read_text(encoding="utf-8")
    assert "fusion=late_mean (3 runs)" in page
    if suite == "noise":
        assert "fusion=late_mean: accuracy with noise on " in page  # curves, in place of bars
        assert re.search(r"<td>\d[\d.]{5,}</td>", page) is None  # strengths have three digits


@pytest.mark.parametrize(
    ("words", "said", "tip"),
    [
        ((), "whose metrics mmx compare shows", "mmx compare"),
        (("other.csv",), "other.csv is measured by one run", "/runs/<run> other.csv"),
    ],
)
def test_what_is_of_one_run_is_refused(
    words: tuple[str, ...],
    said: str,
    tip: str,
    sweep: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert main(["eval", str(sweep), *words]) == 2
    found = capsys.readouterr().err
    assert said in found
    assert tip in found
