"""Source and target trained together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmx.encoders import Encoder
from mmx.errors import TransferError
from mmx.fusion.concat import Concat
from mmx.modalities import Features, Spec
from mmx.model import MultimodalModel, Parts
from mmx.runs.directory import RunDirectory
from mmx.sharing.tasks import Tasks
from mmx.sharing.tasks_modalities import TasksModalities
from mmx.stages.joint import share, twin
from mmx.training import checkpoint

Train = Callable[..., RunDirectory]


class Line(Encoder):
    def __init__(self, spec: Spec, *, given: int = 3, width: int = 4) -> None:
        super().__init__()
        self.width = width
        self.layer = torch.nn.Linear(given, width)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> Features:
        x = self.layer(x)
        return Features(x[:, None], torch.ones(len(x), 1) > 0, x)


def model(names: str, outputs: int, sharing: Tasks, given: int = 3) -> MultimodalModel:
    encoders = {name: lambda spec: Line(spec, given=given) for name in names}
    specs = {name: Spec() for name in names}
    return MultimodalModel(specs, encoders, Concat, outputs, Parts(sharing=sharing))


def test_tasks_share_encoders_adapters_and_each_modalitys_trunk() -> None:
    mine, other = model("ab", 2, Tasks(width=5, depth=1)), model("bc", 3, Tasks(width=5, depth=1))
    (note,) = share(mine, other)
    encoder, adapter, layer = 3 * 4 + 4, 4 * 5 + 5, 5 * 5 + 5
    assert note == (
        "source and target share the b encoder, the trunk: "
        f"{encoder + adapter + layer:,} parameters"
    )
    assert other.encoders["b"].layer.weight is mine.encoders["b"].layer.weight
    assert other.encoders["c"] not in list(mine.encoders.values())
    assert other.trunk.layers["b"] is mine.trunk.layers["b"]
    assert other.head is not mine.head


def test_a_shared_encoder_has_statistics_for_each_task() -> None:
    mine = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    other = twin(mine)
    assert [id(p) for p in other.parameters()] == [id(p) for p in mine.parameters()]
    other(torch.randn(4, 1, 5, 5) + 3)
    assert other[1].running_mean.abs().sum() > 0
    assert mine[1].running_mean.abs().sum() == 0
    other(torch.randn(4, 1, 5, 5)).sum().backward()
    assert mine[0].weight.grad is not None


def test_one_trunk_for_all_modalities_of_both_tasks() -> None:
    sharing = TasksModalities(width=5, depth=1)
    mine, other = model("a", 2, sharing), model("c", 3, sharing)
    (note,) = share(mine, other)
    assert note == "source and target share the trunk: 30 parameters"
    assert other.trunk.body("c") is mine.trunk.body("a")


def test_encoders_of_other_shapes_are_kept_apart_and_named() -> None:
    mine = model("ab", 2, Tasks(width=5, depth=1))
    other = model("ab", 3, Tasks(width=5, depth=1), given=6)
    notes = share(mine, other)
    assert notes[1:] == (
        "each task keeps the a encoder (its inputs have other shapes) for itself",
        "each task keeps the b encoder (its inputs have other shapes) for itself",
    )
    assert other.fusion is mine.fusion


def test_tasks_without_a_common_modality_share_nothing() -> None:
    with pytest.raises(TransferError, match="no modality in common") as caught:
        share(model("a", 2, Tasks()), model("c", 3, Tasks()))
    assert caught.value.tip == "sharing=none trains them one after the other"


def test_what_is_fitted_is_fitted_for_both_tasks(
    train: Train, overrides: Callable[..., list[str]], tables: dict[str, Path]
) -> None:
    modalities = ("image", "tabular")
    line = overrides(tables["one"], tables["two"], modalities, "control=none", "sharing=tasks")
    run = train(
        *line,
        "missing=mean",
        "mapping=pca",
        "mapping.width=4",
        "source_objective=gradient_blending",
    )
    tensors, _ = checkpoint.read(run.stage_file("target"))
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
    for number, row in enumerate(rows):
        cells = row.split(",")
        cells[column] = cells[column] if number == 47 else ""
        seldom.append(",".join(cells))
    path = tables["one"].with_name("seldom.csv")
    path.write_text("\n".join([header, *seldom]) + "\n")
    line = overrides(path, tables["two"], ("text", "tabular"), "sharing=tasks", "control=none")
    run = train(*line, "trainer.batch_size=4", "~target.columns.text")
    assert run.summary()["status"] == "done"


@pytest.mark.parametrize("sharing", ["tasks", "tasks_modalities"])
def test_a_joint_run(
    train: Train,
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
    sharing: str,
) -> None:
    line = overrides(tables["one"], tables["two"], ("image", "tabular"), f"sharing={sharing}")
    run = train(*line, "sharing.width=8")
    found = run.summary()
    assert found["transfer"]["mode"] == "joint"
    assert 0 <= found["source"]["metrics"]["val"]["accuracy"] <= 1
    assert found["params"]["shared"] > 0
    assert any(note.startswith("source and target share the ") for note in found["notes"])
    assert "gain" in found
    tensors, _ = checkpoint.read(run.stage_file("target"))
    assert tensors["encoders.image.stages.0.0.weight"].equal(
        tensors["companion.encoders.image.stages.0.0.weight"]
    )
    assert not tensors["head.weight"].equal(tensors["companion.head.weight"])
    control, _ = checkpoint.read(run.stage_file("control"))
    assert not any(name.startswith("companion.") for name in control)
