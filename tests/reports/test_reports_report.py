from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_pages import HtmlPage, read_lines

from mmx.reports import report, report_charts
from mmx.reports.headline import draw_headline, write_headline
from mmx.reports.report_charts import SHOWN_SPLITS, draw_learning_curves
from mmx.reports.summary_lines import (
    format_faster,
    format_gain_sentence,
    format_gains,
    format_line,
    format_search,
    format_title,
    write_lines,
)
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import CaughtUp, ClassTable, LineFacts, StatedGain, Summary
from mmx.runs.surroundings import describe_surroundings, digest_code, list_packages


def summary(**changes: Any) -> dict[str, Any]:
    metrics = {"loss": 1.25, "accuracy": 0.4321}
    return {
        "source": {"task": "digits"},
        "target": {
            "task": "<script>alert(1)</script>",
            "metrics": {"val": metrics, "test": metrics},
        },
        "fusion": "gmu",
        "seed": 7,
        "device": "cpu",
        "precision": "fp32",
        "params": {"total": 123456, "trainable": 98765, "fusion": 765, "shared": 65},
        "cost": {"flops_per_sample": 1234567},
        "transfer": {"mode": "parameter", "copied": 3, "adapted": 2, "frozen": 1, "fresh": 4},
        "timing": {
            "source_s": 1.5,
            "source_cached": False,
            "target_s": 2.5,
            "total_s": 9.5,
            "train_samples_per_s": 321.0,
            "seconds_per_sample": 0.00123,
        },
        "notes": ["a note with <b>tags</b>"],
        **changes,
    }


def make(folder: Path, content: dict[str, Any]) -> RunDirectory:
    directory = RunDirectory.create(
        folder,
        label="x",
        fingerprint="f" * 32,
        config={"name": "<img src=x>"},
        manifest=describe_surroundings(),
        files={},
    )
    directory.write_json("summary.json", content)
    return directory


def metric(run: RunDirectory, stage: str, epoch: int, name: str, value: float) -> None:
    run.append_metric(stage=stage, epoch=epoch, step=epoch, split="val", name=name, value=value)


def test_the_page_holds_the_numbers_and_escapes_what_it_was_given(tmp_path: Path) -> None:
    control = {"scratch": {"metrics": {"val": {"loss": 2, "accuracy": 0.1}}}}
    control["scratch"]["metrics"]["test"] = {"loss": 3, "accuracy": 0.2}
    gain = {"metric": "accuracy", "value": 0.2321, "interval": [0.1, 0.3], "verdict": "positive"}
    run = make(tmp_path, summary(control=control, gain=gain))
    for epoch in (1, 2, 3):
        metric(run, "target", epoch, "accuracy", 0.1 * epoch)
        metric(run, "control", epoch, "accuracy", 0.05 * epoch)
    report.write_report(run)
    page = HtmlPage.read(run.path / "report.html")
    page.require_own()
    assert page.tags("b") == page.tags("img") == []
    for text in (
        "digits → <script>alert(1)</script> (parameter, gmu, seed 7)",
        "digits helps on <script>alert(1)</script>: +0.232 accuracy over the scratch control",
        "gain: +0.232 accuracy over the scratch control of equal budget "
        "(95 % interval +0.100 … +0.300 over test samples, one seed): positive",
        "Tensors: 3 copied, 2 adapted, 1 frozen, 4 fresh.",
        "a note with <b>tags</b>",
        "name: <img src=x>",
        f"code {digest_code()}",
    ):
        assert text in page.text
    assert page.find_table("", "loss", "accuracy") == [
        ["parameter, test", "1.2500", "0.4321"],
        ["control scratch, test", "3.0000", "0.2000"],
        ["parameter, val", "1.2500", "0.4321"],
        ["control scratch, val", "2.0000", "0.1000"],
    ]
    assert page.facts == {
        "seconds, source": "1.5",
        "seconds, target": "2.5",
        "seconds, in total": "9.5",
        "samples a second": "321.0",
        "on": "cpu in fp32",
        "parameters trained": "98,765 of 123,456",
        "FLOPs a sample": "1,234,567",
        "time a sample": "1.23 ms",
    }
    picture, curves = page.charts.values()
    assert read_lines(curves) == {
        "target": [(1, 0.1), (2, 0.2), (3, 0.30000000000000004)],
        "control": [(1, 0.05), (2, 0.1), (3, 0.15000000000000002)],
    }
    # The interval of the gain lies on the axis of the metric, above that of the control.
    band = picture["layer"][0]["data"]["values"][0]
    assert (band["low"], band["high"]) == pytest.approx((0.2 + 0.1, 0.2 + 0.3))
    assert curves["encoding"]["x"]["title"] == "epoch"


def test_where_lower_is_better_the_interval_lies_below_the_control(tmp_path: Path) -> None:
    metrics = {split: {"mse": 2.0} for split in ("val", "test")}
    gain = {"metric": "mse", "value": 0.5, "interval": [0.25, 0.75], "lower_is_better": True}
    content = summary(control={"scratch": {"metrics": metrics}}, gain=gain)
    content["target"]["metrics"] = {split: {"mse": 1.5} for split in ("val", "test")}
    run = make(tmp_path, content)
    report.write_report(run)
    (picture,) = HtmlPage.read(run.path / "report.html").charts.values()
    band = picture["layer"][0]["data"]["values"][0]
    assert (band["low"], band["high"]) == (2.0 - 0.75, 2.0 - 0.25)


def test_the_interval_ends_where_the_metric_ends() -> None:
    gain = {"metric": "accuracy", "value": 0.2321, "interval": [0.2, 0.85]}
    control = {"scratch": {"metrics": {split: {"accuracy": 0.2} for split in ("val", "test")}}}
    content = summary(control=control, gain=gain)
    chart = draw_headline(Summary.from_json(content))
    assert chart is not None
    assert chart.title.endswith("the 95 % interval of the gain, cut where accuracy ends")
    (band,) = chart.spec["layer"][0]["data"]["values"]
    assert band == {"low": 0.2 + 0.2, "high": 1.0}
    assert chart.spec["layer"][1]["encoding"]["x"]["scale"]["domain"][1] == 1.0
    assert chart.table.rows[1][2] == "0.4000 … 1.0500"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"interval": [0.1, 0.3]}, "digits helps on target: +0.200 accuracy over the scratch"),
        ({"interval": [-0.3, -0.1], "value": -0.2}, "digits hurts on target: -0.200 accuracy over"),
        ({"interval": [-0.1, 0.3]}, "Whether digits helps on target is not clear: +0.200 accuracy"),
        ({"interval": None}, "Whether digits helps on target is not clear: +0.200 accuracy"),
        ({"learned": False}, "No answer on target: neither the target nor the scratch control is"),
        ({"interval": [0.1, 0.3], "control": "unimodal"}, "target is better than the unimodal"),
        ({"interval": [-0.3, -0.1], "control": "unimodal"}, "target is worse than the unimodal"),
        (None, "target: accuracy 0.432 on test"),
    ],
)  # fmt: skip
def test_the_headline_is_the_answer(changes: dict[str, Any] | None, said: str) -> None:
    content = summary()
    content["target"]["task"] = "target"
    if changes is not None:
        content["gain"] = {"metric": "accuracy", "value": 0.2, **changes}
    assert write_headline(Summary.from_json(content)).startswith(said)


def test_the_headline_of_a_run_without_a_gain_is_in_the_metric_that_was_chosen() -> None:
    content = summary()
    content["target"] |= {"task": "target", "metric": {"name": "auroc"}}
    content["target"]["metrics"]["test"]["auroc"] = 0.91
    content.pop("gain", None)
    assert write_headline(Summary.from_json(content)) == "target: auroc 0.910 on test"


def test_a_run_without_control_or_curves_has_a_page_too(tmp_path: Path) -> None:
    run = make(tmp_path, summary(source={"task": "none"}, notes=[]))
    report.write_report(run)
    page = HtmlPage.read(run.path / "report.html")
    text = page.text.replace(str(run.path), "")  # named after this test
    assert "gain:" not in text
    assert "control" not in text
    assert page.charts == {}


def test_one_epoch_and_a_constant_metric_make_a_chart(tmp_path: Path) -> None:
    run = make(tmp_path, summary())
    metric(run, "target", 1, "loss", 0.5)
    (chart,) = draw_learning_curves(run.metrics(), 1, SHOWN_SPLITS)
    assert chart.title == "loss on validation"
    assert read_lines(chart.spec) == {"target": [(1, 0.5)]}
    low, high = chart.spec["encoding"]["y"]["scale"]["domain"]
    assert low < 0.5 < high
    assert chart.table.rows == (("1", "0.5"),)


def test_points_that_are_no_numbers_are_not_drawn(tmp_path: Path) -> None:
    run = make(tmp_path, summary())
    for epoch, value in ((1, 0.5), (2, math.inf), (3, 1.5)):
        metric(run, "target", epoch, "loss", value)
        metric(run, "target", epoch, "r2", math.nan)
    (chart,) = draw_learning_curves(run.metrics(), 3, SHOWN_SPLITS)
    assert read_lines(chart.spec) == {"target": [(1, 0.5), (3, 1.5)]}
    assert chart.spec["encoding"]["y"]["scale"]["domain"] == [0.4, 1.6]


def test_the_kept_epoch_and_chance_are_marked(tmp_path: Path) -> None:
    content = summary()
    content["target"] |= {"best_epoch": 2, "chance": {"accuracy": 0.25, "samples": 9}}
    run = make(tmp_path, content)
    for epoch in (1, 2, 3):
        metric(run, "target", epoch, "accuracy", 0.1 * epoch)
        metric(run, "target", epoch, "loss", 1 / epoch)
    report.write_report(run)
    page = HtmlPage.read(run.path / "report.html")
    assert list(page.charts) == ["accuracy on validation", "loss on validation"]
    for chart in page.charts.values():
        (best,) = [
            each["data"]["values"]
            for each in chart["layer"]
            if each["mark"]["type"] == "point" and each["mark"]["opacity"]
        ]
        assert [row["x"] for row in best] == [2]
    rules = [
        each
        for each in page.charts["accuracy on validation"]["layer"]
        if each["mark"]["type"] == "rule"
    ]
    assert [each["data"]["values"] for each in rules] == [[{"y": 0.25}]]
    assert "The dot is epoch 2, whose weights the target kept." in page.text


def test_a_real_run_writes_its_page(train: Callable[..., RunDirectory]) -> None:
    run = train(
        "source=none",
        "target=digits",
        "trainer.epochs=1",
        "target.per_class=2",
        "encoder.image.width=16",
    )
    page = HtmlPage.read(run.path / "report.html")
    accuracy = run.summary()["target"]["metrics"]["test"]["accuracy"]
    assert f"{accuracy:.4f}" in page.text
    assert run.path.name in page.text
    assert [title for title in page.charts if title.endswith(("validation", "training"))] == [
        "accuracy on validation",
        "f1_macro on validation",
        "loss on validation",
        "loss in training",
    ]
    card = page.find_table("", "task", "train", "val", "test", "inputs", "predicts")
    rows = run.summary()["data_cards"]["target"]["rows"]
    assert card[0][:7] == [
        *("target", "digits", str(rows["train"]), str(rows["val"]), str(rows["test"])),
        *("image", "10 classes"),
    ]
    assert rows["train"] == 20
    assert ["trainer.epochs", "1"] in page.find_table("setting", "value")
    assert "mmx reproduce " in page.text
    assert "Tensors: " not in page.text  # without a source nothing was transferred


def test_surroundings_name_versions_machine_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy
    import torch

    found = describe_surroundings().to_json()
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["versions"]["numpy"] == numpy.__version__
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert len(found["code"]["digest"]) == 32
    assert f"numpy=={numpy.__version__}" in list_packages().splitlines()


def test_the_page_shows_the_classes(tmp_path: Path) -> None:
    classes = {
        "balanced_accuracy": 0.75,
        "f1_macro": 0.7,
        "classes": {
            "<b>cat</b>": {"recall": 0.5, "precision": None, "support": 2},
            "dog": {"recall": 1.0, "precision": 0.25, "support": 1},
        },
        "confusion": [[1, 1], [0, 1]],
    }
    content = summary()
    content["target"]["classes"] = classes
    run = make(tmp_path, content)
    report.write_report(run)
    page = HtmlPage.read(run.path / "report.html")
    assert page.tags("b") == []
    assert "Balanced accuracy 0.750, macro-F1 0.700." in page.text
    assert page.find_table("true \\ predicted") == [["<b>cat</b>", "1", "1"], ["dog", "0", "1"]]
    assert page.find_table("class", "rows", "recall", "precision") == [
        ["<b>cat</b>", "2", "0.500", "–"],
        ["dog", "1", "1.000", "0.250"],
    ]
    matrix, bars = page.charts.values()
    assert [(cell["part"], cell["sign"]) for cell in matrix["data"]["values"]] == [
        *((0.5, 1), (0.5, -1)),
        *((0.0, 0), (1.0, 1)),
    ]
    assert [(row["row"], row["x"]) for row in bars["data"]["values"]] == [
        *(("<b>cat</b>", 0.5), ("dog", 1.0), ("dog", 0.25)),
    ]


def test_of_many_classes_the_most_frequent_confusions_are_listed() -> None:
    count = report_charts.MOST_CLASSES + 1
    names = [f"class {index}" for index in range(count)]
    confusion = [[0] * count for _ in names]
    confusion[3][4], confusion[30][0], confusion[5][5] = 2, 7, 9
    found = ClassTable.from_json(
        {
            "classes": {name: {"recall": 0.5, "precision": 1.0, "support": 9} for name in names},
            "confusion": confusion,
        }
    )
    assert report_charts.draw_confusion(found) is None
    listed = report_charts.list_confusions(found)
    assert listed is not None
    assert listed.rows == (("class 30", "class 0", "7"), ("class 3", "class 4", "2"))
    classes = report_charts.list_class_metrics(found)
    assert classes is not None
    assert len(classes.rows) == count
    few = ClassTable.from_json({"classes": {"a": {"support": 1}}, "confusion": [[1]]})
    assert report_charts.list_confusions(few) is None


def test_the_answer_says_what_was_shared_cached_and_what_accuracy_hides() -> None:
    content = summary()
    content["timing"].update(source_cached=True, control_s=3.5)
    content["target"]["classes"] = {
        "balanced_accuracy": 0.6,
        "classes": {
            "cat": {"recall": 0.25, "precision": 1.0, "support": 4},
            "dog": {"recall": None, "precision": None, "support": 0},
        },
    }
    lines = [line for line in write_lines(Summary.from_json(content)) if isinstance(line, str)]
    assert lines[1:4] == [
        "cost: source 1.5 s (earlier, from the cache), target 2.5 s, control 3.5 s, total 9.5 s, "
        "321 samples/s; 98,765 of 123,456 parameters trained, 65 shared",
        "a sample: 1,234,567 FLOPs, 1.23 ms",
        "classes: balanced accuracy 0.600, lowest recall 0.250 (cat)",
    ]


def test_gains_over_several_controls_are_told_line_by_line() -> None:
    gain = {"metric": "accuracy", "value": 0.1, "interval": [-0.1, 0.2], "verdict": "unclear"}
    metrics = {"metrics": {"val": {}, "test": {}}}
    content = summary(
        control={"scratch": metrics, "unimodal": {**metrics, "modality": "image"}},
        gain={**gain, "control": "scratch"},
        gains={
            "scratch": {**gain, "level": 0.975},
            "unimodal": {**gain, "value": -0.25, "level": 0.975},
        },
        faster=None,
    )
    assert format_gains(Summary.from_json(content)) == [
        "gain: +0.100 accuracy over the scratch control of equal budget "
        "(95 % interval -0.100 … +0.200 over test samples, one seed): unclear",
        "over each of 2 controls, 97.5 % intervals, which all hold together in 95 % of cases "
        "(Bonferroni):",
        "  scratch: +0.100 (-0.100 … +0.200): unclear",
        "  unimodal (image): -0.250 (-0.100 … +0.200): unclear",
    ]
    del content["gains"]["unimodal"]
    assert len(format_gains(Summary.from_json(content))) == 1
    assert format_gains(Summary.from_json(summary())) == []


def test_what_had_no_budget_is_not_said_to_have_an_equal_one() -> None:
    gain = {"metric": "r2", "value": 0.1, "verdict": "unclear"}
    assert format_gain_sentence(StatedGain.from_json({**gain, "control": "majority"})) == (
        "gain: +0.100 r2 over the majority control: unclear"
    )
    text = format_gain_sentence(StatedGain.from_json(gain))
    assert text == "gain: +0.100 r2 over the scratch control of equal budget: unclear"


@pytest.mark.parametrize(
    ("least", "faster"), [(None, True), (0.1, True), (0.19, False), (0.3, False)]
)
def test_catching_up_with_a_control_at_chance_is_not_told(
    least: float | None, faster: bool, tmp_path: Path
) -> None:
    metrics = {"val": {"accuracy": 0.2}, "test": {"loss": 1.0, "accuracy": 0.2}}
    metrics["val"]["loss"] = 1.0
    gain = {"metric": "accuracy", "value": 0.1, "verdict": "unclear", "control": "scratch"}
    found = {"metric": "accuracy", "value": 0.2, "control": "scratch"}
    found |= {"control_steps": 9, "control_s": 1.0, "target_steps": 1, "target_s": 0.5}
    content = summary(control={"scratch": {"metrics": metrics}}, gain=gain, faster=found)
    if least is not None:
        content["target"]["chance"] = {"accuracy": least, "samples": 200}
    lines = format_gains(Summary.from_json(content))
    assert any(line.startswith("faster: ") for line in lines) is faster
    untrained = (
        "the scratch control is no better than chance after 9 steps: the gain is that of so short "
        "a training; a larger trainer.epochs trains both longer"
    )
    assert (untrained in lines) is not faster
    run = make(tmp_path, content)
    report.write_report(run)
    page = HtmlPage.read(run.path / "report.html")
    assert ("faster: " in page.text) is faster


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            0,
            "faster: the scratch control's best validation accuracy (0.750) is reached by a fit "
            "without steps; the control took 1,200 steps, 3.25 s",
        ),
        (
            1,
            "faster: the scratch control's best validation accuracy (0.750) is reached after "
            "1 step, 0.50 s; the control took 1,200 steps, 3.25 s",
        ),
        (
            1200,
            "as fast: the scratch control's best validation accuracy (0.750) is reached after "
            "1,200 steps, 0.50 s; the control took 1,200 steps, 3.25 s",
        ),
        (
            1300,
            "slower: the scratch control's best validation accuracy (0.750) is reached after "
            "1,300 steps, 0.50 s; the control took 1,200 steps, 3.25 s",
        ),
        (
            None,
            "not faster: the scratch control's best validation accuracy (0.750), which took it "
            "1,200 steps, 3.25 s, is never reached",
        ),
    ],
)
def test_when_the_control_is_caught_up_with(steps: int | None, said: str) -> None:
    found = {"metric": "accuracy", "value": 0.75, "control": "scratch"}
    found |= {"control_steps": 1200, "control_s": 3.25}
    found |= {"target_steps": steps, "target_s": None if steps is None else 0.5}
    assert format_faster(CaughtUp.from_json(found)) == said


def test_every_stage_has_a_color_of_its_own(tmp_path: Path) -> None:
    run = make(tmp_path, summary())
    stages = ["source", "target", "control", "control-unimodal-image", "control-linear_probe"]
    for stage in stages:
        metric(run, stage, 1, "loss", 0.5)
    (chart,) = draw_learning_curves(run.metrics(), 1, SHOWN_SPLITS)
    assert list(read_lines(chart.spec)) == stages
    names = [
        each
        for each in chart.spec["layer"]
        if each["mark"]["type"] == "text" and each["mark"].get("align") == "left"
    ]
    assert len({each["mark"]["color"] for each in names}) == 5
    places = sorted(each["data"]["values"][0]["y"] for each in names)
    low, high = chart.spec["encoding"]["y"]["scale"]["domain"]
    unit = (high - low) / chart.spec["height"]
    assert all(b - a >= 14 * unit for a, b in itertools.pairwise(places))


def test_the_title_names_the_regulariser(tmp_path: Path) -> None:
    content = summary()
    assert format_title(Summary.from_json(content)).endswith("(parameter, gmu, seed 7)")
    content["transfer"]["regularizer"] = {"name": "l2_sp", "alpha": 0.01}
    title = "digits → <script>alert(1)</script>  (parameter + l2_sp, gmu, seed 7)"
    found = Summary.from_json(content)
    assert format_title(found) == write_lines(found)[0] == title
    run = make(tmp_path, content)
    report.write_report(run)
    page = HtmlPage.read(run.path / "report.html")
    assert " ".join(title.split()) in page.text


def swept(*values: tuple[float, float]) -> dict[str, Any]:
    """Return a summary with a line whose points have these metrics in validation and test."""
    content = summary()
    content["transfer"]["wise_ft"] = {
        "metric": "accuracy",
        "best": 0.5,
        "kept": 1.0,
        "alpha": {
            f"{index / (len(values) - 1):g}": {"val": {"accuracy": val}, "test": {"accuracy": test}}
            for index, (val, test) in enumerate(values)
        },
    }
    return content


def test_the_line_of_wise_ft_is_in_the_answer_and_on_the_page(tmp_path: Path) -> None:
    content = swept((0.25, 0.2), (0.75, 0.5), (0.5, 0.6))
    lines = [
        "wise_ft: accuracy at α = 0, 0.5, …, 1; α = 1 is kept",
        "  val   0.250  0.750  0.500",
        "  test  0.200  0.500  0.600",
    ]
    assert format_line(Summary.from_json(content)) == lines
    assert [each for each in write_lines(Summary.from_json(content)) if each in lines] == lines
    run = make(tmp_path, content)
    metric(run, "target", 1, "loss", 0.5)
    report.write_report(run)
    page = HtmlPage.read(run.path / "report.html")
    assert "α = 0.5 is best on validation, α = 1.0 is kept." in page.text
    assert page.find_table("α", "val", "test") == [
        ["0", "0.250", "0.200"],
        ["0.5", "0.750", "0.500"],
        ["1", "0.500", "0.600"],
    ]
    assert list(page.charts) == ["loss on validation", "accuracy over α"]
    assert read_lines(page.charts["accuracy over α"]) == {
        "val": [(0, 0.25), (0.5, 0.75), (1, 0.5)],
        "test": [(0, 0.2), (0.5, 0.5), (1, 0.6)],
    }
    assert format_line(Summary.from_json(summary())) == []
    assert report_charts.draw_line(None) is None


def test_points_of_a_line_that_are_no_numbers_are_not_drawn() -> None:
    nan = float("nan")
    facts = [swept((nan, nan), (0.5, nan)), swept((nan, nan), (nan, nan))]
    one, none = (
        report_charts.draw_line(LineFacts.from_json(each["transfer"]["wise_ft"])) for each in facts
    )
    assert one is not None
    assert list(read_lines(one.spec)) == ["val"]
    assert [row[1] for row in one.table.rows] == ["nan", "0.500"]
    assert none is not None
    assert read_lines(none.spec) == {}


def searched() -> dict[str, Any]:
    won = {"candidate": "transfer=feature", "epochs": 1, "accuracy": 0.5, "fate": "won"}
    lost = {"candidate": "transfer=<b>", "epochs": 0, "accuracy": None, "fate": "failed: nan"}
    content = summary()
    content["timing"]["search_s"] = 7.5
    content["transfer"]["auto"] = {
        "budget": {"steps": 1200},
        "steps": 1100,
        "seconds": 7.5,
        "tried": [won, lost],
        "not_tried": {"transfer=adapter": "needs another source"},
    }
    return content


def test_what_a_search_tried_is_in_the_answer_and_on_the_page(tmp_path: Path) -> None:
    content = searched()
    lines = [
        "search: 2 of 3 candidates tried, in 1,100 steps and 7.5 s (budget 1,200 steps for all "
        "trials; the source and the winner's own training come on top, and no control had any):",
        "  transfer=feature, 1 epoch, accuracy 0.500: won",
        "  transfer=<b>, fitted: failed: nan",
        "  transfer=adapter: needs another source",
    ]
    assert format_search(Summary.from_json(content)) == lines
    assert format_search(Summary.from_json(summary())) == []
    said = write_lines(Summary.from_json(content))
    assert [line for line in said if line in lines] == lines
    assert any("source 1.5 s, search 7.5 s, target 2.5 s" in str(line) for line in said)
    run = make(tmp_path, content)
    report.write_report(run)
    page = HtmlPage.read(run.path / "report.html")
    assert page.tags("b") == []
    for line in lines:
        assert line.strip() in page.text
    assert page.facts["seconds, search"] == "7.5"


def test_a_run_without_a_source_has_no_part_on_transfer(tmp_path):
    for task, there in (("digits", True), ("none", False)):
        run = make(tmp_path / task, summary(source={"task": task}))
        report.write_report(run)
        page = HtmlPage.read(run.path / "report.html")
        assert ("Tensors: " in page.text) is there


def test_errors_of_large_targets_have_no_digits_that_say_nothing(tmp_path):
    test = {"loss": 0.25, "mse": 27057.1264, "mae": -113.339}
    metrics = {"test": test, "val": test}
    run = make(tmp_path, summary(target={"task": "prices", "metrics": metrics}))
    report.write_report(run)
    rows = HtmlPage.read(run.path / "report.html").find_table("", "loss", "mse", "mae")
    assert rows[0] == ["parameter, test", "0.2500", "27,057.1", "-113.3390"]


def test_the_map_of_tensors_counts_each_part():
    moved = {
        "copied": ["encoders.image.a.weight", "encoders.image.b.weight"],
        "fresh": ["encoders.audio.a.weight", "head.weight", "head.bias"],
    }
    chart = report_charts.draw_transfer(moved)
    assert chart.table.rows == (
        ("encoders.image", "2", "0", "0", "0"),
        ("encoders.audio", "0", "0", "0", "1"),
        ("head", "0", "0", "0", "2"),
    )
    assert report_charts.draw_transfer({}) is None
