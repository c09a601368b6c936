"""Freezing, thawing and still statistics in whole runs: what the report says is what happened."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmx import stages
from mmx.errors import TransferError
from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint
from mmx.training.events import Event, StopRequest
from mmx.transfer import Start
from mmx.transfer.scratch import Scratch

Prepared = Callable[[list[str], Path], tuple[Any, RunDirectory]]
TWO = ("image", "tabular")


@pytest.mark.parametrize(
    "options",
    [
        ("unfreeze_every=1", "wise_ft=curve"),
        ("freeze_depth=1", "batch_norm=frozen", "layer_decay=0.5", "head_rate=10"),
        ("freeze_depth=2", "freeze=[encoders.image.*]", "lp_ft=true"),
        ("reinitialize=1", "unfreeze_every=1", "batch_norm=eval"),
    ],
)
def test_the_report_of_a_run_is_what_happened(
    once: Callable[[list[str]], Any],
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    options: tuple[str, ...],
) -> None:
    given = overrides(tables["one"], tables["two"], TWO, "control=none", "precision=fp32")
    run = once([*given, *(f"transfer.{option}" for option in options)])
    report = json.loads((run.path / "transfer.json").read_text())
    source, target = (
        checkpoint.read_checkpoint(run.stage_file(s))[0] for s in ("source", "target")
    )
    tensors = {name: value for name, value in target.items() if not name.startswith("line.")}
    lists = [name for key in ("copied", "adapted", "frozen", "fresh") for name in report[key]]
    assert sorted(lists) == sorted(tensors)
    assert report["frozen"]
    moved = {n for n in tensors if n in source and not torch.equal(tensors[n], source[n])}
    assert moved.isdisjoint(report["frozen"])
    weights = {n for n in report["copied"] if n.endswith("weight") and tensors[n].dim() > 1}
    assert weights <= moved
    summary = run.summary()
    assert summary["transfer"]["frozen"] == len(report["frozen"])
    total, trainable = (summary["params"][key] for key in ("total", "trainable"))
    still = {"running_mean", "running_var", "num_batches_tracked"}
    frozen = [n for n in report["frozen"] if n.rpartition(".")[2] not in still]
    assert total - trainable == sum(tensors[name].numel() for name in frozen)


def test_a_schedule_that_is_too_long_is_said_and_what_waits_in_vain_is_frozen(
    train: Callable[..., Any], tables: dict[str, Path], overrides: Callable[..., list[str]]
) -> None:
    given = overrides(tables["one"], tables["two"], TWO, "control=none", "precision=fp32")
    run = train(*given, "transfer.unfreeze_every=1")
    note = "gradual unfreezing: 3 of 4 depths never thaw in 2 epochs; trainer.epochs=5 thaws all"
    assert run.summary()["notes"][-1] == note
    report = json.loads((run.path / "transfer.json").read_text())
    thawed = {"encoders.image.stages.3", "encoders.tabular.layers.1"}
    found = {".".join(n.split(".")[:4]) for n in report["copied"] if n.startswith("encoders.")}
    assert found == thawed
    cut = {".".join(n.split(".")[:4]) for n in report["frozen"]}
    assert cut == {f"encoders.image.stages.{k}" for k in range(3)} | {"encoders.tabular.layers.0"}


@pytest.mark.parametrize(
    ("options", "beside", "said"),
    [
        (
            ("transfer=joint", "transfer.weighting=gradnorm"),
            {"companion", "weighting"},
            "; {} more for training alone, of the source task, the weighting of both tasks",
        ),
        (("regularizer=co_tuning",), {"penalty"}, "; {} more for training alone, of the regulariz"),
        (("regularizer=l2_sp",), set(), ""),
    ],
)
def test_what_a_stage_keeps_beside_its_model_is_named_too(
    once: Callable[[list[str]], Any],
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    options: tuple[str, ...],
    beside: set[str],
    said: str,
) -> None:
    given = overrides(tables["one"], tables["two"], TWO, "control=none", "precision=fp32")
    run = once([*given, *options])
    report = json.loads((run.path / "transfer.json").read_text())
    lists = [n for k in ("copied", "adapted", "frozen", "fresh", "beside") for n in report[k]]
    assert sorted(lists) == sorted(checkpoint.read_checkpoint(run.stage_file("target"))[0])
    assert {name.split(".")[0] for name in report["beside"]} == beside
    line = next(x for x in (run.path / "run.log").read_text().splitlines() if "tensors: " in x)
    assert f"{len(report['fresh'])} fresh{said.format(len(report['beside']))}" in line


def test_a_transfer_that_forgets_a_tensor_is_an_error(
    tables: dict[str, Path],
    tmp_path: Path,
    overrides: Callable[..., list[str]],
    prepared: Prepared,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remembers = Scratch.start

    def start(self: Scratch, *given: Any) -> Start:
        found = remembers(self, *given)
        fresh = tuple(name for name in found.report.fresh if name != "head.bias")
        return replace(found, report=replace(found.report, fresh=fresh))

    monkeypatch.setattr(Scratch, "start", start)
    given = overrides(None, tables["two"], ("tabular",), "transfer=scratch", "control=none")
    experiment, directory = prepared(given, tmp_path)
    message = r"^the transfer's report names no origin of head\.bias$"
    with pytest.raises(RuntimeError, match=message):
        stages.run(experiment, directory, lambda event: None, StopRequest(), cached=False)


def test_the_log_says_which_classes_are_named_otherwise_and_the_report_has_all(
    once: Callable[[list[str]], Any], tables: dict[str, Path], overrides: Callable[..., list[str]]
) -> None:
    renamed = tables["one"].with_name("renamed.csv")
    renamed.write_text(tables["one"].read_text().replace(",low,", ",Low,"))
    more = ("control=none", "transfer.class_map={middle: high, high: middle}")
    run = once(overrides(renamed, tables["two"], TWO, *more))
    report = json.loads((run.path / "transfer.json").read_text())
    assert report["classes"] == {"high": "middle", "low": "Low", "middle": "high"}
    note = (
        "the head takes the source's rows of 3 of 3 classes shared by name "
        "(high=middle, low=Low, middle=high)"
    )
    assert note in run.summary()["notes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("transfer.class_map={cow: low}",), "transfer.class_map names 'cow', no class of the s"),
        (
            ("transfer=auto", "transfer.class_map={low: cow}"),
            "transfer.class_map names 'cow', no c",
        ),
        (("source.label=a_third", "transfer=adapter"), "several classes of the source read as 'l"),
        (
            ("target.columns={image: picture, tabular: [b]}", "transfer.min_copied=0.9"),
            "7 of the 8 tensors of the tabular encoder would come from the source's",
        ),
        (
            ("target.columns={image: picture, tabular: [b]}", "transfer=feature"),
            "the source's tabular encoder fits only in part",
        ),
        (
            ("regularizer=l2_sp", "transfer.freeze=[encoders.*]", "transfer.fusion=false"),
            "regularizer=l2_sp: no trained parameter came from the source",
        ),
        (
            ("regularizer=stochnorm", "transfer.freeze=[encoders.image.*]"),
            "regularizer=stochnorm: no batch norm that trains came from the source",
        ),
        (
            ("regularizer=rkd", "transfer.freeze=[encoders.*]"),
            "regularizer=rkd: no encoder of the target that trains is built like one of",
        ),
        (
            (
                "target.columns={image: picture, tabular: [b]}",
                "transfer=structure",
                "regularizer=rkd",
                "modalities=[tabular]",
            ),
            "regularizer=rkd: no encoder of the target that trains is built like one of",
        ),
        (
            ("control=linear_probe", "target.columns={image: picture, tabular: [b]}"),
            "control linear_probe: the source's tabular encoder fits only in part",
        ),
        (
            (
                "source.columns={image: photo}",
                "target.columns={audio: sound}",
                "transfer.map={audio: image}",
                "encoder/audio=spectrogram_cnn",
                "encoder.audio.width=16",
            ),
            "3 of the 24 tensors of the audio encoder would come from the source's image encoder",
        ),
    ],
)
def test_what_cannot_be_transferred_is_refused_before_the_source_is_trained(
    tables: dict[str, Path],
    tmp_path: Path,
    overrides: Callable[..., list[str]],
    prepared: Prepared,
    options: tuple[str, ...],
    message: str,
) -> None:
    lines = tables["one"].read_text().splitlines()
    source = tables["one"].parent / "alike.csv"  # next to its images
    alike = [f"{row},{('Low', 'low')[k % 2]}" for k, row in enumerate(lines[1:])]
    source.write_text("\n".join([f"{lines[0]},a_third", *alike]) + "\n")
    used = ("image", "audio") if "encoder/audio=spectrogram_cnn" in options else TWO
    given = overrides(source, tables["two"], used, "control=none", *options)
    experiment, directory = prepared(given, tmp_path)
    heard: list[Event] = []
    with pytest.raises(TransferError) as caught:
        stages.run(experiment, directory, heard.append, StopRequest(), cached=False)
    assert caught.value.message.startswith(message)
    assert not directory.stage_file("source").exists()
    assert [event for event in heard if event.kind == "stage"] == []


@pytest.mark.parametrize(
    ("mode", "said"),
    [("parameter", True), ("feature", True), ("joint", True), ("structure", False)],
)
def test_a_source_of_another_scale_is_noted(
    once: Callable[[list[str]], Any],
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    mode: str,
    said: bool,
) -> None:
    given = overrides(tables["one"], tables["two"], ("image",), "control=none", "trainer.epochs=1")
    run = once([*given, f"transfer={mode}", "source.image.size=48", "target.image.size=32"])
    text = (
        "image: the source's images are 48×48 pixels, the target's 32×32, so objects may differ in "
        "size too: target.image.size=48 or source.image.size=32 makes them alike"
    )
    assert (text in run.summary()["notes"]) == said
    assert (text in (run.path / "run.log").read_text()) == said
