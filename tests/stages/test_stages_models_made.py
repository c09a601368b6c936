"""How many models a run makes, and that one without values starts as a drawn one does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmx.contract.world import World
from mmx.model import MultimodalModel
from mmx.runs.directory import RunDirectory
from mmx.stages.core.stage_model import make_meta_model, make_model, try_without_values
from mmx.transfer import Source, Transfer
from mmx.transfer.adapter import Adapter
from mmx.transfer.feature import Feature
from mmx.transfer.parameter import Parameter
from mmx.transfer.structure import Structure

Overrides = Callable[..., list[str]]
Once = Callable[[list[str]], RunDirectory]

STARTS: dict[str, Callable[[], Transfer]] = {
    "parameter": Parameter,
    "class_map": lambda: Parameter(class_map={"a": "e", "b": "f"}, fusion=True),
    "frozen": lambda: Parameter(freeze_depth=1, batch_norm="frozen", layer_decay=0.5),
    "reinitialize": lambda: Parameter(reinitialize=1),
    "thawing": lambda: Parameter(unfreeze_every=1, wise_ft="best"),
    "feature": Feature,
    "lora": Adapter,
    "bottleneck": lambda: Adapter(kind="bottleneck"),
}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the device of each model that is made."""
    devices: list[str] = []
    make = MultimodalModel.__init__

    def note(self: MultimodalModel, *given: Any, **options: Any) -> None:
        make(self, *given, **options)
        devices.append(next(self.parameters()).device.type)

    monkeypatch.setattr(MultimodalModel, "__init__", note)
    return devices


@pytest.mark.parametrize(
    ("words", "drawn"),
    [
        (("control=scratch",), 3),
        (("control=none",), 2),
        (("control=[scratch,linear_probe]",), 4),
        (("transfer=feature", "control=scratch"), 3),
        (("regularizer=delta", "control=none"), 2),
        # Pruning compares weights, so that it is tried on two drawn models.
        (("transfer=structure", "transfer.sparsity=magnitude", "control=none"), 4),
    ],
    ids=lambda given: "_".join(given) if isinstance(given, tuple) else None,
)
def test_each_stage_draws_one_model(
    words: tuple[str, ...],
    drawn: int,
    once: Once,
    tables: dict[str, Path],
    overrides: Overrides,
    made: list[str],
) -> None:
    line = overrides(tables["one"], tables["two"], ("image", "tabular"), *words)
    once([*line, "trainer.epochs=1", "cache=off"])
    assert made.count("cpu") == drawn
    # A source and a target of the checks before data is read, and of those before training.
    assert made.count("meta") <= 5


def start(transfer: Transfer, source: MultimodalModel, model: MultimodalModel) -> Any:
    given = Source(source.state_dict(), ("a", "b", "c", "d"))
    return transfer.start(given, model, ("e", "f", "b"))


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("given", ["trained", "untrained"])
def test_a_start_without_values_says_what_one_with_values_says(name: str, given: str) -> None:
    world, transfer = World(), STARTS[name]()
    transfer.equip(world.model)
    source, model = (copy.deepcopy(each).to("meta") for each in (world.source, world.model))
    expected = start(transfer, world.source, world.model)
    found = start(transfer, world.source if given == "trained" else source, model)
    assert found == expected
    assert {each.device.type for each in model.state_dict().values()} == {"meta"}


def test_a_transfer_that_reads_values_is_tried_on_drawn_models() -> None:
    tried: list[Any] = []

    def start(make: Any) -> Tensor:
        tried.append(make)
        device = "meta" if make is make_meta_model else "cpu"
        return torch.ones(2, device=device).cpu()

    assert try_without_values(start).tolist() == [1, 1]
    assert tried == [make_meta_model, make_model]


def test_pruning_says_that_it_reads_values() -> None:
    world = World()
    source, model = (copy.deepcopy(each).to("meta") for each in (world.source, world.model))
    with pytest.raises(RuntimeError, match="meta"):
        start(Structure(sparsity="magnitude"), source, model)
