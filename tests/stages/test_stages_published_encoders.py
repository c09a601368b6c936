"""Every encoder with published weights, found in ``configs/``, trains in every way.

Each is tried on the tiny models of its kind (``tiny_models.py``), two steps long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import catalogue
import pytest
import torch
from tiny_models import MAKERS, find_tiny_model, list_tiny_models
from torch import Tensor

from mmx.config import compose
from mmx.encoders import Encoder
from mmx.experiment import Experiment, assemble
from mmx.experiment.publishing import publishes
from mmx.runs.directory import RunDirectory
from mmx.stages import load_trained
from mmx.training import checkpoint

pytest.importorskip("transformers")
pytest.importorskip("timm")
pytest.importorskip("open_clip")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

Once = Callable[[list[str]], RunDirectory]
WITHOUT_ROWS = ("video",)
"""Modalities that the tables of these tests lack; published encoders of videos are not tried."""
MODALITIES = [
    group.partition("/")[2]
    for group in catalogue.GROUPS
    if group.startswith("encoder/") and not group.endswith(WITHOUT_ROWS)
]
ONLY_DEEPER = ("resnet34", "resnet50")  # than resnet18
SMALLER = {"vit_b_16": ("layers=2", "heads=2", "width=16", "mlp_width=24")}
CASES = [
    (modality, option, model)
    for modality in MODALITIES
    for option, kind in catalogue.classes(f"encoder/{modality}").items()
    if publishes(kind) and option not in ONLY_DEEPER
    for model in list_tiny_models(kind)
]
FIRST_OF_A_KIND = list({case[:2]: case for case in reversed(CASES) if case[2]}.values())[::-1]
"""Of torchvision's the stem is fresh on these small images, and so no features are a source's."""
ALL = pytest.mark.parametrize(("modality", "option", "model"), CASES)
KINDS = pytest.mark.parametrize(("modality", "option", "model"), FIRST_OF_A_KIND)
TOKEN_LEVEL = [name for name, kind in catalogue.classes("fusion").items() if kind.reads == "tokens"]


@cache
def save_torchvision(option: str, folder: Path) -> Path:
    """Write a file with torchvision's names for one of its networks, and return its path."""
    from torchvision import models

    torch.manual_seed(3)
    if option == "vit_b_16":
        net: torch.nn.Module = models.VisionTransformer(
            image_size=224, patch_size=16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24
        )
    else:
        net = getattr(models, option)(weights=None)
    torch.save(net.state_dict(), folder / f"{option}.pth")
    return folder / f"{option}.pth"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torchvision")


@pytest.fixture
def line(
    tables: dict[str, Path], overrides: Callable[..., list[str]], files: Path
) -> Callable[..., list[str]]:
    """Return the overrides of a run of two steps from an encoder's published weights."""

    def make(modality: str, option: str, model: str, *more: str) -> list[str]:
        own = ("encoder/", f"encoder.{modality}.", "source=", "trainer.epochs")
        given = overrides(None, tables["two"], (modality, "tabular"))
        plain = [each for each in given if not each.startswith(own)]
        kind = catalogue.classes(f"encoder/{modality}")[option]
        if kind.__module__ in MAKERS:
            named = [f"encoder.{modality}.model={find_tiny_model(kind, model)}"]
        else:
            named = [f"encoder.{modality}.weights={save_torchvision(option, files)}"]
        named += [f"encoder.{modality}.{each}" for each in SMALLER.get(option, ())]
        return [
            "source=published",
            f"encoder/{modality}={option}",
            *plain,
            *named,
            "trainer.epochs=1",
            "control=none",
            *more,
        ]

    return make


def reopen(run: RunDirectory) -> Experiment:
    with compose.composer():
        return assemble(run.config())


def split(tensors: dict[str, Tensor], modality: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of an encoder by their names in it, and all other tensors."""
    start = f"encoders.{modality}."
    own = {name.removeprefix(start): x for name, x in tensors.items() if name.startswith(start)}
    return own, {name: x for name, x in tensors.items() if not name.startswith(start)}


def list_parameters(encoder: Encoder) -> dict[str, Tensor]:
    return {name: each.detach() for name, each in encoder.named_parameters()}


@ALL
def test_target_and_control_differ_in_the_published_weights_alone(
    once: Once, line: Callable[..., list[str]], modality: str, option: str, model: str
) -> None:
    """With token-level fusion, layer decay and l2_sp, at a rate at which nothing moves.

    No tensor of the control is nearer to the published weights than a fresh draw is, and target
    and control draw the same head, the same fusion and the same other encoder.
    """
    run = once(
        line(
            *(modality, option, model, f"fusion={TOKEN_LEVEL[0]}", "transfer=parameter"),
            *("transfer.layer_decay=0.9", "regularizer=l2_sp", "optimizer.lr=1e-12"),
            "control=scratch",
        )
    )
    experiment = reopen(run)
    loaded = load_trained(experiment, run, torch.device("cpu"))
    encoder: Any = loaded.model.encoders[modality]
    _, other = split(loaded.model.state_dict(), modality)
    control, beside = split(checkpoint.read_checkpoint(run.stage_file("control"))[0], modality)
    assert other.keys() == beside.keys()
    for name, value in other.items():
        torch.testing.assert_close(value, beside[name], atol=1e-8, rtol=0)
    make = experiment.encoders[modality]
    published = make.func.find_published(**make.keywords)
    given = encoder.read_published(published)
    draws = []
    for seed in (101, 102, 103):
        torch.manual_seed(seed)
        draws.append(list_parameters(make(loaded.specs[modality])))
    compared = 0
    for name, value in list_parameters(encoder).items():
        if name not in given or given[name].shape != value.shape:
            continue  # a stem for small images starts fresh
        torch.testing.assert_close(value, given[name], atol=1e-8, rtol=0)
        near = min(float((draw[name] - given[name]).norm()) for draw in draws)
        assert float((control[name] - given[name]).norm()) >= 0.7 * near, name
        compared += near > 0
    assert compared > 5


@ALL
def test_hierarchical_fusion_reads_levels_that_adapters_train(
    once: Once, line: Callable[..., list[str]], modality: str, option: str, model: str
) -> None:
    run = once(
        line(modality, option, model, "fusion=hierarchical", "transfer=adapter", "transfer.rank=2")
    )
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    ups = [x for name, x in tensors.items() if name.startswith("encoders") and name[-3:] == ".up"]
    assert ups
    assert any(x.abs().max() > 0 for x in ups)  # they start as zeros, and have trained


@KINDS
@pytest.mark.parametrize("regularizer", ["delta", "bss", "rkd"])
def test_features_are_held_while_the_first_depths_are_frozen(
    once: Once,
    line: Callable[..., list[str]],
    modality: str,
    option: str,
    model: str,
    regularizer: str,
) -> None:
    run = once(
        line(
            *(modality, option, model, "fusion=concat", "transfer=parameter"),
            *(f"regularizer={regularizer}", "transfer.freeze_depth=1"),
        )
    )
    summary = run.summary()
    assert summary["transfer"]["regularizer"]["name"] == regularizer
    assert summary["transfer"]["frozen"] > 0
