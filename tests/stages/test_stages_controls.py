"""The controls of a run, against runs that do the same by themselves and against counting."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusals import check_error, read_error

from mmx import execution
from mmx.errors import TransferError
from mmx.evaluation.gain_intervals import bonferroni_level, find_sample_interval
from mmx.evaluation.metrics import make_score
from mmx.runs import sample_scores
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import Summary
from mmx.training import checkpoint
from mmx.training.events import Event
from mmx.transfer.feature import Feature

pytestmark = pytest.mark.slow

Train = Callable[..., RunDirectory]
Overrides = Callable[..., list[str]]
Prepared = Callable[[list[str], Path], tuple[Any, RunDirectory]]
Tables = dict[str, Path]
ALL = "control=[scratch,unimodal,linear_probe,majority]"
TWO = ("image", "tabular")
STAGES = ("control", "control-unimodal-image", "control-unimodal-tabular", "control-linear_probe")
COMPLETE = "{image: photo, tabular: [b]}"
"""Columns of which no row lacks a cell."""


@pytest.fixture
def line(tables: Tables, overrides: Overrides) -> Callable[..., list[str]]:
    """Return the overrides of a transfer from one table to the other."""
    return lambda *more: overrides(tables["one"], tables["two"], TWO, *more)


@pytest.fixture
def whole(train: Train, line: Callable[..., list[str]]) -> RunDirectory:
    """Return a run with every control."""
    return train(*line(ALL))


def tensors(run: RunDirectory, stage: str) -> dict[str, torch.Tensor]:
    return checkpoint.read_checkpoint(run.stage_file(stage))[0]


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_every_control_has_its_metrics_and_its_gain(whole: RunDirectory) -> None:
    found = whole.summary()
    names = ["scratch", "unimodal", "linear_probe", "majority"]
    assert list(found["control"]) == list(found["gains"]) == names
    ours = found["target"]["metrics"]["test"]["accuracy"]
    for name in names:
        metrics = found["control"][name]["metrics"]
        assert list(metrics) == ["val", "test"]
        assert (
            metrics["val"].keys()
            == metrics["test"].keys()
            == found["target"]["metrics"]["val"].keys()
        )
        gain = found["gains"][name]
        assert gain["value"] == ours - metrics["test"]["accuracy"]
        assert gain["level"] == bonferroni_level(4) == 0.9875
        assert gain["correction"] == "Bonferroni over 4"
    assert found["gain"]["control"] == "scratch"
    assert found["gain"]["value"] == found["gains"]["scratch"]["value"]
    low, high = found["gain"]["interval"]
    wide_low, wide_high = found["gains"]["scratch"]["interval"]
    assert wide_low <= low <= high <= wide_high
    timing = found["timing"]
    assert timing["controls_s"]["majority"] == 0
    assert all(timing["controls_s"][name] > 0 for name in names[:3])
    assert timing["control_s"] == pytest.approx(sum(timing["controls_s"].values()), abs=0.01)


def test_models_that_learned_nothing_are_no_answer(
    train: Train, line: Callable[..., list[str]], tables: Tables
) -> None:
    """With labels that no input tells apart, one answer for all rows is the best there is."""
    from mmx.reports.summary_lines import write_lines

    rows = read(tables["two"])
    random = np.random.default_rng(5)
    for row in rows:
        row["label"] = str(random.choice(["low", "middle", "high"]))
    path = tables["two"].with_name("noise.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    run = train(*[text.replace(str(tables["two"]), str(path)) for text in line(ALL)])
    found = run.summary()
    tested = Counter(row["label"] for row in rows if row["split"] == "test")
    part = max(tested.values()) / sum(tested.values())
    assert found["target"]["chance"] == {"accuracy": part, "samples": sum(tested.values())}
    ours = found["target"]["metrics"]["test"]["accuracy"]
    theirs = found["control"]["scratch"]["metrics"]["test"]["accuracy"]
    assert found["gain"]["learned"] is False
    for name in ("scratch", "unimodal", "linear_probe"):
        assert found["gains"][name]["verdict"] == "no answer: neither is better than chance"
    assert "no answer" not in found["gains"]["majority"]["verdict"]
    note = (
        f"neither the target (accuracy {ours:.3f}) nor its scratch control ({theirs:.3f}) does "
        f"better than always saying the most frequent class ({part:.3f} of "
        f"{sum(tested.values())} test samples): this says nothing about transfer"
    )
    assert found["notes"][0] == note
    lines = [text for text in write_lines(Summary.from_json(found)) if isinstance(text, str)]
    assert f"note: {note}" in lines
    assert not any("faster" in text or "as fast" in text for text in lines)
    html = (run.path / "report.html").read_text()
    assert "this says nothing about transfer" in html
    assert "as fast" not in html


def test_stages_do_not_collide(whole: RunDirectory) -> None:
    stages = {path.name for path in (whole.path / "checkpoints").iterdir()}
    assert stages == {"source", "target", *STAGES}
    assert {entry["stage"] for entry in whole.metrics()} == stages


def test_intervals_are_those_of_the_kept_scores(whole: RunDirectory) -> None:
    kept = sample_scores.read_scores(whole)
    assert kept is not None
    ours, controls = kept
    found = whole.summary()
    assert ours.value == found["target"]["metrics"]["test"]["accuracy"]
    assert list(found["gain"]["interval"]) == list(
        find_sample_interval((ours, controls["scratch"]))
    )
    for name, each in controls.items():
        assert each.value == found["control"][name]["metrics"]["test"]["accuracy"]
        interval = find_sample_interval((ours, each), level=0.9875)
        assert found["gains"][name]["interval"] == list(interval)


def test_scratch_is_what_it_is_alone(
    whole: RunDirectory, train: Train, line: Callable[..., list[str]]
) -> None:
    alone = train(*line())
    assert_same(tensors(alone, "control"), tensors(whole, "control"))
    assert_same(tensors(alone, "target"), tensors(whole, "target"))
    one, other = alone.summary(), whole.summary()
    assert one["gain"] == other["gain"]
    assert one["control"]["scratch"] == other["control"]["scratch"]
    assert one["gains"]["scratch"]["interval"] == one["gain"]["interval"]
    assert one["gains"]["scratch"]["correction"] == "none"


def test_one_modality_alone_is_the_run_on_that_modality(
    train: Train, tables: Tables, overrides: Overrides
) -> None:
    columns = f"target.columns={COMPLETE}"
    run = train(*overrides(None, tables["two"], TWO, columns, "control=unimodal"))
    found = run.summary()["control"]["unimodal"]
    for name in TWO:
        unread = {"image": "tabular", "tabular": "image"}[name]
        given = overrides(None, tables["two"], TWO, columns, f"modalities=[{name}]")
        given = [text for text in given if not text.startswith(f"encoder.{unread}.")]
        alone = train(*given)
        assert_same(tensors(alone, "target"), tensors(run, f"control-unimodal-{name}"))
        assert list(alone.summary()["data_cards"]["target"]["inputs"]) == [name]
        metrics = alone.summary()["target"]["metrics"]
        assert found["candidates"][name] == {"val": metrics["val"]}
        if found["modality"] == name:
            assert found["metrics"] == metrics
    of = make_score("classes")
    val = {name: of(each["val"]) for name, each in found["candidates"].items()}
    assert val[found["modality"]] == max(val.values())
    summary = run.summary()
    assert summary["gain"]["control"] == "unimodal"
    assert "transfer" not in summary["gain"]["verdict"]  # nothing was transferred


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rows_without_the_modality_are_left_out_and_answered_by_the_prior(
    train: Train, tables: Tables, overrides: Overrides
) -> None:
    columns = "target.columns={image: photo, tabular: [a]}"
    given = overrides(None, tables["two"], TWO, columns, "control=unimodal")
    run = train(*given, "trainer.epochs=6")
    rows = [row for row in read(tables["two"]) if row["split"] == "train"]
    lacking = sum(not row["a"] for row in rows)
    assert lacking > 0
    found = run.summary()
    _, facts = checkpoint.read_checkpoint(run.stage_file("control-unimodal-tabular"))
    # its training validated fewer rows than the summary does
    assert facts["fitted"]["val"] != found["control"]["unimodal"]["candidates"]["tabular"]["val"]
    note = (
        f"control unimodal: {lacking} of {len(rows)} training rows have no tabular and are left out"
    )
    chosen = found["control"]["unimodal"]["modality"]
    assert (note in found["notes"]) == (chosen == "tabular")


def test_prior_answers_by_counting(train: Train, tables: Tables, overrides: Overrides) -> None:
    """A number that tells the label apart, where it is there; rows that lack it get the prior."""
    rows = read(tables["two"])
    for index, row in enumerate(rows):
        row["a"] = (
            "" if index % 5 == 1 else str(100 * ["low", "middle", "high"].index(row["label"]))
        )
        row["photo"] = rows[0]["photo"]  # tells nothing
    rows = [row for i, row in enumerate(rows) if row["split"] != "train" or i % 7 or i % 3 == 0]
    path = tables["two"].with_name("telling.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    columns = "target.columns={image: photo, tabular: [a]}"
    given = overrides(None, path, TWO, columns, "control=[unimodal,majority]")
    run = train(*given, "trainer.epochs=25", "optimizer.lr=0.03", "encoder.tabular.dropout=0")
    found = run.summary()
    counts = Counter(row["label"] for row in rows if row["split"] == "train")
    first = max(["low", "middle", "high"], key=lambda label: counts[label])
    assert found["control"]["unimodal"]["modality"] == "tabular"
    for split in ("val", "test"):
        own = [row for row in rows if row["split"] == split]
        right = [row["label"] == first for row in own]
        majority = found["control"]["majority"]["metrics"][split]["accuracy"]
        assert majority == pytest.approx(np.mean(right))
        told = [bool(row["a"]) or row["label"] == first for row in own]
        unimodal = found["control"]["unimodal"]["metrics"][split]["accuracy"]
        assert unimodal == pytest.approx(np.mean(told))
    assert found["gain"]["control"] == "unimodal"  # the first that was trained
    assert found["timing"]["controls_s"]["majority"] == 0


@pytest.mark.parametrize(
    ("label", "kind", "objective"),
    [
        ("number", "regression", "mean_squared_error"),
        ("tags", "multilabel", "binary_cross_entropy"),
    ],
)
def test_majority_of_numbers_and_labels(
    train: Train, tables: Tables, overrides: Overrides, label: str, kind: str, objective: str
) -> None:
    options = [f"target.label={label}", f"target.kind={kind}", f"objective={objective}"]
    run = train(*overrides(None, tables["two"], ("tabular",), "control=majority", *options))
    found = run.summary()
    metrics = found["control"]["majority"]["metrics"]["test"]
    rows = read(tables["two"])
    split = {
        name: [row[label] for row in rows if row["split"] == name] for name in ("train", "test")
    }
    if kind == "regression":
        mean = np.mean([float(value) for value in split["train"]])
        errors = [(float(value) - mean) ** 2 for value in split["test"]]
        assert metrics["mse"] == pytest.approx(np.mean(errors), rel=1e-4)
        assert metrics["r2"] <= 0
    else:
        usual = {
            tag
            for tag in ("even", "big")
            if np.mean([tag in value.split("|") for value in split["train"]]) > 0.5
        }
        exact = [set(filter(None, value.split("|"))) == usual for value in split["test"]]
        assert metrics["accuracy"] == pytest.approx(np.mean(exact))
    assert found["gain"]["control"] == "majority"
    low, high = found["gain"]["interval"]
    assert low <= high
    assert found["faster"] is None  # nothing of the control was trained


def test_a_linear_probe_is_feature_transfer_with_concat(
    train: Train, line: Callable[..., list[str]]
) -> None:
    run = train(
        *line("fusion=gmu", "sharing=trunk", "sharing.modalities=false", "control=linear_probe")
    )
    probe = tensors(run, "control-linear_probe")
    source = tensors(run, "source")
    kept = [name for name in probe if name.startswith("encoders.")]
    assert all(torch.equal(probe[name], source[name]) for name in kept)
    assert {name.split(".")[0] for name in probe} == {"encoders", "head"}
    assert {name for name in probe if name.startswith("head.")} == {"head.weight", "head.bias"}
    plain = train(*line("transfer=feature", "control=none"))
    fresh = train(*line("control=linear_probe", "transfer.fusion=false"))
    assert_same(tensors(plain, "source"), tensors(fresh, "source"))
    assert_same(tensors(plain, "target"), tensors(fresh, "control-linear_probe"))
    metrics = plain.summary()["target"]["metrics"]
    assert fresh.summary()["control"]["linear_probe"]["metrics"] == metrics


PROBE = (
    "control linear_probe: the run itself is a linear head on the source's frozen encoders: the "
    "gain over this control is nothing by construction"
)


@pytest.mark.parametrize(
    ("more", "same"),
    [
        ((), True),
        (("transfer.head=mlp", "transfer.width=4"), False),
        (("transfer.normalize=true",), False),
        (("fusion.hidden=4",), False),
        (("fusion=gmu",), False),
    ],
)
def test_a_run_that_is_a_linear_probe_says_so(
    train: Train, line: Callable[..., list[str]], more: tuple[str, ...], same: bool
) -> None:
    run = train(*line("transfer=feature", "control=linear_probe", "trainer.epochs=1", *more))
    assert (PROBE in run.summary()["notes"]) is same
    if same:
        assert_same(tensors(run, "target"), tensors(run, "control-linear_probe"))
        assert run.summary()["gain"]["value"] == 0


def test_structure_that_reads_the_target_as_the_source_does_is_not_scratch(
    train: Train, line: Callable[..., list[str]]
) -> None:
    """Columns of numbers are scaled as in the source: the control scales its own."""
    run = train(*line("transfer=structure"))
    assert not any("nothing by construction" in note for note in run.summary()["notes"])


def test_a_probe_that_cannot_start_stops_the_run_before_the_target(
    line: Callable[..., list[str]],
    prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise TransferError("it does not fit", tip="something else")

    monkeypatch.setattr(Feature, "start", refuse)
    experiment, directory = prepared(line(ALL), tmp_path)
    outcome = execution.execute(experiment, directory, lambda event: None)
    check_error(
        read_error(outcome["error"]), "linear_probe", "control", types=("linear_probe", "control=…")
    )
    assert not directory.stage_file("target").exists()


def test_one_modality_is_not_trained_twice(
    train: Train, tables: Tables, overrides: Overrides
) -> None:
    given = ("control=[unimodal,scratch]",)
    run = train(*overrides(tables["one"], tables["two"], ("image",), *given))
    found = run.summary()
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == {
        "source",
        "target",
        "control",
    }
    assert found["control"]["unimodal"]["metrics"] == found["control"]["scratch"]["metrics"]
    note = "control unimodal: the target has image alone, so it is the scratch control"
    assert note in found["notes"]
    assert found["timing"]["controls_s"]["unimodal"] == 0
    only = train(*overrides(tables["one"], tables["two"], ("image",), "control=unimodal"))
    assert_same(tensors(only, "control"), tensors(run, "control"))
    assert only.summary()["timing"]["controls_s"]["unimodal"] > 0


def test_without_a_source_one_modality_is_the_run_itself(
    train: Train, tables: Tables, overrides: Overrides
) -> None:
    run = train(*overrides(None, tables["two"], ("image",), "control=[scratch,unimodal]"))
    found = run.summary()
    assert list(found["control"]) == ["unimodal"]
    assert found["gain"]["value"] == 0
    assert "control unimodal: the target has image alone, so it is the run itself" in found["notes"]
    assert not run.stage_file("control").exists()


def numbers(run: RunDirectory) -> dict[str, Any]:
    found = run.summary()
    kept = ("control", "gain", "gains", "target", "notes")
    faster = [found["faster"][key] for key in ("value", "target_steps", "control_steps")]
    return {**{key: found[key] for key in kept}, "faster": faster}


def test_a_run_that_is_interrupted_in_every_control_ends_as_if_it_had_not_been(
    whole: RunDirectory, line: Callable[..., list[str]], prepared: Prepared, tmp_path: Path
) -> None:
    experiment, directory = prepared(line(ALL), tmp_path)
    for stage in STAGES:
        for kind in ("stage", "epoch"):

            def interrupt(event: Event, where: tuple[str, str] = (stage, kind)) -> None:
                if (str(event.stage), event.kind) == where and event.epoch <= 1:
                    os.kill(os.getpid(), signal.SIGTERM)

            outcome = execution.execute(experiment, directory, interrupt)
            assert outcome["exit_code"] == 143, (stage, kind, outcome)
    assert execution.execute(experiment, directory, lambda event: None)["status"] == "done"
    assert numbers(directory) == numbers(whole)
    for stage in STAGES:
        assert_same(tensors(directory, stage), tensors(whole, stage))
        assert not directory.state_file(stage).exists()
    assert (directory.path / sample_scores.FILE).read_bytes() == (
        whole.path / sample_scores.FILE
    ).read_bytes()
    one, other = (
        [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.metrics()]
        for run in (directory, whole)
    )
    assert one == other


def test_no_control_depends_on_the_test_rows(
    whole: RunDirectory, train: Train, tables: Tables, overrides: Overrides
) -> None:
    rows = read(tables["two"])
    tested = [row for row in rows if row["split"] == "test"]
    for row, other in zip(tested, [*tested[1:], tested[0]], strict=True):
        row["new"] = other["label"]
    for row in rows:
        row["label"] = row.pop("new", row["label"])
    path = tables["two"].with_name("other_answers.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    other = train(*overrides(tables["one"], path, TWO, ALL))
    for stage in STAGES:
        assert_same(tensors(other, stage), tensors(whole, stage))
    for name, found in whole.summary()["control"].items():
        poisoned = other.summary()["control"][name]
        assert poisoned["metrics"]["val"] == found["metrics"]["val"]
        assert poisoned.get("modality") == found.get("modality")
    assert other.summary()["faster"]["target_steps"] == whole.summary()["faster"]["target_steps"]


def test_faster_is_what_the_epochs_say(whole: RunDirectory) -> None:
    found = whole.summary()["faster"]
    epochs = {
        stage: [
            (entry["step"], entry["value"])
            for entry in whole.metrics()
            if (entry["stage"], entry["split"], entry["name"]) == (stage, "val", "accuracy")
        ]
        for stage in ("target", "control")
    }
    best = max(value for _, value in epochs["control"])
    assert found["metric"] == "accuracy"
    assert found["control"] == "scratch"
    assert found["value"] == best
    first = [step for step, value in epochs["control"] if value >= best]
    assert found["control_steps"] == first[0]
    reached = [step for step, value in epochs["target"] if value >= best]
    assert found["target_steps"] == (reached[0] if reached else None)
    assert 0 < found["control_s"] <= whole.summary()["timing"]["controls_s"]["scratch"] + 0.001


def test_faster_is_the_same_where_the_control_comes_from_the_cache(
    line: Callable[..., list[str]], prepared: Prepared, tmp_path: Path
) -> None:
    found = []
    for name in ("a", "b"):
        given = line(f"cache={tmp_path / 'cache'}", "control=[scratch,unimodal]")
        experiment, directory = prepared(given, tmp_path / name)
        assert execution.execute(experiment, directory, lambda event: None)["status"] == "done"
        found.append(directory.summary())
    one, other = ({k: v for k, v in each["faster"].items() if k != "target_s"} for each in found)
    assert one == other  # the control's seconds are those that it took when it was trained
    assert found[0]["gains"] == found[1]["gains"]


def test_the_answer_and_the_page_name_them_all(whole: RunDirectory) -> None:
    from mmx.reports.summary_lines import write_lines

    summary = whole.summary()
    modality = summary["control"]["unimodal"]["modality"]
    lines = [text for text in write_lines(Summary.from_json(summary)) if isinstance(text, str)]
    assert (
        "over each of 4 controls, 98.75 % intervals, which all hold together in 95 % of cases "
        "(Bonferroni):"
    ) in lines
    starts = [text.split(":")[0].strip() for text in lines]
    assert {"scratch", f"unimodal ({modality})", "linear_probe", "majority"} <= set(starts)
    html = (whole.path / "report.html").read_text()
    assert f"control unimodal ({modality}), test" in html
    assert "control-linear_probe" in html
    assert json.loads((whole.path / "summary.json").read_text()) == summary


def test_one_linear_probe_serves_beside_every_fusion(
    line: Callable[..., list[str]], prepared: Prepared, tmp_path: Path
) -> None:
    """It has a fusion of its own."""
    found = []
    for name in ("gmu", "concat"):
        given = line(f"cache={tmp_path / 'cache'}", f"fusion={name}", "control=linear_probe")
        given += ["transfer.fusion=false"]
        experiment, directory = prepared(given, tmp_path / name)
        assert execution.execute(experiment, directory, lambda event: None)["status"] == "done"
        found.append(directory)
    said = [(run.path / "run.log").read_text() for run in found]
    taken = ["control-linear_probe two: taken from the cache" in text for text in said]
    assert taken == [False, True]
    one, other = (tensors(run, "control-linear_probe") for run in found)
    assert_same(one, other)
