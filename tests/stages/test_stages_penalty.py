"""What a run says of its regulariser: its name, its options, and what it added to the loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint

Train = Callable[..., RunDirectory]


def test_a_regulariser_and_its_penalty_are_written_down(
    train: Train, tables: dict[str, Path], overrides: Callable[..., list[str]]
) -> None:
    given = overrides(tables["one"], tables["two"], ("tabular",), "optimizer.lr=0.01")
    given += ["control=none", "precision=fp32"]
    plain = train(*given)
    held = train(*given, "regularizer=l2_sp", "regularizer.alpha=0.5", "regularizer.beta=0")
    assert "regularizer" not in plain.summary()["transfer"]
    assert held.summary()["transfer"]["regularizer"] == {"name": "l2_sp", "alpha": 0.5, "beta": 0.0}
    logged = {
        name: [
            (each["stage"], each["epoch"], each["value"])
            for each in run.metrics()
            if (each["split"], each["name"]) == ("train", "penalty")
        ]
        for name, run in (("plain", plain), ("held", held))
    }
    assert logged["plain"] == []
    assert [each[:2] for each in logged["held"]] == [("target", 1), ("target", 2)]
    means = [value for _, _, value in logged["held"]]
    assert 0 < means[0] < means[1]
    # Of the last epoch it is about that of the weights in the end.
    start, end = (checkpoint.read(held.stage_file(stage))[0] for stage in ("source", "target"))
    ways = [
        (end[name].double() - start[name].double()).square().sum()
        for name in end
        if end[name].is_floating_point() and "running" not in name
    ]
    final = 0.25 * torch.stack(ways).sum().item()
    assert means[1] == pytest.approx(final, rel=0.5)
    assert "train.penalty" in (held.path / "run.log").read_text()
    assert 'aria-label="train.penalty"' in (held.path / "report.html").read_text()
