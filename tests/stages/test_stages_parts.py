"""Whole runs with every part that stands between encoders and the answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from catalogue import classes, keys, options, variants

from mmx import execution
from mmx.balance.base import Balance
from mmx.cli import main
from mmx.config import compose
from mmx.errors import ConfigError
from mmx.experiment import assemble
from mmx.fusion import Fusion
from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint
from mmx.training.events import Event

pytestmark = pytest.mark.slow

Train = Callable[..., RunDirectory]
Overrides = Callable[..., list[str]]
THREE = ("image", "text", "tabular")


def summary(run: RunDirectory) -> dict:
    found = run.summary()
    assert found["status"] == "done"
    assert 0 <= found["target"]["metrics"]["test"]["accuracy"] <= 1
    return found


@pytest.fixture
def alone(train: Train, overrides: Overrides, tables: dict[str, Path]) -> Train:
    """Return ``run(*more)``: one table, three modalities, no source."""

    def run(*more: str) -> RunDirectory:
        return train(*overrides(None, tables["two"], THREE, *more))

    return run


@pytest.mark.parametrize("fusion", options("fusion"))
def test_every_fusion_runs_to_its_end(alone: Train, fusion: str) -> None:
    found = summary(alone(f"fusion={fusion}", "trainer.epochs=1"))
    assert found["fusion"] == fusion
    assert found["cost"]["flops_per_sample"] > 1000
    assert found["params"]["trainable"] == found["params"]["total"]


@pytest.mark.parametrize("mapping", variants("mapping"))
def test_a_mapping_travels_with_the_checkpoint(alone: Train, mapping: str) -> None:
    narrow = ["mapping.width=4"] if "width" in keys("mapping", mapping) else []
    run = alone(f"mapping={mapping}", *narrow)
    summary(run)
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    mapped = [name for name in tensors if name.startswith("mapping.")]
    assert mapped
    assert any(tensors[name].abs().sum() > 0 for name in mapped)


@pytest.mark.parametrize("missing", [name for name in variants("missing") if name != "mask"])
def test_missing_modalities(alone: Train, missing: str) -> None:
    masked, other = summary(alone()), summary(alone(f"missing={missing}"))
    assert other["target"]["metrics"]["val"] != masked["target"]["metrics"]["val"]


def test_missing_drop_says_how_many_rows_it_leaves_out(alone: Train) -> None:
    # rows 9, 23 and 30 lack the image, rows 14, 22, 30 and 46 the words
    assert (
        "two: missing=drop leaves out 6 of 24 training rows"
        in summary(alone("missing=drop"))["notes"]
    )


def test_a_column_that_a_word_has_made_categorical_is_noted(
    train: Train, overrides: Overrides, tables: dict[str, Path]
) -> None:
    lines = tables["two"].read_text().splitlines()
    head, cells = lines[0].split(","), lines[4].split(",")
    assert cells[head.index("split")] == "train"
    cells[head.index("a")] = "n/a"
    path = tables["two"].with_name("word.csv")
    path.write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:], ""]))
    said = [n for n in summary(train(*overrides(path, path, ("tabular",))))["notes"] if "'a'" in n]
    read = [note for note in said if "as words" in note]
    assert read == [read[0]] * 2  # of the source and of the target
    assert read[0].startswith("word: tabular: column 'a' is read as words, since 1 of ")


BALANCES: dict[str, type[Balance]] = {
    name: kind for name, kind in classes("balance").items() if not kind.mixes_inputs_of
}
"""Those that a table of numbers can have; its own test covers one that mixes images."""


@pytest.mark.parametrize("balance", BALANCES)
def test_balance(alone: Train, balance: str) -> None:
    kind = BALANCES[balance]
    changes_rows = kind.draw is not Balance.draw or kind.mix is not Balance.mix
    plain, other = summary(alone()), summary(alone(f"balance={balance}"))
    same = other["target"]["metrics"]["val"] == plain["target"]["metrics"]["val"]
    assert same == (not changes_rows)  # every class has eight training rows: all weigh one
    classes = other["target"]["classes"]
    assert sum(map(sum, classes["confusion"])) == 15


TRUNK, HEAD = 2 * (8 * 8 + 8), 8 * 3 + 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("sharing.modalities=false", 0),
        ("sharing.modalities=true", TRUNK),
        ("sharing.classifier=true", TRUNK + HEAD),
    ],
)
def test_sharing_over_modalities(alone: Train, options: str, expected: int) -> None:
    run = alone("sharing=trunk", options, "sharing.width=8", "fusion=late_mean")
    assert summary(run)["params"]["shared"] == expected


def test_modality_dropout_changes_training_alone(alone: Train) -> None:
    plain, dropped = summary(alone()), summary(alone("trainer.modality_dropout=0.5"))
    assert plain["target"]["metrics"]["val"]["loss"] != dropped["target"]["metrics"]["val"]["loss"]


def test_match_params(alone: Train) -> None:
    for fusion in ("concat", "gmu", "late_mean"):
        run = alone("match=params", "match_params=3000", f"fusion={fusion}")
        assert summary(run)["params"]["fusion"] == pytest.approx(3000, rel=0.05)


SETTLING = [name for name, kind in classes("fusion").items() if kind.settle is not Fusion.settle]


@pytest.mark.parametrize("fusion", SETTLING)
def test_what_settles_after_training_is_in_the_checkpoint(alone: Train, fusion: str) -> None:
    chosen = ["fusion.alpha=validation"] if "alpha" in keys("fusion", fusion) else []
    run = alone(f"fusion={fusion}", *chosen)
    found = summary(run)
    _, facts = checkpoint.read_checkpoint(run.stage_file("target"))
    assert facts["fitted"]["val"] == found["target"]["metrics"]["val"]
    assert facts["notes"]
    assert all(note in found["notes"] for note in facts["notes"])


def test_the_cost_is_stated(alone: Train) -> None:
    found = summary(alone())
    assert found["cost"]["flops_per_sample"] > 1000
    assert 0 < found["timing"]["seconds_per_sample"] < 10
    params = found["params"]
    assert params["fusion"] == 24 * 3 + 3
    assert params["fusion"] < params["trainable"] == params["total"]


def test_signs_of_life_of_the_modalities(alone: Train) -> None:
    entries = alone().metrics()
    seen = {(e["epoch"], e["split"], e["name"]) for e in entries}
    for epoch in (1, 2):
        assert {(epoch, "gradient", name) for name in THREE} <= seen
        # seven of the nine validation rows have an image: too few to probe
        assert {name for at, split, name in seen if (at, split) == (epoch, "probe")} == {
            "text",
            "tabular",
        }


def test_contrastive_pretraining_of_the_source(
    train: Train, overrides: Overrides, tables: dict[str, Path]
) -> None:
    run = train(
        *overrides(tables["one"], tables["two"], THREE, "source_objective=info_nce"),
        "control=none",
    )
    found = summary(run)
    metrics = found["source"]["metrics"]["val"]
    assert metrics.keys() == {"loss", "recall@1", "recall@5", "recall@10", "median_rank"}
    source, _ = checkpoint.read_checkpoint(run.stage_file("source"))
    assert not any(name.startswith(("fusion.", "head.")) for name in source)
    report = json.loads((run.path / "transfer.json").read_text())
    assert any(name.startswith("encoders.image.") for name in report["copied"])
    assert {"head.weight", "head.bias"} <= set(report["fresh"])


def test_contrastive_training_alone_is_measured_by_retrieval(
    train: Train, overrides: Overrides, tables: dict[str, Path]
) -> None:
    run = train(*overrides(None, tables["two"], THREE, "objective=info_nce"))
    found = run.summary()["target"]["metrics"]
    assert set(found["test"]) == {"loss", "recall@1", "recall@5", "recall@10", "median_rank"}


def test_a_composed_objective(alone: Train) -> None:
    run = alone(
        "objective=combined",
        "objective.terms={cross_entropy: 1.0, info_nce: 0.1, unimodal: 0.3}",
        "objective.options={info_nce: {width: 4}}",
    )
    summary(run)
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    assert any(name.startswith("criterion.") for name in tensors)


@pytest.mark.parametrize(
    "more", [("objective=gradient_blending",), ("missing=generate", "mapping=pca")]
)
def test_what_is_fitted_beside_the_gradients_survives_an_interruption(
    train: Train,
    overrides: Overrides,
    tables: dict[str, Path],
    tmp_path: Path,
    more: tuple[str, ...],
) -> None:
    line = overrides(None, tables["two"], THREE, "trainer.epochs=3", *more)
    whole = train(*line)
    with compose.composer():
        composed = compose.compose_job([*line, "trainer.threads=1", "device=cpu"])
    experiment = assemble(composed.config)
    run = execution.create(experiment, tmp_path, choices={}, overrides=[], unresolved={})

    def interrupt(event: Event) -> None:
        if (event.kind, event.epoch) == ("epoch", 2):
            os.kill(os.getpid(), signal.SIGTERM)

    assert execution.execute(experiment, run, interrupt)["exit_code"] == 143
    assert execution.execute(experiment, run, lambda event: None)["status"] == "done"
    one, two = (checkpoint.read_checkpoint(each.stage_file("target")) for each in (whole, run))
    assert one[0].keys() == two[0].keys()
    assert all(torch.equal(tensor, two[0][name]) for name, tensor in one[0].items())
    assert one[1]["notes"] == two[1]["notes"]
    assert one[1]["fitted"]["val"] == two[1]["fitted"]["val"]


def test_a_source_for_features_has_one_fusion_for_all(
    train: Train, overrides: Overrides, tables: dict[str, Path]
) -> None:
    states = []
    for fusion in ("gmu", "transformer"):
        line = overrides(tables["one"], tables["two"], THREE, "transfer=feature", "control=none")
        run = train(*line, f"fusion={fusion}")
        states.append(checkpoint.read_checkpoint(run.stage_file("source"))[0])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_mapping_is_fitted_to_the_target_whatever_the_source_had(
    train: Train, overrides: Overrides, tables: dict[str, Path]
) -> None:
    line = overrides(tables["one"], tables["two"], THREE, "control=none", "mapping=pca")
    run = train(*line, "mapping.width=4", "~source.columns.text")
    tensors, facts = checkpoint.read_checkpoint(run.stage_file("target"))
    for name in THREE:
        assert tensors[f"mapping.maps.{name}.components"].abs().sum() > 0
    report = json.loads((run.path / "transfer.json").read_text())
    assert not any(name.startswith("mapping.") for name in report["copied"])
    assert any(note.startswith("the mapping was fitted to encoders") for note in facts["notes"])


def test_eval_gives_the_same_loss_where_rows_were_left_out(
    alone: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run = alone("missing=drop", "balance=weights", "target.fraction=0.7")
    assert main(["eval", str(run.path)]) == 0
    found = json.loads(capsys.readouterr().out)["test"]
    assert found == run.summary()["target"]["metrics"]["test"]


def test_mixup_is_refused_where_heads_are_weighed_by_their_losses(
    overrides: Overrides, tables: dict[str, Path]
) -> None:
    line = overrides(None, tables["two"], THREE, "balance=mixup", "objective=gradient_blending")
    with compose.composer():
        config = compose.compose_job(line).config
    with pytest.raises(ConfigError) as caught:
        assemble(config)
    (problem,) = caught.value.problems
    assert problem.given == "balance=mixup"
    assert problem.type_this == "balance=none"
