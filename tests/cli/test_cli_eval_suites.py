"""``mmx eval RUN suite=…``: what it prints, what it keeps, and what it answers to mistakes."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from catalogue import listed
from html_pages import HtmlPage, read_lines, read_rows
from refusals import Refusal, check_refusals, read_problem

from mmx.cli import main
from mmx.evaluation.importance import Importance
from mmx.reports import suites
from mmx.reports.report import refresh_report
from mmx.runs.directory import RunDirectory
from mmx.verbs.evaluate_suites import SUITES

Run = Callable[..., RunDirectory]
Overrides = Callable[..., list[str]]
MODALITIES = ("image", "text", "tabular")
EMPTY, FULL = "none", "image+tabular+text"


@pytest.fixture(scope="module")
def runs(train: Run, tables: dict[str, Path], overrides: Overrides) -> dict[str, RunDirectory]:
    def of(*options: str, modalities: tuple[str, ...] = MODALITIES) -> RunDirectory:
        return train(*overrides(tables["one"], tables["two"], modalities, *options))

    number = ["objective=mean_squared_error"]
    labels = ["objective=binary_cross_entropy"]
    for role in ("source", "target"):
        number += [f"{role}.label=number", f"{role}.kind=regression"]
        labels += [f"{role}.label=tags", f"{role}.kind=multilabel"]
    return {
        "feature": of("fusion=concat", "transfer=feature"),
        "regression": of(*number, modalities=("text", "tabular")),
        "multilabel": of(*labels, modalities=("text", "tabular")),
        "all": train(*overrides(None, tables["one"], ("image", "audio", "text", "tabular"))),
    }


def evaluate(
    capsys: pytest.CaptureFixture[str], run: RunDirectory, *words: str
) -> tuple[dict[str, Any], str]:
    assert main(["eval", str(run.path), *words]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("split", ["test", "val"])
def test_missing(
    runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str], split: str
) -> None:
    run = runs["feature"]
    said, err = evaluate(capsys, run, "--split", split, "suite=missing")
    metrics = run.summary()["target"]["metrics"][split]
    assert list(said) == [split, "missing"]
    assert said[split] == metrics
    found = said["missing"]
    assert found["primary"] == "accuracy"
    assert list(found["subsets"]) == [
        *[EMPTY, "image", "tabular", "text"],
        *["image+tabular", "image+text", "tabular+text", FULL],
    ]
    assert found["subsets"][FULL] == metrics
    assert {next(iter(each)) for each in found["subsets"].values()} == {"accuracy"}
    assert found["by_prior"][FULL] == 0
    assert found["by_prior"][EMPTY] > found["by_prior"]["image"] > 0
    assert found["subsets"][EMPTY]["accuracy"] == pytest.approx(1 / 3, abs=0.15)
    rows = read(run.path / "eval" / "missing.csv")
    assert [(row["split"], row["shown"]) for row in rows] == [(split, s) for s in found["subsets"]]
    for row in rows:
        assert {name: float(row[name]) for name in metrics} == found["subsets"][row["shown"]]
        assert int(row["by_prior"]) == found["by_prior"][row["shown"]]
    assert f"Only these modalities are shown ({split})" in err
    assert re.search(rf"{re.escape(FULL)} +│ +{metrics['accuracy']:.3f} ", err)
    assert err.splitlines()[-1] == str(run.path / "eval" / "missing.html")


def test_noise_of_all_modalities(
    runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["all"]
    said, err = evaluate(capsys, run, "suite=noise", "--seed", "3")
    found = said["noise"]
    assert (found["primary"], found["seed"]) == ("accuracy", 3)
    assert {name: list(noises) for name, noises in found["modalities"].items()} == {
        "audio": ["white_noise", "clipping", "dropped_frames"],
        "image": ["gaussian", "blur", "occlusion"],
        "tabular": ["additive", "missing_cells"],
        "text": ["dropped_words", "swapped_words", "misspelt_words"],
    }
    rows = read(run.path / "eval" / "noise.csv")
    assert len(rows) == 11 * 5
    by_row = iter(rows)
    for modality, noises in found["modalities"].items():
        for noise, curve in noises.items():
            scores, strengths = curve["accuracy"], curve["strength"]
            assert scores[0] == said["test"]["accuracy"]
            area = sum(
                (b - a) * (x + y) / 2
                for a, b, x, y in zip(strengths, strengths[1:], scores, scores[1:], strict=False)
            )
            relative = area / strengths[-1] / scores[0]
            assert curve["relative_area"] == pytest.approx(relative)
            for index, row in zip(range(5), by_row, strict=False):
                assert (row["modality"], row["noise"]) == (modality, noise)
                assert float(row["strength"]) == strengths[index]
                assert float(row["scaled"]) == strengths[index] / strengths[-1]
                assert float(row["accuracy"]) == scores[index]
                assert row["level"] == curve["level"][index]
                assert float(row["relative_area"]) == curve["relative_area"]
    assert "Noise on audio (test)" in err
    assert "(20 dB)" in err
    again, _ = evaluate(capsys, run, "suite=noise", "--seed=3")
    other, _ = evaluate(capsys, run, "suite=noise")
    assert again == said
    assert other["noise"]["modalities"] != found["modalities"]


def test_importance(runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str]) -> None:
    run = runs["feature"]
    said, err = evaluate(capsys, run, "suite=importance,missing", "suite=missing")
    assert list(said) == ["test", "importance", "missing"]
    score = {name: each["accuracy"] for name, each in said["missing"]["subsets"].items()}
    overall = said["importance"]["overall"]
    assert overall["score"] == "accuracy"
    assert (overall["empty"], overall["full"]) == (score[EMPTY], score[FULL])
    image = (
        2 * (score["image"] - score[EMPTY])
        + (score["image+tabular"] - score["tabular"])
        + (score["image+text"] - score["text"])
        + 2 * (score[FULL] - score["tabular+text"])
    ) / 6
    assert overall["shapley"]["image"] == pytest.approx(image, abs=1e-12)
    classes = said["importance"]["classes"]
    assert list(classes) == ["high", "low", "middle"]
    for each in (overall, *classes.values()):
        assert abs(math.fsum(each["shapley"].values()) - (each["full"] - each["empty"])) < 1e-12
    assert sorted(each["empty"] for each in classes.values()) == [0, 0, 1]  # one answer for all
    rows = read(run.path / "eval" / "importance.csv")
    assert len(rows) == 4 * 3
    for row in rows:
        each = classes[row["class"]] if row["class"] else overall
        assert float(row["shapley"]) == each["shapley"][row["modality"]]
        assert (float(row["empty"]), float(row["full"])) == (each["empty"], each["full"])
        assert row["score"] == each["score"]
    assert "Recall of each class (test)" in err


@pytest.mark.parametrize(("kind", "primary"), [("regression", "r2"), ("multilabel", "f1_macro")])
def test_other_kinds_of_target(
    runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str], kind: str, primary: str
) -> None:
    said, _ = evaluate(capsys, runs[kind], "suite=missing,noise,importance")
    assert said["missing"]["primary"] == said["noise"]["primary"] == primary
    assert said["missing"]["subsets"]["tabular+text"] == said["test"]
    assert "classes" not in said["importance"]
    if kind == "regression":  # the mean of the training rows cannot beat that of the test rows
        assert said["missing"]["subsets"][EMPTY]["r2"] <= 0
        assert said["missing"]["subsets"][EMPTY]["mse"] > 0
    curve = said["noise"]["modalities"]["tabular"]["additive"]
    assert (curve["relative_area"] is None) == (said["test"][primary] <= 0)


def test_pages_hold_the_numbers_and_nothing_from_elsewhere(
    runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["all"]
    said, _ = evaluate(capsys, run, "suite=missing,noise,importance")
    folder = run.path / "eval"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{suite}.{kind}"
        for suite in ("importance", "missing", "noise")
        for kind in ("csv", "html")
    ]
    pages = {suite: HtmlPage.read(folder / f"{suite}.html") for suite in said if suite != "test"}
    for page in pages.values():
        page.require_own()
        assert f"{run.path.name}, split test" in page.text
    subsets = {name: each["accuracy"] for name, each in said["missing"]["subsets"].items()}
    (bars,) = pages["missing"].charts.values()
    assert {name: row["x"] for name, row in read_rows(bars).items()} == subsets
    assert len(subsets) == 16
    for name, accuracy in subsets.items():
        assert [name, f"{accuracy:.3f}"] in [
            row[:2] for row in pages["missing"].find_table("shown")
        ]
    charts = pages["noise"].charts
    assert list(charts) == [
        f"accuracy with noise on {name}" for name in said["noise"]["modalities"]
    ]
    for chart, curves in zip(charts.values(), said["noise"]["modalities"].values(), strict=True):
        drawn = read_lines(chart)
        assert list(drawn) == list(curves)
        for noise, points in drawn.items():
            assert [y for _, y in points] == curves[noise]["accuracy"]
            assert [x for x, _ in points] == [
                each / curves[noise]["strength"][-1] for each in curves[noise]["strength"]
            ]
    overall, classes = pages["importance"].charts.values()
    shapley = said["importance"]["overall"]["shapley"]
    assert {name: row["x"] for name, row in read_rows(overall).items()} == shapley
    assert len(classes["data"]["values"]) == 4 * len(said["importance"]["classes"])
    for name, phi in shapley.items():
        assert [name, f"{phi:+.3f}"] in pages["importance"].find_table("modality", "Shapley value")


def test_the_page_of_the_run_shows_its_suites_and_stays_undamaged(
    runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["multilabel"]
    shutil.rmtree(run.path / "eval", ignore_errors=True)  # of other tests
    refresh_report(run)
    before = HtmlPage.read(run.path / "report.html")
    evaluate(capsys, run, "suite=importance")
    evaluate(capsys, run, "--split", "val", "suite=missing")
    page = HtmlPage.read(run.path / "report.html")
    run.require_undamaged(checkpoints=True)
    more = [name for name in page.charts if name not in before.charts]
    assert more == [
        "What each modality adds to the f1_macro",
        "f1_macro where only these modalities are shown (val)",
    ]
    page.require_own()
    (run.path / "eval" / "missing.csv").write_text("split,shown\ntest,image\n")
    (run.path / "eval" / "importance.csv").write_bytes(b"\xff,\n")
    refresh_report(run)
    page = HtmlPage.read(run.path / "report.html")
    assert list(page.charts) == list(before.charts)
    assert "eval/missing.csv cannot be read and is not shown" in page.text
    assert "eval/importance.csv cannot be read and is not shown" in page.text


def test_names_are_escaped(tmp_path: Path) -> None:
    found = Importance("accuracy", {"<img src=x>": 0.5}, 0.25, 0.75)
    sheet = suites.make_importance_sheet(found, {"<script>1</script>": found}, "test")
    page = HtmlPage.read(suites.write_suite(RunDirectory(tmp_path), sheet))
    page.require_own()
    assert page.tags("img") == []
    assert "<script>1</script> +0.500 0.250 0.750" in page.text


ALL = f"mmx eval nowhere suite={','.join(SUITES)}"
MISTAKES: dict[str, Refusal] = {
    "suite=missng": Refusal(
        "suite=missng",
        says=("'missng'",),
        accepted=listed(SUITES),
        closest="missing",
        type_this="mmx eval nowhere suite=missing",
    ),
    "suite=missing,xyz": Refusal(
        "suite=missing,xyz", says=("'xyz'",), accepted=listed(SUITES), type_this=ALL
    ),
    "suite=": Refusal("suite=", says=("''",), accepted=listed(SUITES), type_this=ALL),
    "suit=noise": Refusal(
        "suit=noise",
        says=("mmx eval", "suit"),
        accepted=listed(SUITES, "suite="),
        closest="suite=noise",
        type_this="mmx eval nowhere suite=noise",
    ),
}


@pytest.mark.parametrize("word", MISTAKES)
def test_mistakes_are_answered_before_the_run_is_opened(mmx: Callable[..., Any], word: str) -> None:
    said = mmx("eval", "nowhere", word)
    check_refusals([read_problem(said.err)], [MISTAKES[word]])
    assert (said.code, said.out) == (2, "")


@pytest.mark.parametrize("word", ["noise", "--suite=noise"])
def test_a_word_that_is_no_setting_leads_to_the_help(mmx: Callable[..., Any], word: str) -> None:
    said = mmx("eval", "nowhere", word)
    assert said.err.startswith("mmx: ")
    assert word in said.err
    assert said.err.endswith("  tip: mmx eval --help\n")
    assert (said.code, said.out) == (2, "")


def test_without_a_suite_nothing_is_kept(
    runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["regression"]
    before = sorted(run.path.rglob("*"))
    said, err = evaluate(capsys, run)
    assert said == {"test": run.summary()["target"]["metrics"]["test"]}
    assert err == ""
    assert sorted(run.path.rglob("*")) == before


def test_cells_are_missing_at_random_at_each_rate(
    runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["feature"]
    found, err = evaluate(capsys, run, "suite=missing", "rate=0.5,0,1,0.5")
    again, _ = evaluate(capsys, run, "suite=missing", "rate=0.5")
    other, _ = evaluate(capsys, run, "suite=missing", "rate=0.5", "--seed", "7")
    subsets, _ = evaluate(capsys, run, "suite=missing")
    none, half, whole = found["missing"]["rates"]
    assert [each["rate"] for each in (none, half, whole)] == [0, 0.5, 1]
    every = subsets["missing"]["subsets"]
    assert none["draws"] == [every[FULL]] * 5
    assert whole["draws"] == [every[EMPTY]] * 5
    rows = len(runs["feature"].summary()["target"]["classes"]["confusion"])
    assert whole["by_prior"] == subsets["missing"]["by_prior"][EMPTY] >= rows
    assert again["missing"]["rates"] == [half]
    assert other["missing"]["rates"] != [half]
    losses = [draw["loss"] for draw in half["draws"]]
    assert len(set(losses)) == 5
    assert half["mean"]["loss"] == pytest.approx(sum(losses) / 5)
    assert half["half_width"]["loss"] > 0 == none["half_width"]["loss"]
    lines = read(run.path / "eval" / "missing_at_random.csv")
    assert [line["draw"] for line in lines] == [str(n) for n in range(5)]
    assert "Missing at random (test)" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rate=0.5"], "a rate is of suite=missing"),
        (["suite=noise", "rate=0.5"], "a rate is of suite=missing"),
        (["suite=missing", "rate=30"], "'30' is no probability"),
        (["suite=missing", "rate=0.1,x"], "'x' is no probability"),
    ],
)
def test_a_rate_that_is_none_is_refused(
    runs: dict[str, RunDirectory], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["eval", str(runs["feature"].path), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "suite=missing rate=0.1,0.3,0.5" in err
