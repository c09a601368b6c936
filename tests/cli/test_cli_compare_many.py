"""``mmx compare`` of many runs: groups, means, paired differences, formats and the figure."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mmx.cli import main
from mmx.evaluation.sample_metric import SampleScores
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.runs.sample_scores import write_scores

ROWS = 200
ACCURACY = {"concat": (0.60, 0.64, 0.62), "gated": (0.80, 0.84, 0.79), "gmu": (0.81, 0.83, 0.79)}
SECONDS = {"concat": 1.0, "gated": 2.0, "gmu": 3.0}


def make_run(folder: Path, target: str, fusion: str, seed: int, test: float, val: float) -> Path:
    """Make a finished run whose first rows are right, with what a comparison reads."""
    config = {"seed": seed, "fusion": {"_target_": f"mmx.fusion.{fusion}.X", "width": 8}}
    directory = RunDirectory.create(
        folder,
        label="x",
        fingerprint=f"{target}{fusion}{seed}".encode().hex()[:32].ljust(32, "0"),
        config={**config, "target": {"_target_": "t.T", "name": target}, "output_dir": str(folder)},
        manifest=Manifest(
            seed=seed, names={"fusion": fusion, "target": target}, data={"target": target}
        ),
        files={},
        exactly=folder / f"{target}-{fusion}-{seed}",
    )
    hits = (np.random.default_rng(0).permutation(ROWS) < round(test * ROWS)).astype(float)[:, None]
    write_scores(directory, SampleScores("accuracy", hits, np.arange(ROWS)), {}, {"labels": target})
    metrics = {
        "test": {"loss": 1 - test, "accuracy": float(hits.mean())},
        "val": {"loss": 1 - val, "accuracy": val},
    }
    gain = {"metric": "accuracy", "value": test - 0.5}
    directory.write_json("summary.json", {
        "format": 1,
        "run": directory.path.name, "source": {"task": "none"}, "fusion": fusion, "seed": seed,
        "target": {"task": target, "metrics": metrics}, "transfer": {"mode": "none"},
        "gain": gain,
        "timing": {"target_s": SECONDS[fusion], "source_s": 0.0, "source_cached": False,
                   "total_s": 2.0, "train_samples_per_s": 1.0, "seconds_per_sample": 1.0},
        "params": {"total": 10, "trainable": 10, "shared": 0}, "cost": {"flops_per_sample": 1},
    })  # fmt: skip
    directory.set_status("done")
    return directory.path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three fusions on three targets, of three seeds each; gmu is best on validation of t0."""
    root = tmp_path_factory.mktemp("compared")
    for place, target in enumerate(["t0", "t1", "t2"]):
        for fusion, values in ACCURACY.items():
            for seed, test in enumerate(values, 1):
                val = 0.95 if fusion == "gmu" else 0.7
                make_run(root / "runs", target, fusion, seed, test - 0.05 * place, val)
    return root


def compare(capsys, *words) -> str:
    assert main(["compare", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_table_has_a_line_for_each_group_and_names_the_best_by_validation(outputs, capsys):
    lines = compare(capsys, outputs, "target=t0").splitlines()
    found = {line.split()[1]: line.split()[0] for line in lines[1:4]}
    # gmu is no better than gated on test, and slower.
    assert found == {"gated": "p", "gmu": "*", "concat": "p"}
    assert "best by validation: fusion=gmu, accuracy 0.810 ± 0.050 on test" in "\n".join(lines)


def test_means_and_intervals_are_those_of_student(outputs, capsys):
    found = json.loads(compare(capsys, outputs, "target=t0", "--format", "json"))
    (concat,) = [each for each in found["groups"] if each["group"] == {"fusion": "concat"}]
    assert concat["test"]["values"] == pytest.approx(list(ACCURACY["concat"]))
    low, high = stats.t.interval(
        0.95, 2, np.mean(ACCURACY["concat"]), stats.sem(ACCURACY["concat"])
    )
    assert concat["test"]["interval"] == pytest.approx([low, high])
    assert concat["gain"]["mean"] == pytest.approx(0.12)
    assert (concat["seconds"], concat["pareto"], concat["best_by_validation"]) == (1.0, True, False)
    difference = concat["difference_to_best"]
    expected = np.array(ACCURACY["concat"]) - ACCURACY["gmu"]
    assert difference["value"] == pytest.approx(expected.mean())
    assert difference["effect"] == pytest.approx(expected.mean() / expected.std(ddof=1))
    assert difference["interval"][1] < 0
    assert found["paired_level"] == pytest.approx(0.975)  # two comparisons


def test_csv_has_numbers_as_they_are(outputs, capsys):
    rows = list(csv.DictReader(io.StringIO(compare(capsys, outputs, "--format", "csv"))))
    assert len(rows) == 9
    first = next(row for row in rows if (row["target"], row["fusion"]) == ("t1", "gated"))
    assert float(first["test"]) == pytest.approx(np.mean(ACCURACY["gated"]) - 0.05)
    assert (first["n"], first["metric"]) == ("3", "accuracy")


def test_ranks_over_three_targets(outputs, capsys):
    text = compare(capsys, outputs)
    assert "mean ranks over 3 targets (Friedman's test: p = " in text
    # gmu and gated have equal means (0.81): both have rank 1.5 on each target.
    assert "fusion=gated 1.50, fusion=gmu 1.50, fusion=concat 3.00" in text


def test_by_names_what_else_a_mean_is_over(outputs, capsys):
    text = compare(capsys, outputs, "target=t0", "fusion=gated,gmu", "--by", "seed")
    assert "note: means are also over fusion (gated, gmu)" in text


def test_another_metric_in_which_less_is_better(outputs, capsys):
    text = compare(capsys, outputs, "target=t0", "--metric", "loss")
    assert text.splitlines()[0].split()[2:4] == ["loss", "test"]
    assert text.splitlines()[-1] == (
        "note: no paired difference of 2 groups: scores of test rows are kept of accuracy, not of "
        "loss"
    )
    assert "best by validation: fusion=gmu" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "acuracy"], "--metric acuracy: all runs have loss, accuracy"),
        (["--by", "fusoin"], "--by fusoin: no run has this key; did you mean fusion?"),
        (["--figure", "plot.gif"], "--figure plot.gif: the name ends in one of .pdf, .svg, .png"),
        (["fusion=gmu", "target=t0", "--by", "fusion"], "the 3 finished runs are one group"),
    ],
)
def test_what_is_refused(outputs, capsys, words, message):
    assert main(["compare", str(outputs), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_was_reproduced_is_no_second_seed(outputs, tmp_path, capsys):
    shutil.copytree(outputs / "runs", tmp_path / "runs")
    shutil.copytree(outputs / "runs" / "t0-gmu-1", tmp_path / "runs" / "t0-gmu-1-again")
    text = compare(capsys, tmp_path, "target=t0", "--format", "json")
    groups = json.loads(text)["groups"]
    assert [len(each["runs"]) for each in groups] == [3, 3, 3]
    note = "1 older run of the same settings, data and seed left out"
    assert note in json.loads(text)["notes"]


def test_latex_and_markdown_escape_what_they_obey(outputs, capsys):
    latex = compare(capsys, outputs, "target=t0", "--by", "fusion,target", "--format", "latex")
    assert latex.count(r"\\") == 4  # a head and three rows
    assert r"\textbf{gmu}" in latex
    assert r"0.620 $\pm$ 0.050" in latex
    assert latex.rstrip().endswith(r"\end{tabular}")
    markdown = compare(capsys, outputs, "target=t0", "--format", "markdown").splitlines()
    assert markdown[1] == "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    html = compare(capsys, outputs, "target=t0", "--format", "html")
    assert html.startswith("<table>")
    assert html.count("<tr>") == 4


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_a_figure(outputs, tmp_path, capsys, suffix):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"figure.{suffix}"
    compare(capsys, outputs, "--figure", path)
    begins = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[suffix]
    assert path.read_bytes().startswith(begins)
    if suffix == "svg":
        assert b"accuracy on test" in path.read_bytes()
        assert b"gated" in path.read_bytes()


def test_patterns_and_folders_name_the_same_runs(outputs, capsys):
    runs = [outputs / "runs" / f"t0-{fusion}-{seed}" for fusion in ACCURACY for seed in (1, 2, 3)]
    words = compare(capsys, *runs)
    assert compare(capsys, outputs / "runs" / "t0-*") == words
