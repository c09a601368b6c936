"""Whole runs of ``transfer=feature`` with every head: selection, resuming, reading back."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_pages import HtmlPage
from refusals import check_error, read_error
from torch import Tensor

from mmx import execution
from mmx.cli import main
from mmx.config import compose
from mmx.errors import ConfigError
from mmx.experiment import Experiment, assemble
from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint
from mmx.training.events import Event
from mmx.transfer.heads import HEADS, FittedHead
from mmx.transfer.heads.closed_form import LAMBDAS
from mmx.transfer.heads.logistic import CS

Train = Callable[..., RunDirectory]
Overrides = Callable[..., list[str]]
TWO = ("image", "tabular")
FITTED = [name for name, kind in HEADS.items() if issubclass(kind, FittedHead)]
GRIDS = {"logistic": CS, "closed_form": LAMBDAS}
FEATURE = ("transfer=feature", "precision=fp32")


@pytest.fixture
def line(overrides: Overrides, tables: dict[str, Path]) -> Callable[..., list[str]]:
    """Return ``line(*more)``: overrides of a feature transfer between two tables."""
    return lambda *more: overrides(tables["one"], tables["two"], TWO, *FEATURE, *more)


@pytest.fixture
def run(train: Train, line: Callable[..., list[str]]) -> Train:
    return lambda *more: train(*line("control=none", *more))


def tensors(directory: RunDirectory, stage: str = "target") -> dict[str, Tensor]:
    return checkpoint.read_checkpoint(directory.stage_file(stage))[0]


def refused(line: list[str]) -> list[str]:
    with compose.composer():
        config = compose.compose_job(line).config
    with pytest.raises(ConfigError) as caught:
        assemble(config)
    return [str(problem) for problem in caught.value.problems]


def samples(timing: dict[str, float]) -> object:
    """Return the training samples that throughput and seconds stand for, as rounded as they are."""
    rate, seconds = timing["train_samples_per_s"], timing["target_s"]  # to 0.1 and to 0.001
    return pytest.approx(rate * seconds, abs=0.001 * rate + 0.1 * seconds)


# fitted heads


@pytest.mark.parametrize("head", FITTED)
def test_a_fitted_head_takes_no_step(run: Train, head: str) -> None:
    directory = run(f"transfer.head={head}")
    found = directory.summary()
    target, transfer = found["target"], found["transfer"]
    assert (target["best_epoch"], target["steps"]) == (0, 0)
    assert transfer["frozen"] > 0
    epochs = [e for e in directory.metrics() if e["stage"] == "target"]
    assert {(e["epoch"], e["step"], e["split"]) for e in epochs} == {(1, 0, "val")}
    assert {e["name"]: e["value"] for e in epochs} == target["metrics"]["val"]
    page = HtmlPage.read(directory.path / "report.html")
    assert "accuracy on validation" in page.charts  # of one look
    assert samples(found["timing"]) == 24
    assert ("grid" in transfer) == bool(HEADS[head].varied)
    if head not in GRIDS:
        return
    grid, values = transfer["grid"], GRIDS[head]
    assert grid["option"] == HEADS[head].varied
    assert [float(each) for each in grid["val"]] == sorted(values, reverse=head != "logistic")
    assert grid["val"][f"{grid['chosen']:g}"] == target["metrics"]["val"]
    scores = [(each["accuracy"], -each["loss"]) for each in grid["val"].values()]
    assert list(grid["val"]).index(f"{grid['chosen']:g}") == scores.index(max(scores))
    name = (
        f"{grid['option']}={grid['chosen']:g} of {len(values)} values chosen on 9 validation rows"
    )
    assert any(note.startswith(name) for note in found["notes"])


@pytest.mark.parametrize("head", HEADS)
def test_it_is_read_back(run: Train, head: str, capsys: pytest.CaptureFixture[str]) -> None:
    directory = run(f"transfer.head={head}")
    capsys.readouterr()
    assert main(["eval", str(directory.path)]) == 0
    found = json.loads(capsys.readouterr().out)["test"]
    assert found == directory.summary()["target"]["metrics"]["test"]
    assert main(["predict", str(directory.path)]) == 0
    with Path(capsys.readouterr().out.strip()).open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = np.mean([row["prediction"] == row["target"] for row in rows])
    assert right == pytest.approx(found["accuracy"])


@pytest.mark.parametrize("head", ["logistic", "closed_form"])
def test_what_is_fitted_stands_in_a_linear_head(run: Train, head: str) -> None:
    directory = run(f"transfer.head={head}")
    found = tensors(directory)
    assert found["head.weight"].shape == (3, 16)
    assert found["head.bias"].shape == (3,)
    assert directory.summary()["params"]["trainable"] == 3 * 16 + 3


def test_the_training_rows_travel_with_knn(run: Train) -> None:
    directory = run("transfer.head=knn", "transfer.k=40", "transfer.temperature=0.2")
    found = tensors(directory)
    assert found["head.keys"].shape == (24, 16)
    assert torch.allclose(found["head.keys"].norm(dim=1), torch.ones(24), atol=1e-6)
    assert found["head.values"].sum(1).tolist() == [1.0] * 24
    summary = directory.summary()
    assert "all 24 training rows vote: there are fewer than k=40" in summary["notes"]
    assert summary["params"]["trainable"] == 0


def test_a_grid_of_ones_own(run: Train) -> None:
    found = run("transfer.head=logistic", "transfer.grid=[1e-6,1e-5]").summary()
    assert list(found["transfer"]["grid"]["val"]) == ["1e-06", "1e-05"]
    (note,) = [each for each in found["notes"] if each.startswith("C=")]
    assert note.startswith(("C=1e-05 of 2 values", "C=1e-06 of 2 values"))
    side = "larger" if note.startswith("C=1e-05") else "smaller"
    assert note.endswith(
        f"chosen on 9 validation rows; it is the last of its side: "
        f"transfer.grid with {side} ones may do better"
    )


@pytest.mark.parametrize(
    ("head", "kind", "label", "objective"),
    [
        ("knn", "regression", "number", "mean_squared_error"),
        ("closed_form", "regression", "number", "mean_squared_error"),
        ("mlp", "regression", "number", "mean_squared_error"),
        ("knn", "multilabel", "tags", "binary_cross_entropy"),
        ("closed_form", "multilabel", "tags", "binary_cross_entropy"),
    ],
)
def test_other_kinds_of_target(
    run: Train, head: str, kind: str, label: str, objective: str
) -> None:
    found = run(
        f"transfer.head={head}",
        *(
            f"{role}.{key}"
            for role in ("source", "target")
            for key in (f"kind={kind}", f"label={label}")
        ),
        f"objective={objective}",
    ).summary()
    metric = "r2" if kind == "regression" else "f1_macro"
    assert np.isfinite(found["target"]["metrics"]["test"][metric])
    if head == "closed_form":
        values = [each[metric] for each in found["transfer"]["grid"]["val"].values()]
        assert found["target"]["metrics"]["val"][metric] == max(values)


# nothing moves, nothing leaks


@pytest.mark.parametrize("more", [("transfer.head=knn",), ("transfer.decays=[0,0.1]",), ()])
def test_frozen_is_bit_identical(run: Train, more: tuple[str, ...]) -> None:
    directory = run(*more)
    source, target = tensors(directory, "source"), tensors(directory)
    names = [name for name in target if name.startswith("encoders.")]
    assert any("running_mean" in name for name in names)
    for name in names:
        assert torch.equal(target[name], source[name]), name


# heads trained together


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("transfer.head=mlp", "transfer.width=5", "transfer.dropout=0.4"),
        ("transfer.normalize=true", "trainer.accumulate=2", "trainer.batch_size=5"),
        ("optimizer=sgd", "optimizer.weight_decay=0.05"),
    ],
)
def test_trained_together_is_trained_alone(run: Train, more: tuple[str, ...]) -> None:
    alone, together = run(*more), run("transfer.decays=[0.05,0,3]", *more)
    grid = together.summary()["transfer"]["grid"]
    assert list(grid["val"]) == ["3", "0.05", "0"]
    if grid["chosen"] != 0.05:
        together = run("transfer.decays=[0.05]", *more)
    one, other = alone.summary()["target"], together.summary()["target"]
    assert samples(together.summary()["timing"]) == 2 * 24  # epochs
    assert (one["best_epoch"], one["steps"]) == (other["best_epoch"], other["steps"])
    assert other["metrics"]["val"] == pytest.approx(one["metrics"]["val"], rel=1e-5)
    assert grid["val"]["0.05"] == pytest.approx(one["metrics"]["val"], rel=1e-5)
    before, after = tensors(alone), tensors(together)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.allclose(tensor.double(), after[name].double(), rtol=1e-4, atol=1e-6), name
    epochs = [
        {
            (e["epoch"], e["step"], e["split"], e["name"]): e["value"]
            for e in each.metrics()
            if e["stage"] == "target" and e["split"] in ("train", "val")
        }
        for each in (alone, together)
    ]
    assert epochs[1] == pytest.approx(epochs[0], rel=1e-5)


@pytest.mark.slow
def test_heads_of_many_seeds_leave_the_runs_own_as_it_is(run: Train) -> None:
    more = ("transfer.head=mlp", "transfer.width=5", "transfer.dropout=0.4", "seed=7")
    alone, together = run(*more), run("transfer.head_seeds=3", *more)
    before, after = tensors(alone), tensors(together)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.allclose(tensor.double(), after[name].double(), rtol=1e-4, atol=1e-6), name
    one, other = alone.summary()["target"], together.summary()["target"]
    assert other["metrics"]["test"] == pytest.approx(one["metrics"]["test"], rel=1e-5)
    grid = together.summary()["transfer"]["grid"]
    assert list(grid["seeds"]) == ["7", "8", "9"]
    assert grid["seeds"]["7"] == pytest.approx(one["metrics"]["val"], rel=1e-5)
    assert len({found["loss"] for found in grid["seeds"].values()}) == 3
    found = [metrics["accuracy"] for metrics in grid["seeds"].values()]
    assert (
        "3 heads that differ in seed alone, trained as one batch: validation accuracy "
        f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f} "
        f"({min(found):.3f} … {max(found):.3f}), this run's {found[0]:.3f}"
    ) in together.summary()["notes"]


def test_seeds_choose_the_decay_together(run: Train) -> None:
    decays, more = "transfer.decays=[30,0.05,0]", ("transfer.head_seeds=4", "trainer.epochs=5")
    grid = run(decays, *more).summary()["transfer"]["grid"]
    for decay in ("30", "0.05", "0"):
        one = run(f"transfer.decays=[{decay}]", *more).summary()["transfer"]["grid"]
        heads = [each["loss"] for each in one["seeds"].values()]
        assert len(set(heads)) == 4
        assert grid["val"][decay]["loss"] == pytest.approx(np.mean(heads), rel=1e-5)
        if decay == f"{grid['chosen']:g}":
            assert [each["loss"] for each in grid["seeds"].values()] == pytest.approx(heads)
    scores = {name: (each["accuracy"], -each["loss"]) for name, each in grid["val"].items()}
    assert f"{grid['chosen']:g}" == max(scores, key=lambda name: scores[name])


def test_a_decay_at_which_heads_diverge_is_named(run: Train) -> None:
    wild = ("optimizer.lr=10", "trainer.epochs=16", "trainer.source_epochs=1")
    found = run("transfer.decays=[1e9,0]", "transfer.head_seeds=2", *wild).summary()
    assert "training diverged at weight decay 1e+09 (2 of 2 seeds)" in found["notes"]
    assert found["transfer"]["grid"]["chosen"] == 0
    assert list(found["transfer"]["grid"]["val"]) == ["1000000000", "0"]
    alone = run("transfer.decays=[1e9,0]", *wild).summary()
    assert "training diverged at weight decay 1e+09" in alone["notes"]


def prepared(words: list[str], folder: Path) -> tuple[Experiment, RunDirectory]:
    """Return an experiment and its new run directory."""
    with compose.composer():
        composed = compose.compose_job([*words, "trainer.threads=1", "device=cpu"])
    experiment = assemble(composed.config)
    return experiment, execution.create(experiment, folder, choices={}, overrides=[], unresolved={})


def test_too_many_heads_for_the_device(
    line: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("mmx.stages.phases.fit_head.train_heads", full)
    words = line("control=none", "transfer.decays=[0,1]", "transfer.head_seeds=3")
    experiment, directory = prepared(words, tmp_path)
    outcome = execution.execute(experiment, directory, lambda event: None)
    check_error(
        read_error(outcome["error"]),
        "CUDA",
        "6 heads",
        types=("transfer.decays", "transfer.head_seeds", "trainer.batch_size"),
    )


# interrupted


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ("transfer.head=logistic", ("note", "target")),
        ("transfer.decays=[0,0.1]", ("note", "target")),
        ("transfer.decays=[0,0.1]", ("epoch", "target")),
        ("transfer.head_seeds=3", ("epoch", "target")),
        ("transfer.head=knn", ("done", "target")),
    ],
)
def test_an_interrupted_run_ends_as_the_other(
    train: Train, line: Callable[..., list[str]], tmp_path: Path, more: str, at: tuple[str, str]
) -> None:
    words = line("control=none", more)
    whole = train(*words)
    experiment, directory = prepared(words, tmp_path)

    def interrupt(event: Event) -> None:
        first = event.epoch == 1 or event.kind == "done" or event.text.startswith("tensors")
        if (event.kind, str(event.stage)) == at and first:
            os.kill(os.getpid(), signal.SIGTERM)

    assert execution.execute(experiment, directory, interrupt)["exit_code"] == 143
    assert execution.execute(experiment, directory, lambda event: None)["status"] == "done"
    one, two = tensors(whole), tensors(directory)
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    kept = ("transfer", "target", "notes", "params")
    assert {k: whole.summary()[k] for k in kept} == {k: directory.summary()[k] for k in kept}
    said = [
        [(e["epoch"], e["name"], e["value"]) for e in each.metrics() if e["stage"] == "target"]
        for each in (whole, directory)
    ]
    assert said[0] == said[1]


# refused before anything is trained


@pytest.mark.parametrize(
    ("more", "problems"),
    [
        (
            ("transfer.head=knn", "transfer.grid=[1]"),
            [
                "transfer: `grid` (=[1.0]) is read by head=closed_form and head=logistic, "
                "not by head=knn"
            ],
        ),
        (
            ("transfer.head=logistic", "fusion=concat", "fusion.hidden=4"),
            [
                "transfer.head=logistic: works on cached features, and fusion.layers.0.weight "
                "would have to be trained before them\n  type:     fusion.hidden=null"
            ],
        ),
        (
            ("transfer.decays=[0,0.1]", "mapping=linear"),
            [
                "transfer.decays=[0,0.1]: works on cached features, and mapping.maps.image.weight "
                "would have to be trained before them\n  type:     mapping=none"
            ],
        ),
        (
            ("transfer.head=mlp", "fusion=late_mean"),
            [
                "transfer.head=mlp: fusion=late_mean decides by itself: no head follows it\n"
                "  type:     fusion=concat"
            ],
        ),
        (
            ("transfer.head=mlp", "match=params"),
            [
                "match=params: counts the parameters of a plain linear head, not those of "
                "transfer.head=mlp\n  type:     match=none"
            ],
        ),
        (
            ("transfer.decays=[0,0.1]", "match=params"),
            [
                "match=params: gives the fusion parameters to train, and "
                "transfer.decays=[0,0.1] works on cached features\n  type:     match=none"
            ],
        ),
        (
            ("transfer.head=knn", "balance=resample"),
            [
                "balance=resample: changes training step by step, and transfer.head=knn works on "
                "cached features\n  type:     balance=none"
            ],
        ),
        (
            ("transfer.decays=[0]", "fusion.dropout=0.5"),
            [
                "fusion.dropout=0.5: drops at random in each step, and transfer.decays=[0] "
                "works on cached features\n  type:     fusion.dropout=0"
            ],
        ),
        (
            ("transfer.decays=[0]", "trainer.modality_dropout=0.5"),
            [
                "trainer.modality_dropout=0.5: drops at random in each step, and "
                "transfer.decays=[0] works on cached features\n"
                "  type:     trainer.modality_dropout=0"
            ],
        ),
        (
            ("transfer.head_seeds=2", "trainer.modality_dropout=0.5"),
            [
                "trainer.modality_dropout=0.5: drops at random in each step, and "
                "transfer.head_seeds=2 works on cached features\n"
                "  type:     trainer.modality_dropout=0"
            ],
        ),
        (
            ("transfer.head=closed_form", "objective=gradient_blending"),
            [
                "objective=gradient_blending: looks at more than outputs, and "
                "transfer.head=closed_form has nothing else to train\n"
                "  type:     objective=cross_entropy"
            ],
        ),
        (
            ("transfer.head=knn", "~source.columns.tabular"),
            [
                "transfer.head=knn: works on features of frozen encoders, and the source has no "
                "tabular encoder\n  type:     modalities=[image]"
            ],
        ),
        (
            ("regularizer=mmd",),
            [
                "regularizer=mmd: has nothing to hold under transfer=feature as it is set\n"
                "  accepted: none\n  type:     regularizer=none   (or transfer=parameter)"
            ],
        ),
    ],
)
def test_what_does_not_go_with_the_head(
    line: Callable[..., list[str]], more: tuple[str, ...], problems: list[str]
) -> None:
    assert refused(line(*more)) == problems


def test_logistic_needs_classes(line: Callable[..., list[str]]) -> None:
    roles = [f"{r}.{o}" for r in ("source", "target") for o in ("kind=regression", "label=number")]
    assert refused(line("transfer.head=logistic", "objective=mean_squared_error", *roles)) == [
        "transfer.head=logistic: target=two has a target of kind regression; this head is for "
        "classes\n  type:     transfer.head=closed_form"
    ]
