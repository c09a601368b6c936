from __future__ import annotations

import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mmx.reports import report
from mmx.reports.answer import (
    answer,
    format_faster,
    format_gain,
    format_gains,
    format_line,
    format_search,
    format_title,
)
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import CaughtUp, ClassTable, LineFacts, StatedGain, Summary
from mmx.runs.surroundings import describe_surroundings, digest_code, list_packages

VOID = {"meta", "br", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and complains of a tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


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
    html = (run.path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.tags("script") == page.tags("b") == page.tags("img") == []
    for text in (
        "digits → <script>alert(1)</script> (parameter, gmu, seed 7)",
        "gain: +0.232 accuracy over the scratch control of equal budget "
        "(95 % interval +0.100 … +0.300 over test samples, one seed): positive",
        "parameter, test 1.2500 0.4321",
        "control scratch, test 3.0000 0.2000",
        "control scratch, val 2.0000 0.1000",
        "98,765 of 123,456 parameters trained, 321.0 samples/s on cpu in fp32",
        "1,234,567 FLOPs and 0.0012 s a sample to use.",
        "Tensors: 3 copied, 2 adapted, 1 frozen, 4 fresh.",
        "a note with <b>tags</b>",
        "name: <img src=x>",
        f"code {digest_code()}",
    ):
        assert text in page.text
    assert "http" not in html.replace("http-equiv", "")  # self-contained
    assert [chart["aria-label"] for chart in page.tags("svg")] == ["val.accuracy"]
    points = [line["points"] for line in page.tags("polyline")]
    # the lowest value, 0.05, stands at the bottom; the highest, 0.3, at the top
    assert points[0].split()[-1] == "480.0,40.0"
    assert points[1].split()[0] == "40.0,180.0"


def test_a_run_without_control_or_curves_has_a_page_too(tmp_path: Path) -> None:
    run = make(tmp_path, summary(source={"task": "none"}, notes=[]))
    report.write_report(run)
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    assert "gain:" not in page.text
    assert "control" not in page.text
    assert page.tags("svg") == []


def test_one_epoch_and_a_constant_metric_make_a_chart(tmp_path: Path) -> None:
    run = make(tmp_path, summary())
    metric(run, "target", 1, "loss", 0.5)
    (chart,) = report.make_charts(run.metrics())
    assert chart["curves"] == [
        {"stage": "target", "color": report.COLORS["target"], "points": "40.0,180.0"}
    ]
    assert (chart["low"], chart["high"]) == ("0.5", "0.5")
    assert (chart["first"], chart["last"]) == ("epoch 1", "1")


def test_points_that_are_no_numbers_are_not_drawn(tmp_path: Path) -> None:
    run = make(tmp_path, summary())
    for epoch, value in ((1, 0.5), (2, math.inf), (3, 1.5)):
        metric(run, "target", epoch, "loss", value)
        metric(run, "target", epoch, "r2", math.nan)
    (chart,) = report.make_charts(run.metrics())
    assert (chart["name"], chart["low"], chart["high"]) == ("val.loss", "0.5", "1.5")
    assert chart["curves"][0]["points"] == "40.0,180.0 480.0,40.0"


def test_a_real_run_writes_its_page(train: Callable[..., RunDirectory]) -> None:
    run = train(
        "source=none",
        "target=digits",
        "trainer.epochs=1",
        "target.per_class=2",
        "encoder.image.width=16",
    )
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    accuracy = run.summary()["target"]["metrics"]["test"]["accuracy"]
    assert f"{accuracy:.4f}" in page.text
    assert run.path.name in page.text
    assert len(page.tags("svg")) == 4


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
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    assert page.tags("b") == []
    assert "Balanced accuracy 0.750, macro-F1 0.700." in page.text
    assert "<b>cat</b> 2 0.500 – 1 1 dog 1 1.000 0.250 0 1" in page.text
    many = {str(index): classes["classes"]["dog"] for index in range(report.MOST_CLASSES + 1)}
    assert report.make_class_table(ClassTable.from_json({**classes, "classes": many})) is None


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
    lines = [line for line in answer(Summary.from_json(content)) if isinstance(line, str)]
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
    assert format_gain(StatedGain.from_json({**gain, "control": "majority"})) == (
        "gain: +0.100 r2 over the majority control: unclear"
    )
    text = format_gain(StatedGain.from_json(gain))
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
    run = make(tmp_path, content)
    report.write_report(run)
    html = (run.path / "report.html").read_text(encoding="utf-8")
    assert ("faster: " in html) is faster


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


def test_the_names_of_many_stages_stand_above_a_chart_and_not_beside_it() -> None:
    stages = ["source", "target", "control", "control-unimodal-image", "control-linear_probe"]
    colors = dict.fromkeys(stages, "#000")
    found = report.make_legend(stages, colors)
    assert [each["stage"] for each in found] == stages
    assert [each["y"] for each in found[:3]] == [18, 18, 18]
    assert len({each["y"] for each in found}) > 1
    for each in found:
        assert each["x"] + report.LETTER * len(each["stage"]) <= report.WIDTH
    places = [(each["x"], each["y"]) for each in found]
    assert len(set(places)) == len(places)


def test_every_stage_has_a_color_of_its_own(tmp_path: Path) -> None:
    run = make(tmp_path, summary())
    stages = ["target", "control", "control-unimodal-image", "control-linear_probe"]
    for stage in stages:
        metric(run, stage, 1, "loss", 0.5)
    (chart,) = report.make_charts(run.metrics())
    assert [each["stage"] for each in chart["curves"]] == stages
    assert len({each["color"] for each in chart["curves"]}) == 4


def test_the_title_names_the_regulariser(tmp_path: Path) -> None:
    content = summary()
    assert format_title(Summary.from_json(content)).endswith("(parameter, gmu, seed 7)")
    content["transfer"]["regularizer"] = {"name": "l2_sp", "alpha": 0.01}
    title = "digits → <script>alert(1)</script>  (parameter + l2_sp, gmu, seed 7)"
    found = Summary.from_json(content)
    assert format_title(found) == answer(found)[0] == title
    run = make(tmp_path, content)
    report.write_report(run)
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
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
    assert [each for each in answer(Summary.from_json(content)) if each in lines] == lines
    run = make(tmp_path, content)
    metric(run, "target", 1, "loss", 0.5)
    report.write_report(run)
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    assert "α = 0.5 is best on validation, α = 1.0 is kept." in page.text
    assert "α 0 0.5 1 val 0.250 0.750 0.500 test 0.200 0.500 0.600" in page.text
    assert [chart["aria-label"] for chart in page.tags("svg")] == ["accuracy over α", "val.loss"]
    val, test, _ = page.tags("polyline")
    # 0.2 stands at the bottom, 0.75 at the top; α from the left margin to the right one
    assert val["points"] == "40.0,167.3 260.0,40.0 480.0,103.6"
    assert test["points"] == "40.0,180.0 260.0,103.6 480.0,78.2"
    assert format_line(Summary.from_json(summary())) == []
    assert report.make_line(None) is None


def test_points_of_a_line_that_are_no_numbers_are_not_drawn() -> None:
    nan = float("nan")
    found = report.make_line(
        LineFacts.from_json(swept((nan, nan), (0.5, nan))["transfer"]["wise_ft"])
    )
    assert found is not None
    assert [each["stage"] for each in found["chart"]["curves"]] == ["val"]
    assert found["rows"]["val"] == ["nan", "0.500"]
    found = report.make_line(
        LineFacts.from_json(swept((nan, nan), (nan, nan))["transfer"]["wise_ft"])
    )
    assert found is not None
    assert found["chart"] is None


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
    said = answer(Summary.from_json(content))
    assert [line for line in said if line in lines] == lines
    assert any("source 1.5 s, search 7.5 s, target 2.5 s" in str(line) for line in said)
    run = make(tmp_path, content)
    report.write_report(run)
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    assert page.tags("b") == []
    for line in lines:
        assert line.strip() in page.text
    assert "Cost: source 1.5 s, search 7.5 s, target 2.5 s" in page.text
