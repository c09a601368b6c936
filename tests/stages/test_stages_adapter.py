"""Whole runs with adapters inside, or with a sparsity pattern over fresh weights."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mmx import execution
from mmx.cli import main
from mmx.config import compose
from mmx.errors import ConfigError
from mmx.evaluation.predict import predict
from mmx.experiment import Experiment, assemble
from mmx.runs.directory import RunDirectory
from mmx.stages.core.reload import load_trained, open_trained
from mmx.training import checkpoint
from mmx.training.events import Event
from mmx.training.precision import Precision
from mmx.transfer.adapters import base_name

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
Train = Callable[..., RunDirectory]
Line = Callable[..., list[str]]
Prepared = Callable[[list[str], Path], tuple[Experiment, RunDirectory]]
FOUR = ("image", "audio", "text", "tabular")
LSTMS = (
    "encoder/text=lstm",
    "encoder.text.embedding=4",
    "encoder/audio=logmel_lstm",
)
LORA = ("transfer=adapter", "transfer.rank=2", *LSTMS)
BOTTLENECK = ("transfer=adapter", "transfer.kind=bottleneck", "transfer.width=3")
CHANNEL = ("transfer=structure", "transfer.sparsity=channel", *LSTMS)
N_OF_M = ("transfer=structure", "transfer.sparsity=n_m", "transfer.fusion_weights=true")
ADAPTED = pytest.mark.parametrize("options", [LORA, BOTTLENECK], ids=["lora", "bottleneck"])
EACH = pytest.mark.parametrize(
    "options",
    [LORA, BOTTLENECK, CHANNEL, (*N_OF_M, "fusion=gmu")],
    ids=["lora", "bottleneck", "channel", "n_m"],
)


@pytest.fixture
def run(train: Train, overrides: Line, tables: dict[str, Path]) -> Train:
    """Return ``run(*more)``: four modalities, from one table to the other, no control."""

    def run(*more: str) -> RunDirectory:
        return train(*overrides(tables["one"], tables["two"], FOUR, "control=none", *more))

    return run


def experiment_of(run: RunDirectory) -> Experiment:
    return assemble(yaml.safe_load((run.path / "config.yaml").read_text()))


@EACH
def test_a_reopened_run_answers_as_it_did(run: Train, options: tuple[str, ...]) -> None:
    done = run(*options)
    experiment = experiment_of(done)
    loaded = load_trained(experiment, done, CPU)
    assert loaded.frozen_encoders == ()
    tensors, facts = checkpoint.read_checkpoint(done.stage_file("target"))
    assert loaded.model.state_dict().keys() == tensors.keys()
    precision = Precision.choose(done.summary()["precision"], CPU)
    data = open_trained(experiment, loaded, experiment.target.load(), precision)
    outputs, values = predict(loaded.model, data, data.rows("val"), precision)
    accuracy = (outputs.argmax(1) == values).double().mean().item()
    assert accuracy == pytest.approx(facts["fitted"]["val"]["accuracy"])
    loss = torch.nn.functional.cross_entropy(outputs.double(), values).item()
    assert loss == pytest.approx(facts["fitted"]["val"]["loss"], rel=1e-5)


@EACH
def test_eval_gives_what_the_run_gave(
    run: Train, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(*options)
    assert main(["eval", str(done.path)]) == 0
    found = json.loads(capsys.readouterr().out)["test"]
    assert found == done.summary()["target"]["metrics"]["test"]


@ADAPTED
def test_the_sources_weights_are_in_the_targets_checkpoint(
    run: Train, options: tuple[str, ...]
) -> None:
    done = run(*options)
    report = json.loads((done.path / "transfer.json").read_text())
    source, _ = checkpoint.read_checkpoint(done.stage_file("source"))
    target, _ = checkpoint.read_checkpoint(done.stage_file("target"))
    assert len(report["frozen"]) > 10
    for name in report["frozen"]:
        assert torch.equal(target[name], source[base_name(name)]), name
    named = [*report["copied"], *report["adapted"], *report["frozen"], *report["fresh"]]
    assert sorted(named) == sorted(target)
    assert done.summary()["transfer"]["frozen"] == len(report["frozen"])


@ADAPTED
def test_how_many_parameters_train(run: Train, options: tuple[str, ...]) -> None:
    done = run(*options)
    report = json.loads((done.path / "transfer.json").read_text())
    target, _ = checkpoint.read_checkpoint(done.stage_file("target"))
    sizes = {n: t.numel() for n, t in target.items() if "running" not in n and "num_b" not in n}
    trained = sum(size for name, size in sizes.items() if name not in report["frozen"])
    params = done.summary()["params"]
    assert (params["total"], params["trainable"]) == (sum(sizes.values()), trained)
    adapters = sum(s for n, s in sizes.items() if n in report["fresh"] and "encoders." in n)
    (note,) = [note for note in done.summary()["notes"] if "adapters of" in note]
    assert f" {adapters:,} parameters, in encoders of {sum(sizes.values()) - trained:,} " in note


def test_predicting_with_adapters(run: Train, tables: dict[str, Path], tmp_path: Path) -> None:
    done = run(*LORA)
    out = tmp_path / "answers.csv"
    assert main(["predict", str(done.path), str(tables["two"]), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + 48


def kept(tensor: torch.Tensor, options: tuple[str, ...]) -> float:
    """Return which part of a layer's weights a pattern keeps at its default options."""
    if options == CHANNEL:
        return 0.5
    inputs = tensor.shape[1]
    groups = [min(4, inputs - first) for first in range(0, inputs, 4)]
    return sum(min(2, size) for size in groups) / inputs


@pytest.mark.parametrize("options", [CHANNEL, (*N_OF_M, "fusion=gmu")], ids=["channel", "n_m"])
def test_the_density_is_stated_and_true(run: Train, options: tuple[str, ...]) -> None:
    done = run(*options)
    density = done.summary()["transfer"]["density"]
    tensors, _ = checkpoint.read_checkpoint(done.stage_file("target"))
    matrices = {n: t for n, t in tensors.items() if n.startswith("encoders.") and t.dim() > 1}
    dense = {"encoders.image.stages.0.0.weight", "encoders.tabular.layers.0.0.weight"}
    if options == CHANNEL:  # with LSTMs; of one layer they have one depth
        dense |= {"encoders.text.words.embedding.weight"}
    else:  # a CNN over sound, and the mean of words
        dense |= {"encoders.audio.convolutions.0.weight", "encoders.text.words.embedding.weight"}
    assert matrices.keys() - dense == density.keys()
    for name, part in density.items():
        assert part == pytest.approx(kept(matrices[name], options), abs=1e-6), name
        assert part == pytest.approx(matrices[name].ne(0).double().mean().item(), abs=1e-6), name
    assert json.loads((done.path / "transfer.json").read_text())["density"] == density
    assert [note for note in done.summary()["notes"] if note.startswith("the image encoder keeps")]


def test_a_fusion_travels_without_its_encoders(run: Train) -> None:
    report = json.loads((run(*N_OF_M, "fusion=gmu").path / "transfer.json").read_text())
    assert report["copied"]
    assert all(name.startswith("fusion.") for name in report["copied"])


def test_a_regulariser_makes_the_source_be_trained(run: Train) -> None:
    plainly = run("transfer=structure")
    held = run("transfer=structure", "regularizer=similarity")
    assert plainly.summary()["timing"]["source_s"] == 0
    assert not plainly.stage_file("source").exists()
    assert held.stage_file("source").exists()
    assert held.summary()["transfer"]["copied"] == 0
    metrics = [each.summary()["target"]["metrics"]["val"]["loss"] for each in (plainly, held)]
    assert metrics[0] != metrics[1]


def test_structure_alone_equals_scratch(
    train: Train, overrides: Line, tables: dict[str, Path]
) -> None:
    line = overrides(tables["one"], tables["two"], ("image",), "transfer=structure")
    found = train(*line).summary()
    assert found["control"]["scratch"]["metrics"] == found["target"]["metrics"]
    assert found["gain"]["value"] == 0


@EACH
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    train: Train,
    overrides: Line,
    tables: dict[str, Path],
    prepared: Prepared,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    line = overrides(tables["one"], tables["two"], FOUR, "control=none", *options)
    whole = train(*line)
    experiment, again = prepared(line, tmp_path)

    def interrupt(event: Event) -> None:
        if (event.kind, str(event.stage), event.epoch) == ("epoch", "target", 1):
            os.kill(os.getpid(), signal.SIGTERM)

    assert execution.execute(experiment, again, interrupt)["exit_code"] == 143
    assert execution.execute(experiment, again, lambda event: None)["status"] == "done"
    one, two = (checkpoint.read_checkpoint(each.stage_file("target")) for each in (whole, again))
    assert one[0].keys() == two[0].keys()
    assert all(torch.equal(tensor, two[0][name]) for name, tensor in one[0].items())
    assert one[1]["fitted"]["val"] == two[1]["fitted"]["val"]


@pytest.mark.parametrize(
    ("more", "given", "reason"),
    [
        (
            ["transfer=structure", "transfer.fusion_weights=true", "fusion=late_mean"],
            "transfer.fusion_weights=true",
            "has nothing to take: this fusion has no weights but those of its outputs",
        ),
        (["transfer=adapter", "transfer.width=4"], "transfer", "`width` (=4) is read only where"),
        (["transfer=adapter", "regularizer=l2_sp"], "regularizer=l2_sp", "has nothing to hold"),
        (["transfer=structure", "transfer.n=4"], "transfer", "`n` (=4) is read only where"),
    ],
)
def test_what_does_not_fit_is_said_before_data_is_opened(
    overrides: Line, tables: dict[str, Path], more: list[str], given: str, reason: str
) -> None:
    with compose.composer():
        config: dict[str, Any] = compose.compose_job(
            overrides(tables["one"], tables["two"], ("image", "tabular"), *more)
        ).config
    with pytest.raises(ConfigError) as caught:
        assemble(config)
    (problem,) = caught.value.problems
    assert problem.given == given
    assert problem.reason.startswith(reason)
