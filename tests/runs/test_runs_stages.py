from __future__ import annotations

import csv
import math
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import catalogue
import pytest
import torch
from tiny_models import find_example
from torch import Tensor

from mmx import execution
from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint
from mmx.training.events import Event

pytestmark = pytest.mark.slow

Run = Callable[..., RunDirectory]
Overrides = Callable[..., list[str]]
Prepared = Callable[[list[str], Path], tuple[Any, RunDirectory]]
Tables = dict[str, Path]

FUSIONS = ("concat", "gmu", "hierarchical", "late_weighted", "weighted_sum")
MODES = ("scratch", "parameter", "feature", "structure")
CLASSES = ("loss", "accuracy", "f1_macro")


def assert_complete(summary: dict[str, Any], metrics: Sequence[str], primary: str) -> None:
    """Check that a summary with a control has every key that readers rely on."""
    target = summary["target"]["metrics"]
    control = summary["control"]["scratch"]["metrics"]
    assert summary["status"] == "done"
    for found in (target, control):
        assert list(found) == ["val", "test"]
        for split in found.values():
            assert tuple(split) == tuple(metrics)
            assert all(math.isfinite(value) for value in split.values())
    gain = summary["gain"]
    assert gain["metric"] == primary
    assert gain["value"] == target["test"][primary] - control["test"][primary]
    timing = summary["timing"]
    assert timing["target_s"] > 0
    assert timing["control_s"] > 0
    assert timing["total_s"] >= timing["source_s"] + timing["target_s"]
    assert timing["train_samples_per_s"] > 0
    assert 0 < summary["params"]["trainable"] <= summary["params"]["total"]
    assert summary["source"]["task"] == "one"
    assert summary["target"]["task"] == "two"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_runs_in_every_mode(
    train: Run, tables: Tables, overrides: Overrides, fusion: str, mode: str
) -> None:
    options = [f"fusion={fusion}", f"transfer={mode}"]
    if fusion == "hierarchical":
        options.append("fusion.width=8")
    run = train(*overrides(tables["one"], tables["two"], ("image", "text", "tabular"), *options))
    summary = run.summary()
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    counts = {key: summary["transfer"][key] for key in ("copied", "adapted", "frozen", "fresh")}
    assert summary["transfer"]["mode"] == mode
    assert summary["fusion"] == fusion
    assert sum(counts.values()) == len(tensors)
    if mode == "scratch":
        assert "control" not in summary
        assert summary["source"]["task"] == "none"
    else:
        assert_complete(summary, CLASSES, "accuracy")
    wanted = {"scratch": "fresh", "structure": "fresh", "parameter": "copied", "feature": "frozen"}
    assert counts[wanted[mode]] > 0
    partly = summary["params"]["trainable"] < summary["params"]["total"]
    assert partly == (mode == "feature")
    if mode in ("parameter", "feature"):
        assert summary["timing"]["source_s"] > 0
        assert summary["source"]["metrics"]["val"]["accuracy"] >= 0
        source, _ = checkpoint.read_checkpoint(run.stage_file("source"))
        names = [name for name in tensors if name.startswith("encoders.")]
        same = [torch.equal(tensors[name], source[name]) for name in names]
        assert all(same) == (mode == "feature")


@pytest.mark.parametrize(
    ("label", "kind", "objective", "metrics", "primary"),
    [
        ("number", "regression", "mean_squared_error", ("loss", "mse", "mae", "r2"), "r2"),
        ("tags", "multilabel", "binary_cross_entropy", CLASSES, "f1_macro"),
    ],
)
def test_numbers_and_label_sets(
    train: Run,
    tables: Tables,
    overrides: Overrides,
    label: str,
    kind: str,
    objective: str,
    metrics: Sequence[str],
    primary: str,
) -> None:
    options = [f"objective={objective}"]
    for role in ("source", "target"):
        options += [f"{role}.label={label}", f"{role}.kind={kind}"]
    run = train(*overrides(tables["one"], tables["two"], ("text", "tabular"), *options))
    summary = run.summary()
    assert_complete(summary, metrics, primary)
    low, high = summary["gain"]["interval"]
    assert low <= summary["gain"]["value"] <= high
    if kind == "regression":  # errors are in the unit of the column, not standardised
        found = summary["target"]["metrics"]["test"]
        assert found["mse"] > 2 * found["loss"]


SMALLER = {  # for speed alone
    "vit_b_16": ["layers=1", "heads=2", "width=16", "mlp_width=16"],
    "small_cnn": ["width=8"],
    "logmel_cnn": ["width=8", "mels=8"],
    "logmel_lstm": ["width=8", "mels=8"],
    "spectrogram_cnn": ["width=8", "mels=8"],
    "spectrogram_resnet18": ["mels=16"],
    "tfidf": ["width=8"],
    "embedding_mean": ["width=8"],
    "lstm": ["width=8", "embedding=8"],
    "text_cnn": ["width=9", "embedding=8"],
    "grid_cnn": ["width=8", "patch=2"],
    "mlp": ["width=8", "hidden=8"],
}
MODALITIES = ("image", "audio", "text", "tabular")


@pytest.mark.parametrize(
    ("modality", "encoder"),
    [
        (modality, encoder)
        for modality in MODALITIES
        for encoder in catalogue.options(f"encoder/{modality}")
        if encoder not in ("resnet34", "resnet50")  # only deeper than resnet18
    ],
)
def test_every_encoder_trains_where_rows_lack_its_modality(
    tables: Tables,
    overrides: Overrides,
    prepared: Prepared,
    tmp_path: Path,
    modality: str,
    encoder: str,
) -> None:
    others = ("image",) if modality == "tabular" else ("tabular",)
    given = overrides(None, tables["two"], (modality, *others))
    given = [text for text in given if not text.startswith((f"encoder.{modality}.", "encoder/"))]
    options = [f"encoder.{modality}.{option}" for option in SMALLER.get(encoder, ())]
    published, _ = find_example(catalogue.classes(f"encoder/{modality}")[encoder])
    options += [f"encoder.{modality}.{name}={value}" for name, value in published.items()]
    if modality == "tabular":
        options.append("target.columns={image: photo, tabular: a}")
    run = prepared(
        [
            *given,
            f"encoder/{modality}={encoder}",
            *options,
            "trainer.epochs=1",
            "trainer.batch_size=32",
        ],
        tmp_path,
    )
    assert execution.execute(*run, lambda event: None)["status"] == "done"
    summary = run[1].summary()
    assert set(summary["target"]["metrics"]["test"]) == set(CLASSES)
    assert any(f"{modality}: " in note for note in summary["notes"])  # how many lack it


def test_structure_gains_nothing_where_nothing_differs(
    train: Run, tables: Tables, overrides: Overrides
) -> None:
    run = train(*overrides(tables["one"], tables["two"], ("image",), "transfer=structure"))
    summary = run.summary()
    assert summary["gain"]["value"] == 0.0
    low, high = summary["gain"]["interval"]
    assert low == pytest.approx(-high, abs=1e-9)  # of few rows that all agree
    assert "transfer" not in summary["gain"]["verdict"]
    assert (
        "control scratch: the architecture is the source's and every weight of the run is fresh, "
        "the same as from scratch: the gain is nothing by construction; "
        "transfer.sparsity=magnitude takes the source's pattern along"
    ) in summary["notes"]
    assert summary["control"]["scratch"]["metrics"] == summary["target"]["metrics"]
    assert summary["timing"]["source_s"] == 0.0
    one, two = (
        checkpoint.read_checkpoint(run.stage_file(stage))[0] for stage in ("target", "control")
    )
    assert_same(one, two)


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def rewritten(path: Path, name: str, change: Callable[[list[dict[str, str]]], None]) -> Path:
    """Return a changed copy of a table, in the same folder."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    change(rows)
    copy = path.with_name(name)
    with copy.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return copy


def without_seconds(run: RunDirectory) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.metrics()]


def poison(rows: list[dict[str, str]]) -> None:
    tested = [row for row in rows if row["split"] == "test"]
    for row, other in zip(tested, [*tested[1:], tested[0]], strict=True):
        row["new"] = other["label"]
        row["words"] = "poison " + row["words"]
        row["a"] = "1000"
    for row in rows:
        row["label"] = row.pop("new", row["label"])


@pytest.mark.parametrize("mode", ["parameter", "feature"])
def test_nothing_but_test_metrics_depends_on_the_test_rows(
    train: Run, tables: Tables, overrides: Overrides, mode: str
) -> None:
    modalities = ("text", "tabular")
    copy = rewritten(tables["two"], "poisoned.csv", poison)
    clean = train(*overrides(tables["one"], tables["two"], modalities, f"transfer={mode}"))
    poisoned = train(*overrides(tables["one"], copy, modalities, f"transfer={mode}"))
    for stage in ("source", "target", "control"):
        one, two = (checkpoint.read_checkpoint(run.stage_file(stage)) for run in (clean, poisoned))
        assert_same(one[0], two[0])
        assert one[1]["specs"] == two[1]["specs"]
    assert without_seconds(clean) == without_seconds(poisoned)
    before, after = clean.summary(), poisoned.summary()
    assert before["target"]["metrics"]["test"] != after["target"]["metrics"]["test"]
    for summary in (before, after):
        del summary["target"]["metrics"]["test"], summary["target"]["classes"]
        del summary["target"]["every_metric"]
    assert {**before["target"], "task": ""} == {**after["target"], "task": ""}


def test_test_rows_that_the_source_was_trained_on_are_named(
    train: Run, tables: Tables, overrides: Overrides
) -> None:
    def turn(rows: list[dict[str, str]]) -> None:
        for row in rows:
            row["split"] = {"test": "train", "train": "test"}.get(row["split"], "val")
            row["label"] = row["label"].upper()

    leaking = rewritten(tables["two"], "leaking.csv", turn)
    run = train(*overrides(leaking, tables["two"], ("image",)))
    (warning,) = [note for note in run.summary()["notes"] if note.startswith("WARNING")]
    assert warning == (
        "WARNING: 15 of 15 test samples of two have the same image as training samples of "
        "leaking: the gain is not to be trusted"
    )
    assert warning in (run.path / "report.html").read_text()
    clean = train(*overrides(tables["one"], tables["two"], ("image",)))
    assert not any(note.startswith("WARNING") for note in clean.summary()["notes"])


def kept(summary: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in summary.items() if key not in ("run", "timing")}
    found["faster"] = {k: v for k, v in summary["faster"].items() if not k.endswith("_s")}
    return found


@pytest.mark.parametrize("mode", ["parameter", "feature"])
def test_a_run_that_is_interrupted_in_every_stage_ends_as_if_it_had_not_been(
    train: Run,
    tables: Tables,
    overrides: Overrides,
    prepared: Prepared,
    tmp_path: Path,
    mode: str,
) -> None:
    given = overrides(tables["one"], tables["two"], ("image", "tabular"), f"transfer={mode}")
    whole = train(*given)
    experiment, directory = prepared(given, tmp_path)
    for stage in ("source", "target", "control"):
        for kind in ("stage", "epoch"):  # before the first step, and between two epochs

            def interrupt(event: Event, where: tuple[str, str] = (stage, kind)) -> None:
                if (str(event.stage), event.kind) == where and event.epoch <= 1:
                    os.kill(os.getpid(), signal.SIGTERM)

            outcome = execution.execute(experiment, directory, interrupt)
            assert outcome["exit_code"] == 143, outcome
            assert directory.status()["status"] == "interrupted"
            assert directory.status()["signal"] == signal.SIGTERM
            assert directory.summary() == {}
    assert execution.execute(experiment, directory, lambda event: None)["status"] == "done"
    assert kept(directory.summary()) == kept(whole.summary())
    assert without_seconds(directory) == without_seconds(whole)
    for stage in ("source", "target", "control"):
        one, two = (
            checkpoint.read_checkpoint(run.stage_file(stage))[0] for run in (whole, directory)
        )
        assert_same(one, two)
        assert not directory.state_file(stage).exists()


def test_data_that_changed_since_is_refused(
    tables: Tables, overrides: Overrides, prepared: Prepared, tmp_path: Path
) -> None:
    table = rewritten(tables["two"], "changing.csv", lambda rows: None)
    experiment, directory = prepared(overrides(None, table, ("tabular",)), tmp_path)

    def stop(event: Event) -> None:
        if event.kind == "epoch":
            os.kill(os.getpid(), signal.SIGTERM)

    assert execution.execute(experiment, directory, stop)["exit_code"] == 143
    table.write_text(table.read_text().replace("x,low", "y,low", 1))
    outcome = execution.execute(experiment, directory, lambda event: None)
    message = (
        "the data of target=changing has changed since this run began\n"
        "  tip: start a new run with mmx reproduce, which says what drifted"
    )
    assert outcome == {"status": "failed", "error": message, "exit_code": 1, "expected": True}
    assert directory.status()["error"] == message
    assert "RunError" in (directory.path / "traceback.txt").read_text()


def test_a_run_that_diverges_says_so_in_its_own_status(
    tables: Tables, overrides: Overrides, prepared: Prepared, tmp_path: Path
) -> None:
    given = overrides(None, tables["two"], ("tabular",), "optimizer=sgd", "optimizer.lr=1000")
    experiment, directory = prepared([*given, "trainer.clip=null", "precision=fp32"], tmp_path)
    object.__setattr__(experiment.optimizer, "lr", 1e30)  # more than a config may ask for
    outcome = execution.execute(experiment, directory, lambda event: None)
    assert outcome["status"] == "failed"
    assert outcome["expected"] is True
    assert str(outcome["error"]).startswith("the loss is nan in stage target, epoch 1, step 2;")
    assert directory.status()["status"] == "failed"
    assert "DivergedError" in (directory.path / "run.log").read_text()
    assert not (directory.path / "summary.json").exists()
