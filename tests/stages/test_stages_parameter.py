"""Freezing, thawing and still statistics in whole runs: what the report says is what happened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmx.training import checkpoint

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
    source, target = (checkpoint.read(run.stage_file(s))[0] for s in ("source", "target"))
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
