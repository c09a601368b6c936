"""``mmx compare`` of many runs: groups, means, paired differences, formats and the figure."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_pages import HtmlPage, read_rows
from latex_paper import compile_paper
from scipy import stats

from mmx.cli import main
from mmx.evaluation.sample_metric import SampleScores
from mmx.metrics.log_loss import LogLoss
from mmx.reports import many_runs_latex
from mmx.reports.latex import escape_latex
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.runs.sample_scores import write_scores

pytestmark = pytest.mark.slow

ROWS = 200
ACCURACY = {"concat": (0.60, 0.64, 0.62), "gated": (0.80, 0.84, 0.79), "gmu": (0.81, 0.83, 0.79)}
SECONDS = {"concat": 1.0, "gated": 2.0, "gmu": 3.0}


def make_run(
    folder: Path, target: str, fusion: str, seed: int, test: float, val: float, **more: Any
) -> Path:
    """Make a finished run whose first rows are right, with what a comparison reads."""
    part = {"_target_": f"mmx.fusion.{fusion}.X", "width": more.pop("fusion_width", 8)}
    names = {"fusion": fusion, "target": target, **more.pop("names", {})}
    config = {"seed": seed, "fusion": part, **more}
    directory = RunDirectory.create(
        folder,
        label="x",
        fingerprint=f"{target}{fusion}{seed}".encode().hex()[:32].ljust(32, "0"),
        config={**config, "target": {"_target_": "t.T", "name": target}, "output_dir": str(folder)},
        manifest=Manifest(seed=seed, names=names, data={"target": target}),
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
    said, _, table = compare(capsys, outputs, "target=t0").partition("\n\n")
    found = {line.split()[1]: line.split()[0] for line in table.splitlines()[1:4]}
    # gmu is no better than gated on test, and slower.
    assert found == {"gated": "p", "gmu": "*", "concat": "p"}
    assert said.startswith("best by validation: fusion=gmu, accuracy 0.810 ± 0.050 on test")


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


def test_by_names_every_setting_that_a_mean_is_over(tmp_path, capsys):
    """Also those that a shorter label of the runs does not need."""
    others = {
        1: {"epochs": 3, "columns": ["a"], "depth": 8},
        2: {"epochs": 15, "columns": ["a", "b"], "depth": 8},
        3: {"epochs": 15, "columns": ["a", "b"], "depth": 9},
    }
    many = {seed: {**more, **{f"k{n}": seed for n in range(5)}} for seed, more in others.items()}
    notes = []
    for name, settings in {"few": others, "many": many}.items():
        for fusion in ("gmu", "gated"):
            for seed, more in settings.items():
                make_run(tmp_path / name / "runs", "t0", fusion, seed, 0.8, 0.8, **more)
        text = compare(capsys, tmp_path / name, "--by", "fusion")
        notes += [line for line in text.splitlines() if "means are also over" in line]
    first = "note: means are also over epochs (3, 15), columns ([a], [a,b]), depth (8, 9)"
    assert notes == [
        first,
        f"{first}, k0 (1, 2, 3), k1 (1, 2, 3), k2 (1, 2, 3) and 2 more",
    ]


def test_a_part_with_other_settings_is_named_with_them(tmp_path, capsys):
    for seed, fusion, width in ((1, "gmu", 8), (2, "gated", 8), (3, "gated", 16)):
        make_run(tmp_path / "runs", "t0", fusion, seed, 0.8, 0.8, lr=0.1, fusion_width=width)
    make_run(tmp_path / "runs", "t0", "gmu", 4, 0.8, 0.8, lr=0.2)
    text = compare(capsys, tmp_path, "--by", "lr")
    assert "note: means are also over fusion (gmu, gated), fusion.width (8, 16)\n" in text


DIGITS = {"_target_": "t.S", "name": "digits", "limit": 5}


def make_sources(folder: Path, names: dict[str, str]) -> None:
    """Make runs of which those with a source have another transfer too."""
    for place, (name, fusion) in enumerate(names.items()):
        source = name.startswith("digits")
        parts = {"source": "digits", "transfer": "parameter"} if source else {"source": "none"}
        make_run(
            folder / "runs", "t0", fusion, place, 0.8, 0.8,
            source=DIGITS if source else None,
            transfer={"_target_": f"t.{parts.get('transfer')}", "rate": 1},
            names=parts,
        )  # fmt: skip


def test_a_part_that_some_runs_lack_is_named_and_not_spelled_out(tmp_path, capsys):
    make_sources(tmp_path, {"digits_1": "gmu", "none_1": "gmu", "none_2": "gated"})
    text = compare(capsys, tmp_path, "--by", "fusion")
    assert "note: means are also over source (digits, none), transfer (parameter, none)\n" in text
    others = "source (none, digits), transfer (none, parameter)"
    assert f"note: groups differ in more than their names say: {others}\n" in text


def test_the_source_names_a_difference_before_the_transfer(tmp_path, capsys):
    make_sources(tmp_path, {"digits_1": "gmu", "none_1": "gmu"})
    assert "best by validation: source=digits, " in compare(capsys, tmp_path)


def test_a_condition_may_stand_behind_a_flag(outputs, capsys):
    before = compare(capsys, outputs, "target=t0", "--by", "fusion")
    assert compare(capsys, outputs, "--by", "fusion", "target=t0") == before


def test_a_value_that_no_run_has_is_named(outputs, capsys):
    assert main(["compare", str(outputs), "target=t9", "fusion=gmu", "--by", "fusion"]) == 1
    said = f"mmx: no finished run in {outputs} has target=t9; there is t0, t1, t2\n"
    assert capsys.readouterr().err.startswith(said)


def test_a_refused_key_is_not_advised_again(outputs, capsys):
    for words, key in ((["target=t0", "fusion=gmu"], "seed"), (["target=t0"], "fusion")):
        by = "fusion" if key == "seed" else "target"
        assert main(["compare", str(outputs), *words, "--by", by]) == 2
        tip = shlex.join(["mmx", "compare", str(outputs), *words, "--by", key])
        assert f"tip: {tip}\n" in capsys.readouterr().err
        assert main(shlex.split(tip)[1:]) == 0
        capsys.readouterr()
    assert main(["compare", str(outputs / "runs" / "t0-gmu-1"), "--by", "fusion"]) == 2
    assert "mmx list" in capsys.readouterr().err


def test_another_metric_in_which_less_is_better(outputs, capsys):
    text = compare(capsys, outputs, "target=t0", "--metric", "loss")
    assert text.partition("\n\n")[2].splitlines()[0].split()[2:4] == ["loss", "test"]
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


@pytest.mark.parametrize("place", ["", "runs/t0-*"])
def test_a_damaged_run_of_a_folder_is_left_out_and_named(outputs, tmp_path, capsys, place):
    shutil.copytree(outputs / "runs", tmp_path / "runs")
    damaged = tmp_path / "runs" / "t0-gmu-1"
    (damaged / "summary.json").write_text('{"format": 1')
    found = json.loads(compare(capsys, tmp_path / place, "target=t0", "--format", "json"))
    assert sorted(len(each["runs"]) for each in found["groups"]) == [2, 3, 3]
    (note,) = [note for note in found["notes"] if note.startswith("left out: ")]
    why = "t0-gmu-1/summary.json is not JSON (line 1: Expecting ',' delimiter)"
    assert note.endswith(f"{why}; mmx reproduce {damaged}/config.yaml   (in a new run)")
    assert main(["matrix", str(tmp_path), "--format", "json"]) == 1  # no run has a source
    told, refusal = capsys.readouterr().err.split("\n", 1)
    assert told == f"note: {note}"
    assert "t0-gmu-1" not in refusal
    assert main(["compare", str(damaged), str(tmp_path / "runs" / "t0-gated-1")]) == 1
    assert "t0-gmu-1" in capsys.readouterr().err


def test_damaged_runs_are_named_where_the_table_or_a_refusal_does_not(outputs, tmp_path, capsys):
    shutil.copytree(outputs / "runs", tmp_path / "runs")
    damaged = tmp_path / "runs" / "t0-gmu-1"
    (damaged / "summary.json").write_text("")
    assert main(["compare", str(tmp_path), "target=t0", "--by", "fusion", "--format", "csv"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"note: left out: {damaged}/summary.json is not JSON")
    assert "left out" not in told.out
    assert main(["compare", str(tmp_path), "fusion=gmu", "target=t0", "--by", "fusion"]) == 2
    note, refusal = capsys.readouterr().err.split("\n", 1)
    assert note.startswith(f"note: left out: {damaged}/summary.json is not JSON")
    assert "the 2 finished runs are one group" in refusal
    for each in (tmp_path / "runs").iterdir():
        (each / "summary.json").write_text("")
    assert main(["compare", str(tmp_path)]) == 1
    *notes, refusal, _ = capsys.readouterr().err.splitlines()
    assert len(notes) == len(list((tmp_path / "runs").iterdir()))
    assert "there are no finished runs" in refusal


def test_a_run_whose_config_cannot_be_read_is_to_be_removed(outputs, tmp_path, capsys):
    shutil.copytree(outputs / "runs", tmp_path / "runs")
    damaged = tmp_path / "runs" / "t0-gmu-1"
    (damaged / "config.yaml").write_text("target: {name")
    found = json.loads(compare(capsys, tmp_path, "target=t0", "--format", "json"))
    (note,) = [note for note in found["notes"] if note.startswith("left out: ")]
    typed = f"mmx rm {damaged}"
    assert note.endswith(f"; {typed}   (its config cannot be read)")
    assert main([*typed.split()[1:], "--yes"]) == 0
    assert not damaged.exists()


def test_where_data_lies_makes_no_group(tmp_path, capsys):
    for seed in (1, 2):
        for fusion in ("concat", "gmu"):
            place = {"data_dir": f"/data/{seed}", "trainer": {"workers": seed, "epochs": 2}}
            make_run(tmp_path / "runs", "t0", fusion, seed, 0.5 + seed / 10, 0.7, **place)
    found = json.loads(compare(capsys, tmp_path, "--format", "json"))
    assert sorted(len(each["runs"]) for each in found["groups"]) == [2, 2]


def test_latex_and_markdown_escape_what_they_obey(outputs, capsys):
    latex = compare(capsys, outputs, "target=t0", "--by", "fusion,target", "--format", "latex")
    assert latex.count(r"\\") == 4  # a head and three rows
    assert r"\textbf{gmu}" in latex
    assert r"0.620 $\pm$ 0.050" in latex
    assert latex.rstrip().endswith("\\end{tabular}%\n}%\n}")
    markdown = compare(capsys, outputs, "target=t0", "--format", "markdown").splitlines()
    assert markdown[1] == "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    page = HtmlPage(compare(capsys, outputs, "target=t0", "--format", "html"))
    page.require_own()
    csv_rows = compare(capsys, outputs, "target=t0", "--format", "csv").splitlines()
    assert len(page.find_table("", "fusion")) == len(csv_rows) - 1 == 3
    assert "Best by validation: fusion=gmu, accuracy 0.810 ± 0.050 on test" in page.text
    assert "no other is better in less time" in page.text
    means = read_rows(next(iter(page.charts.values())))
    assert means["fusion=gmu"]["x"] == pytest.approx(0.81)
    assert means["fusion=gmu"]["high"] - means["fusion=gmu"]["x"] == pytest.approx(0.05, abs=1e-3)
    assert [name for name, row in means.items() if row["out"]] == ["fusion=gmu"]


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


def change_summaries(outputs: Path, folder: Path, change) -> Path:
    """Return a copy of the runs, with each summary changed by a function of it and its run."""
    shutil.copytree(outputs, folder, dirs_exist_ok=True)
    for path in (folder / "runs").glob("*/summary.json"):
        summary = json.loads(path.read_text())
        change(summary, path.parent)
        path.write_text(json.dumps(summary))
    return folder


def use_log_loss(summary: dict, run: Path) -> None:
    """Let log loss, which is 1 less accuracy here, choose and be stated as gain."""
    metrics = summary["target"]["metrics"]
    for split in metrics.values():
        split["log_loss"] = 1 - split["accuracy"]
    summary["gain"] = {"metric": "log_loss", "value": 0.1, "lower_is_better": True}
    wrong = np.random.default_rng(0).permutation(ROWS) >= round(metrics["test"]["accuracy"] * ROWS)
    scores = SampleScores("log_loss", wrong.astype(float)[:, None], np.arange(ROWS), LogLoss())
    write_scores(RunDirectory(run), scores, {}, {"labels": summary["target"]["task"]})


def test_less_is_better_in_log_loss(outputs, tmp_path, capsys):
    root = change_summaries(outputs, tmp_path, use_log_loss)
    text = compare(capsys, root)  # the metric of the gains
    assert "fusion=gated 1.50, fusion=gmu 1.50, fusion=concat 3.00" in text
    assert (
        "lower log_loss is better; gains and differences to the best are positive where a group is "
        "better"
    ) in text
    found = json.loads(compare(capsys, root, "target=t0", "--format", "json"))
    assert (found["metric"], found["larger_is_better"]) == ("log_loss", False)
    assert [each["group"]["fusion"] for each in found["groups"]] == ["gated", "gmu", "concat"]
    assert [each["best_by_validation"] for each in found["groups"]] == [False, True, False]
    assert [each["pareto"] for each in found["groups"]] == [True, False, True]
    concat = found["groups"][2]
    assert concat["test"]["mean"] == pytest.approx(0.38)
    # It is worse than the best, so its difference is negative as in accuracy.
    assert concat["difference_to_best"]["value"] == pytest.approx(0.62 - 0.81)
    assert concat["difference_to_best"]["effect"] < 0


def test_a_metric_without_a_value_is_last_and_never_chosen(outputs, tmp_path, capsys):
    def lose_value(summary: dict, run: Path) -> None:
        del run
        for split in summary["target"]["metrics"].values():
            split["auroc"] = float("nan") if summary["fusion"] == "concat" else split["accuracy"]

    root = change_summaries(outputs, tmp_path, lose_value)
    text = compare(capsys, root, "target=t0", "--metric", "auroc", "--format", "json")
    assert "NaN" not in text
    groups = json.loads(text)["groups"]
    assert [each["group"]["fusion"] for each in groups] == ["gated", "gmu", "concat"]
    assert (groups[2]["test"]["mean"], groups[2]["pareto"]) == (None, False)
    assert groups[1]["best_by_validation"]
    text = compare(capsys, root, "--metric", "auroc")
    assert "note: auroc is undefined on test rows in 9 of 27 cases (nan)" in text
    assert "3 targets" in text
    assert "fusion=concat 3.00" not in text
    above = json.loads(compare(capsys, root, "auroc>0.1", "--metric", "auroc", "--format", "json"))
    assert {each["group"]["fusion"] for each in above["groups"]} == {"gated", "gmu"}


def test_groups_that_differ_in_more_than_their_name_are_said_to(outputs, tmp_path, capsys):
    for fusion, rate in {"gmu": 0.1, "gated": 0.01}.items():
        for seed, test in enumerate(ACCURACY[fusion], 1):
            make_run(tmp_path / "runs", "t0", fusion, seed, test, 0.8, rate=rate)
    text = compare(capsys, tmp_path, "target=t0", "--by", "fusion")
    assert "note: groups differ in more than their names say: rate (0.01, 0.1)" in text
    assert "groups differ in more" not in compare(capsys, outputs, "target=t0", "--by", "fusion")


def test_a_difference_of_one_seed_is_said_to_be_over_rows_alone(outputs, capsys):
    runs = [outputs / "runs" / name for name in ("t0-gmu-1", "t0-gmu-2", "t0-gated-1")]
    text = compare(capsys, *runs)
    assert (
        "note: the difference of fusion=gated is over one seed: its interval is over test rows "
        "alone, not over seeds"
    ) in text
    assert "is over the seeds or folds alone that it has in common with the best" in text


@pytest.mark.parametrize("condition", ["acuracy>0.5", "acuracy!=0.5"])
def test_a_condition_on_a_key_that_no_run_has_is_refused(outputs, capsys, condition):
    assert main(["compare", str(outputs), condition]) == 2
    assert "acuracy: no run has this key; did you mean accuracy?" in capsys.readouterr().err


def test_keys_of_mmx_list_choose_runs_too(outputs, capsys):
    text = compare(capsys, outputs, "status=done", "transfer=none", "target=t0")
    assert text == compare(capsys, outputs, "target=t0")


@pytest.mark.parametrize("page", [45, 2])
def test_latex_compiles_and_fits_the_text(page, outputs, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(many_runs_latex, "PAGE", page)
    table = compare(capsys, outputs, "--by", "fusion,target", "--format", "latex")
    assert (r"\begin{longtable}" in table) == (page == 2)
    assert "Overfull" not in compile_paper(tmp_path, table)


def test_latex_says_parameters_shortly():
    counts = {999: "999", 1000: "1k", 25_092: "25.1k", 1_234_567: "1.23M", 86e6: "86M"}
    assert {n: many_runs_latex.format_count(n) for n in counts} == counts


def test_a_value_cannot_end_a_comment_or_a_row_of_latex():
    assert escape_latex("[1, 2]<3") == r"{}[1, 2]\textless{}3"


def test_dollars_in_names_are_no_formula(outputs, tmp_path, capsys):
    pytest.importorskip("matplotlib")

    def rename(summary: dict, run: Path) -> None:
        del run
        summary["target"]["task"] = "a$\\x$"

    root = change_summaries(outputs, tmp_path, rename)
    compare(capsys, root, "--by", "fusion", "--figure", tmp_path / "figure.svg")
    assert "a$\\x$" in (tmp_path / "figure.svg").read_text()


def test_gains_in_another_metric_are_differences_of_test_metrics(outputs, tmp_path, capsys):
    def add_control(summary: dict, run: Path) -> None:
        metrics = summary["target"]["metrics"]
        summary["gain"] |= {"control": "scratch"}
        theirs = {"accuracy": 0.5, "loss": 0.3}
        summary["control"] = {"scratch": {"metrics": {"val": theirs, "test": theirs}}}
        metrics["test"]["loss"] = 0.1 * summary["seed"]

    root = change_summaries(outputs, tmp_path, add_control)
    words = (root, "target=t0", "--metric", "loss", "--format", "json")
    found = json.loads(compare(capsys, *words))
    gains = {each["group"]["fusion"]: each["gain"] for each in found["groups"]}
    assert gains["concat"]["values"] == pytest.approx([0.2, 0.1, 0.0])  # less loss is better
    assert any("not of loss" in note for note in found["notes"])


def test_keys_that_stand_apart_lead_to_one_word(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    assert main(["compare", "outputs", "target=x", "--by", "fusion", "transfer"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "mmx: transfer is no run; keys of --by are joined by commas",
        "  tip: mmx compare outputs target=x --by fusion,transfer",
    ]
