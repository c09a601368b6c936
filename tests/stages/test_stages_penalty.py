"""What a run says of its regulariser: its name, its options, and what it added to the loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from html_pages import HtmlPage

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
    start, end = (
        checkpoint.read_checkpoint(held.stage_file(stage))[0] for stage in ("source", "target")
    )
    ways = [
        (end[name].double() - start[name].double()).square().sum()
        for name in end
        if end[name].is_floating_point() and "running" not in name
    ]
    final = 0.25 * torch.stack(ways).sum().item()
    assert means[1] == pytest.approx(final, rel=0.5)
    assert "train.penalty" in (held.path / "run.log").read_text()
    assert "penalty in training" in HtmlPage.read(held.path / "report.html").charts


def penalties(run: RunDirectory) -> list[float]:
    """Return the means over each epoch."""
    found = (
        each for each in run.metrics() if (each["split"], each["name"]) == ("train", "penalty")
    )
    return [each["value"] for each in found]


def encoders(run: RunDirectory, stage: str) -> dict[str, torch.Tensor]:
    """Return the encoders' weights, their running statistics left out."""
    tensors = checkpoint.read_checkpoint(run.stage_file(stage))[0]
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith("encoders.") and "running" not in name and "num_batches" not in name
    }


@pytest.mark.parametrize("name", ["mmd", "coral", "distill", "rkd"])
def test_features_of_copied_encoders_are_held_while_they_move(
    train: Train, tables: dict[str, Path], overrides: Callable[..., list[str]], name: str
) -> None:
    given = overrides(tables["one"], tables["two"], ("image", "tabular"), "control=none")
    given += [
        "transfer=parameter",
        "transfer.fusion=encoders_alone",
        "trainer.epochs=1",
        "precision=fp32",
    ]
    given += ["optimizer=sgd", "optimizer.lr=0.01"]  # adam's steps have one length at first
    free, held = train(*given), train(*given, f"regularizer={name}")
    (mean,) = penalties(held)
    assert mean > 0
    assert math.isfinite(mean)
    start, end, other = encoders(held, "source"), encoders(held, "target"), encoders(free, "target")
    assert start.keys() == end.keys()
    for modality in ("image", "tabular"):
        (first, *_) = (key for key in end if key.startswith(f"encoders.{modality}."))
        assert not torch.equal(end[first], start[first])
        assert not torch.equal(end[first], other[first])
        assert end[first].isfinite().all()


@pytest.mark.parametrize("name", ["similarity", "rkd"])
def test_fresh_weights_are_held_to_the_sources_features(
    train: Train, tables: dict[str, Path], overrides: Callable[..., list[str]], name: str
) -> None:
    given = overrides(tables["one"], tables["two"], ("image", "tabular"), "control=none")
    given += ["transfer=structure", "trainer.epochs=1", "precision=fp32"]
    given += ["optimizer=sgd", "optimizer.lr=0.01"]
    free, held = train(*given), train(*given, f"regularizer={name}")
    assert not free.stage_file("source").exists()
    assert held.stage_file("source").exists()  # it is trained for the regulariser alone
    assert held.summary()["transfer"]["copied"] == 0
    (mean,) = penalties(held)
    assert mean > 0
    assert math.isfinite(mean)
    end, other = encoders(held, "target"), encoders(free, "target")
    for modality in ("image", "tabular"):
        (first, *_) = (key for key in end if key.startswith(f"encoders.{modality}."))
        assert not torch.equal(end[first], other[first])
        assert end[first].isfinite().all()
