"""Several inputs of one modality: names, encoders, transfer, controls, suites and predictions."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmx import execution
from mmx.cli import main
from mmx.config import compose
from mmx.config.chosen import find_chosen_names
from mmx.config.override_problems import check_overrides
from mmx.errors import ConfigError, DataError
from mmx.experiment import Experiment, assemble
from mmx.modalities.audio import AudioColumn
from mmx.modalities.tabular import TabularColumn
from mmx.modalities.text import TextColumn
from mmx.modalities.vector import VectorColumn
from mmx.runs.directory import RunDirectory
from mmx.stages import load_trained
from mmx.training.events import Event

pytestmark = pytest.mark.slow

Run = Callable[..., RunDirectory]
Overrides = Callable[..., list[str]]
NAMES = ("image_back", "image_front", "text_body", "text_title")
TWO = "target.columns={image: {front: photo, back: picture}, text: {title: words, body: b}}"
SMALL = [
    "encoder/text=embedding_mean",
    "encoder.text.width=8",
    "encoder.image.width=8",
    "trainer.epochs=2",
    "trainer.batch_size=12",
    "trainer.workers=0",
]


@pytest.fixture(scope="module")
def line(tables: dict[str, Path], overrides: Overrides) -> Callable[..., list[str]]:
    """Return the overrides of a target with two images and two texts."""

    def make(*more: str, source: bool = False) -> list[str]:
        given = overrides(tables["one"] if source else None, tables["two"], ("image", "text"))
        kept = [text for text in given if ".columns=" not in text]
        own = ["source.columns={image: photo, text: words}"] if source else []
        return [*kept, *own, TWO, *more]

    return make


@pytest.fixture(scope="module")
def transferred(train: Run, line: Callable[..., list[str]]) -> RunDirectory:
    return train(*line("control=[scratch,unimodal,majority]", source=True))


def build(words: list[str]) -> Experiment:
    """Return the experiment of a command line, checked as ``mmx train`` checks it."""
    with compose.composer():
        composed, problems = check_overrides(compose.parse(words), words)
        if problems:
            raise ConfigError(problems)
    return assemble(composed.config, names=find_chosen_names(composed))


def test_each_input_starts_from_the_only_one_of_its_modality(transferred: RunDirectory) -> None:
    config = transferred.config()
    report = json.loads((transferred.path / "transfer.json").read_text())
    origins = {"image_back": "image", "image_front": "image"}
    origins |= {"text_body": "text", "text_title": "text"}
    assert config["transfer"]["map"] == origins
    assert sorted(config["encoder"]) == sorted({*NAMES, "image", "text"})
    assert config["encoder"]["image_front"] == config["encoder"]["image"]
    taken = {name.split(".")[1] for name in report["copied"]}
    assert taken == set(NAMES)
    # Both texts are read with the words of the source: its embeddings mean nothing otherwise.
    trained = load_trained(assemble(config), transferred, torch.device("cpu"))
    assert trained.specs["text_title"] == trained.specs["text_body"]
    assert sorted(trained.model.encoders) == sorted(NAMES)


def test_reports_name_each_input(
    transferred: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = transferred.summary()
    assert sorted(summary["control"]["unimodal"]["candidates"]) == sorted(NAMES)
    assert main(["eval", str(transferred.path), "suite=missing,importance,noise"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert sorted(said["importance"]["overall"]["shapley"]) == sorted(NAMES)
    assert len(said["missing"]["subsets"]) == 2 ** len(NAMES)
    assert sorted(said["noise"]["modalities"]) == sorted(NAMES)


def test_predicts(transferred: RunDirectory, tables: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    assert main(["predict", str(transferred.path), str(tables["one"]), "--output", str(out)]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    assert all(row["prediction"] for row in rows)


def test_resumes_bit_for_bit(
    line: Callable[..., list[str]],
    prepared: Callable[[list[str], Path], tuple[Experiment, RunDirectory]],
    once: Callable[[list[str]], RunDirectory],
    tmp_path: Path,
) -> None:
    whole = once(line("control=none"))
    experiment, directory = prepared(line("control=none"), tmp_path / "stopped")

    def stop_in_first_epoch(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == 1:
            raise KeyboardInterrupt

    outcome = execution.execute(experiment, directory, stop_in_first_epoch)
    assert outcome["status"] == "interrupted"
    opened = assemble(directory.config())
    assert execution.execute(opened, directory, lambda event: None)["status"] == "done"
    assert directory.summary()["target"] == whole.summary()["target"]


def test_an_input_may_have_an_encoder_of_its_own(line: Callable[..., list[str]]) -> None:
    words = ["encoder/image_front=resnet18", "encoder.image_front.stem=small"]
    made = build(line("source=none", *words))
    nodes = made.config["encoder"]
    assert nodes["image_front"]["_target_"].endswith("ResNet18")
    assert nodes["image_back"]["_target_"].endswith("SmallCnn")
    assert sorted(nodes) == sorted(NAMES)
    assert made.find_name("encoder/image_front") == "resnet18"
    # A run's config is read back as it is.
    again = assemble(made.config)
    assert again.config == made.config
    assert again.fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["encoder.image_front.width=4"], ["encoder/image_front=small_cnn encoder.image_front"]),
        (["encoder/image_front=resnet"], ["encoder/image_front has no option", "resnet18"]),
        (["target.columns={image: {fr-ont: photo}}"], ["fr-ont", "closest: fr_ont"]),
        (["target.columns={image: [photo, picture]}"], ["one column", "front: a, back: b"]),
        (["target.columns={image.front: photo, image: {front: b}}"], ["are one input"]),
    ],
)
def test_what_cannot_be_says_what_to_type(
    line: Callable[..., list[str]], words: list[str], said: list[str]
) -> None:
    given = [text for text in line() if not words[0].startswith("target.columns") or text != TWO]
    with pytest.raises(ConfigError) as refused:
        build([*given, *words])
    assert all(part in str(refused.value) for part in said), str(refused.value)


def test_two_spellings_are_one(line: Callable[..., list[str]]) -> None:
    given = [text for text in line() if text != TWO]
    dotted = (
        "target.columns={image.front: photo, image.back: picture, text.title: words, text.body: b}"
    )
    assert sorted(build([*given, dotted]).encoders) == sorted(NAMES)


@pytest.fixture(scope="module")
def shared(train: Run, line: Callable[..., list[str]]) -> RunDirectory:
    return train(*line("control=none", "share_encoders=[image,text]", source=True))


def test_shared_encoders_are_one_set_of_parameters(
    shared: RunDirectory, transferred: RunDirectory, line: Callable[..., list[str]]
) -> None:
    trained = load_trained(assemble(shared.config()), shared, torch.device("cpu"))
    encoders = trained.model.encoders
    assert encoders["image_front"] is encoders["image_back"]
    assert encoders["text_title"] is encoders["text_body"]
    own = sum(p.numel() for key in ("image_back", "text_body") for p in encoders[key].parameters())
    counts, apart = shared.summary()["params"], transferred.summary()["params"]
    assert counts["shared"] == own
    assert counts["total"] == apart["total"] - own
    # Both names are in the file and in the report, with the same numbers.
    state = trained.model.state_dict()
    for name in [name for name in state if name.startswith("encoders.image_back.")]:
        assert torch.equal(state[name], state[name.replace("image_back", "image_front")])
    copied = json.loads((shared.path / "transfer.json").read_text())["copied"]
    assert {name.split(".")[1] for name in copied} == set(NAMES)


def test_inputs_with_one_encoder_are_read_alike(
    line: Callable[..., list[str]], once: Callable[[list[str]], RunDirectory]
) -> None:
    run = once(line("control=none", "share_encoders=[text]", "trainer.epochs=1"))
    specs: Any = load_trained(assemble(run.config()), run, torch.device("cpu")).specs
    assert specs["text_title"] is specs["text_body"] or specs["text_title"] == specs["text_body"]
    words = set(specs["text_title"].words)
    assert {"stone", "river", "x", "y"} <= words  # of both columns


def test_stacked_columns_are_fitted_as_one() -> None:
    one, two = TextColumn(["a b", None, "c"]), TextColumn(["d", "a", None])
    stacked = one.stack([two])
    assert stacked.texts == ["a b", None, "c", "d", "a", None]
    assert stacked.present.tolist() == [True, False, True, True, True, False]
    found = VectorColumn(np.ones((2, 3))).stack([VectorColumn(np.zeros((2, 3)))])
    assert found.vectors.tolist() == [[1.0] * 3] * 2 + [[0.0] * 3] * 2
    sounds = AudioColumn(np.zeros((2, 4), np.int16), sample_rate=8000)
    assert sounds.stack([sounds]).sample_rate == 8000
    with pytest.raises(DataError, match="cannot share an encoder"):
        TabularColumn({"a": ["1"]}).stack([TabularColumn({"b": ["2"]})])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["share_encoders=[audio]"], ["no task", "several inputs of audio", "image, text"]),
        (
            ["share_encoders=[image]", "encoder/image_front=resnet18"],
            ["image_back and image_front one encoder", "leave out encoder/image_front"],
        ),
        (
            ["share_encoders=[image]", "regularizer=delta"],
            ["regularizer=delta", "share_encoders=[]"],
        ),
    ],
)
def test_what_cannot_be_shared_is_said(
    line: Callable[..., list[str]], words: list[str], said: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        build(line(*words, source=True))
    assert all(part in str(refused.value) for part in said), str(refused.value)


def test_a_config_that_shares_none_is_as_before(line: Callable[..., list[str]]) -> None:
    assert "share_encoders" not in build(line()).config


def test_each_image_starts_from_the_same_published_weights(
    line: Callable[..., list[str]], once: Callable[[list[str]], RunDirectory], tmp_path: Path
) -> None:
    from torchvision import models

    torch.manual_seed(3)
    net = models.resnet18(weights=None)
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    words = [text for text in line() if not text.startswith(("source=", "encoder.image."))]
    run = once(
        [
            *words,
            "source=published",
            "transfer=feature",
            "control=none",
            "modalities=[image_front,image_back]",
            "encoder/image=resnet18",
            "encoder.image.stem=standard",
            f"encoder.image.weights={tmp_path / 'resnet18.pth'}",
        ]
    )
    made = assemble(run.config())
    assert sorted(made.weight_digests) == ["image_back", "image_front"]
    state = load_trained(made, run, torch.device("cpu")).model.state_dict()
    wanted = net.state_dict()["layer1.0.conv1.weight"]
    for name in ("image_back", "image_front"):
        found = [value for key, value in state.items() if key.startswith(f"encoders.{name}.")]
        assert any(each.shape == wanted.shape and torch.equal(each, wanted) for each in found)


def test_of_several_inputs_of_the_source_one_is_to_be_named(line: Callable[..., list[str]]) -> None:
    words = [text for text in line(source=True) if ".columns=" not in text]
    words += [TWO.replace("target", "source"), "target.columns={image: photo}"]
    with pytest.raises(ConfigError) as refused:
        build(words)
    assert "transfer.map={image: image_back}" in str(refused.value)
    made = build([*words, "transfer.map={image: image_back}"])
    assert made.transfer.modality_map == {"image": "image_back"}
