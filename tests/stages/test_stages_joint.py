"""Source and target trained together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import check_error, check_notes

from mmx import execution, stages
from mmx.encoders import Encoder
from mmx.errors import Interrupted, TransferError
from mmx.experiment import assemble
from mmx.fusion import Fusion
from mmx.fusion.concat import Concat
from mmx.fusion.gmu import Gmu
from mmx.mapping import Mapping
from mmx.mapping.linear import Linear
from mmx.modalities import Features, Spec
from mmx.model import MultimodalModel, Parts
from mmx.runs.directory import RunDirectory
from mmx.sharing import Sharing
from mmx.sharing.trunk import Trunk
from mmx.stages.core.joint_model import copy_sharing_parameters, find_last_shared, share
from mmx.stages.core.reload import load_trained
from mmx.training import checkpoint
from mmx.training.events import Event, StopRequest
from mmx.transfer.weighting import WEIGHTINGS

Train = Callable[..., RunDirectory]


class Line(Encoder):
    def __init__(self, spec: Spec, *, given: int = 3, width: int = 4) -> None:
        super().__init__()
        self.width = width
        self.layer = torch.nn.Linear(given, width)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> Features:
        x = self.layer(x)
        return Features(x[:, None], torch.ones(len(x), 1) > 0, x)


def model(
    names: str,
    outputs: int,
    sharing: Sharing | None,
    given: int = 3,
    fusion: Callable[..., Fusion] = Concat,
    mapping: Callable[..., Mapping] | None = None,
) -> MultimodalModel:
    encoders = {name: lambda spec: Line(spec, given=given) for name in names}
    specs = {name: Spec() for name in names}
    return MultimodalModel(specs, encoders, fusion, outputs, Parts(sharing, mapping))


def test_tasks_share_encoders_adapters_and_each_modalitys_trunk() -> None:
    mine, other = (
        model("ab", 2, Trunk(modalities=False, width=5, depth=1)),
        model("bc", 3, Trunk(modalities=False, width=5, depth=1)),
    )
    (note,) = share(mine, other)
    encoder, adapter, layer = 3 * 4 + 4, 4 * 5 + 5, 5 * 5 + 5
    check_notes([note], (f"{encoder + adapter + layer:,}", "source", "target"))
    assert other.encoders["b"].layer.weight is mine.encoders["b"].layer.weight
    assert other.encoders["c"] not in list(mine.encoders.values())
    assert other.trunk.layers["b"] is mine.trunk.layers["b"]
    assert other.head is not mine.head


def test_a_shared_encoder_has_statistics_for_each_task() -> None:
    mine = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    other = copy_sharing_parameters(mine)
    assert [id(p) for p in other.parameters()] == [id(p) for p in mine.parameters()]
    other(torch.randn(4, 1, 5, 5) + 3)
    assert other[1].running_mean.abs().sum() > 0
    assert mine[1].running_mean.abs().sum() == 0
    other(torch.randn(4, 1, 5, 5)).sum().backward()
    assert mine[0].weight.grad is not None


def test_one_trunk_for_all_modalities_of_both_tasks() -> None:
    sharing = Trunk(width=5, depth=1)
    mine, other = model("a", 2, sharing), model("c", 3, sharing)
    (note,) = share(mine, other)
    check_notes([note], ("30 parameters", "source", "target"))
    assert other.trunk.body("c") is mine.trunk.body("a")


def test_encoders_of_other_shapes_are_kept_apart_and_named() -> None:
    mine = model("ab", 2, Trunk(modalities=False, width=5, depth=1))
    other = model("ab", 3, Trunk(modalities=False, width=5, depth=1), given=6)
    notes = share(mine, other)
    check_notes(notes[1:], ("encoder",), ("encoder",))
    check_notes([notes[0]], ("60 parameters", "source", "target"))


def test_without_a_trunk_encoders_mapping_and_fusion_are_shared() -> None:
    parts = {"fusion": Gmu, "mapping": Linear}
    mine, other = model("ab", 2, None, **parts), model("ab", 3, None, **parts)
    (note,) = share(mine, other)
    count = sum(p.numel() for n, p in mine.named_parameters() if not n.startswith("head."))
    check_notes([note], (f"{count:,}", "source", "target"))
    assert other.fusion is mine.fusion
    assert other.mapping is mine.mapping
    assert other.head is not mine.head


def test_a_fusion_of_other_widths_is_kept_apart_and_named() -> None:
    mine = model("ab", 2, None, fusion=partial(Gmu, width=6))
    notes = share(mine, model("ab", 3, None, fusion=partial(Gmu, width=7)))
    check_notes(notes, ("32 parameters", "source", "target"), ("fusion",))


def test_tasks_of_other_modalities_keep_their_fusion() -> None:
    mine, other = model("ab", 2, None, fusion=Gmu), model("b", 3, None, fusion=Gmu)
    check_notes(share(mine, other), ("16 parameters", "source", "target"))
    assert other.fusion is not mine.fusion


NOTHING = "source and target can share nothing: "


@pytest.mark.parametrize("sharing", [None, Trunk(modalities=False)])
def test_tasks_without_a_common_modality_share_nothing(sharing: Sharing | None) -> None:
    with pytest.raises(TransferError) as caught:
        share(model("a", 2, sharing), model("c", 3, sharing))
    check_error(caught.value, f"{NOTHING}they", "modality", types=("transfer=parameter",))


def test_tasks_whose_inputs_have_other_shapes_share_nothing() -> None:
    with pytest.raises(TransferError) as caught:
        share(model("ab", 2, None), model("a", 3, None, given=6))
    check_error(caught.value, f"{NOTHING}each", "encoder")


class Deep(Line):
    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.first = torch.nn.Linear(3, 3)

    def depths(self) -> tuple[tuple[str, ...], ...]:
        return (("first.",), ("layer.",), ("statistics",))  # the last of no parameters


def names_of_last(mine: MultimodalModel, other: MultimodalModel) -> set[str]:
    share(mine, other)
    names = {id(p): n for n, p in mine.named_parameters()}
    return {names[id(p)] for p in find_last_shared(mine, other)}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"fusion": Gmu, "mapping": Linear, "sharing": Trunk(modalities=False)}, "fusion."),
        ({"mapping": Linear, "sharing": Trunk(modalities=False)}, "mapping."),
    ],
)
def test_the_last_shared_part_is_that_nearest_to_the_head(
    parts: dict[str, Any], expected: str
) -> None:
    parts = {"sharing": None, **parts}
    mine, other = model("ab", 2, **parts), model("ab", 3, **parts)
    found = names_of_last(mine, other)
    assert found == {n for n, _ in mine.named_parameters() if n.startswith(expected)}


def test_the_last_shared_layers_of_a_trunk_and_of_encoders() -> None:
    sharing = Trunk(modalities=False, width=5, depth=2)
    mine, other = model("ab", 2, sharing, fusion=Gmu), model("bc", 3, sharing, fusion=Gmu)
    assert names_of_last(mine, other) == {"trunk.layers.b.2.weight", "trunk.layers.b.2.bias"}
    torch.manual_seed(0)
    mine, other = (
        MultimodalModel({n: Spec() for n in "ab"}, dict.fromkeys("ab", Deep), Concat, outputs)
        for outputs in (2, 3)
    )
    assert names_of_last(mine, other) == {
        f"encoders.{name}.layer.{part}" for name in "ab" for part in ("weight", "bias")
    }


JOINTLY = ("transfer=joint", "sharing=trunk")


def test_what_is_fitted_is_fitted_for_both_tasks(
    train: Train, overrides: Callable[..., list[str]], tables: dict[str, Path]
) -> None:
    modalities = ("image", "tabular")
    line = overrides(tables["one"], tables["two"], modalities, "control=none", *JOINTLY)
    run = train(
        *line,
        "missing=mean",
        "mapping=pca",
        "mapping.width=4",
        "source_objective=gradient_blending",
    )
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    for prefix in ("", "companion."):
        for name in modalities:
            assert tensors[f"{prefix}mapping.maps.{name}.components"].abs().sum() > 0
    assert tensors["companion.criterion.val_before"].isfinite().all()
    fitted = [name for name in tensors if name.startswith("companion.missing.")]
    assert fitted
    assert all(tensors[name].any() for name in fitted)


def test_a_modality_that_the_source_seldom_has_is_no_dead_parameter(
    train: Train, overrides: Callable[..., list[str]], tables: dict[str, Path], tmp_path: Path
) -> None:
    header, *rows = tables["one"].read_text().splitlines()
    column = header.split(",").index("words")
    seldom = []
    taught = [
        number
        for number, row in enumerate(rows)
        if "train" in row.split(",") and row.split(",")[column]
    ][-2:]
    for number, row in enumerate(rows):
        cells = row.split(",")
        cells[column] = cells[column] if number in taught else ""
        seldom.append(",".join(cells))
    path = tables["one"].with_name("seldom.csv")
    path.write_text("\n".join([header, *seldom]) + "\n")
    line = overrides(path, tables["two"], ("text", "tabular"), *JOINTLY, "control=none")
    run = train(*line, "trainer.batch_size=4", "~target.columns.text")
    assert run.summary()["status"] == "done"


@pytest.mark.parametrize("one", ["true", "false"])
def test_a_joint_run(
    train: Train,
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
    one: str,
) -> None:
    line = overrides(tables["one"], tables["two"], ("image", "tabular"), *JOINTLY)
    run = train(*line, "sharing.width=8", f"sharing.modalities={one}")
    found = run.summary()
    assert found["transfer"]["mode"] == "joint"
    assert 0 <= found["source"]["metrics"]["val"]["accuracy"] <= 1
    assert found["params"]["shared"] > 0
    assert any(note.startswith("source and target share the ") for note in found["notes"])
    assert "gain" in found
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    assert tensors["encoders.image.stages.0.0.weight"].equal(
        tensors["companion.encoders.image.stages.0.0.weight"]
    )
    assert not tensors["head.weight"].equal(tensors["companion.head.weight"])
    control, _ = checkpoint.read_checkpoint(run.stage_file("control"))
    assert not any(name.startswith("companion.") for name in control)


def results(run: RunDirectory) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the target's tensors, and all numbers of a run but its seconds."""
    summary = run.summary()
    kept = ("source", "target", "control", "gain", "transfer", "params", "notes")
    return checkpoint.read_checkpoint(run.stage_file("target"))[0], {
        key: summary[key] for key in kept
    }


def assert_same(one: RunDirectory, other: RunDirectory) -> None:
    (tensors, numbers), (others, other_numbers) = results(one), results(other)
    assert tensors.keys() == others.keys()
    assert [name for name in tensors if not tensors[name].equal(others[name])] == []
    assert numbers == other_numbers


PICTURES_AND_CELLS = ("image", "tabular")


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_joint_run_without_a_trunk(
    train: Train, overrides: Callable[..., list[str]], tables: dict[str, Path], weighting: str
) -> None:
    line = overrides(tables["one"], tables["two"], PICTURES_AND_CELLS, "transfer=joint")
    run = train(*line, f"transfer.weighting={weighting}", "fusion=gmu", "fusion.width=8")
    found = run.summary()
    assert found["transfer"]["mode"] == "joint"
    assert found["notes"][-1].startswith(
        "source and target share the image encoder, the tabular encoder, the fusion: "
    )
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    assert not any(name.startswith("trunk.") for name in tensors)
    shared = [name for name in tensors if f"companion.{name}" in tensors]
    apart = {n for n in shared if not tensors[n].equal(tensors[f"companion.{n}"])}
    statistics = ("running_mean", "running_var")
    assert {n for n in shared if n.endswith(statistics)} <= apart
    assert len(apart) > 2
    assert all(n.startswith("head.") or n.endswith(statistics) for n in apart)
    of_shared = sum(
        tensor.numel()
        for name, tensor in tensors.items()
        if name.startswith(("encoders.", "fusion."))
        and not name.endswith((*statistics, "num_batches_tracked"))
    )
    assert found["params"]["shared"] == of_shared
    assert found["params"]["total"] == of_shared + 8 * 3 + 3
    weights = found["transfer"]["weights"]
    said = [
        entry for entry in run.metrics() if (entry["stage"], entry["split"]) == ("target", "weight")
    ]
    if weighting == "fixed":
        assert weights == {"target": 1.0, "source": 1.0}
        assert said == []
        assert not any(name.startswith("weighting.") for name in tensors)
    else:
        assert [(entry["epoch"], entry["name"]) for entry in said] == [
            (1, "target"),
            (1, "source"),
            (2, "target"),
            (2, "source"),
        ]
        assert {entry["name"]: entry["value"] for entry in said[2:]} == weights
        assert all(0.5 < weight < 1.5 for weight in weights.values())
        assert weights["target"] != 1.0
    assert "weights" not in found["control"]["scratch"]


def test_the_control_of_a_joint_run_is_the_target_alone(
    train: Train, overrides: Callable[..., list[str]], tables: dict[str, Path]
) -> None:
    line = overrides(tables["one"], tables["two"], PICTURES_AND_CELLS, "fusion=gmu")
    joint = train(*line, "fusion.width=8", "transfer=joint", "transfer.weighting=gradnorm")
    alone = train(
        *overrides(None, tables["two"], PICTURES_AND_CELLS, "fusion=gmu"), "fusion.width=8"
    )
    control, _ = checkpoint.read_checkpoint(joint.stage_file("control"))
    target, _ = checkpoint.read_checkpoint(alone.stage_file("target"))
    assert control.keys() == target.keys()
    assert [name for name in control if not control[name].equal(target[name])] == []


def test_the_models_of_a_joint_run_are_read_back(
    train: Train, overrides: Callable[..., list[str]], tables: dict[str, Path]
) -> None:
    line = overrides(tables["one"], tables["two"], PICTURES_AND_CELLS, "transfer=joint")
    run = train(*line, "transfer.weighting=uncertainty", "fusion=gmu", "fusion.width=8")
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    found = load_trained(assemble(run.config()), run, torch.device("cpu"))
    state = found.model.state_dict()
    assert "weighting.log_variances" in tensors
    assert state.keys() == {
        name for name in tensors if not name.startswith(("companion.", "weighting."))
    }
    assert all(state[name].equal(tensors[name]) for name in state)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_joint_run_that_was_stopped_ends_as_if_it_had_not_been(
    train: Train,
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
    tmp_path: Path,
    stop_after: Callable[[int], StopRequest],
    weighting: str,
) -> None:
    line = overrides(tables["one"], tables["two"], PICTURES_AND_CELLS, "transfer=joint")
    line += [f"transfer.weighting={weighting}", "fusion=gmu", "fusion.width=8"]
    whole = train(*line)
    experiment = assemble(whole.config())
    directory = execution.create(
        experiment, tmp_path, choices={}, overrides=line, unresolved=whole.config()
    )
    with pytest.raises(Interrupted) as caught:
        stages.run(experiment, directory, lambda event: None, stop_after(3), cached=False)
    check_error(caught.value, "3", "of 4", "stage", "target")
    listened: list[Event] = []
    assert execution.execute(experiment, directory, listened.append)["status"] == "done"
    assert_same(directory, whole)
