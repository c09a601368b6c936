"""A small trained source and target in float64, and regularisers by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from torch import Tensor

from mmx.contract.world import World, make_batch, of_batch
from mmx.modalities import Batch
from mmx.transfer.regularizers import Penalty, Regularizer

CONFIGS = Path(__file__).parents[2] / "configs" / "regularizer"


@pytest.fixture
def world() -> type[World]:
    return World


@pytest.fixture
def batches() -> Callable[..., Batch]:
    return make_batch


@pytest.fixture
def on_batch() -> Callable[[Batch, Callable[[Tensor], Tensor]], Batch]:
    return of_batch


def make_regularizer(name: str, **options: Any) -> Regularizer:
    """Return a regulariser as its config has it."""
    node = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    module, kind = node.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), kind)(**{**node, **options})


@pytest.fixture
def regularizer() -> Callable[..., Regularizer]:
    return make_regularizer


@pytest.fixture
def bound() -> Callable[..., Penalty]:
    """Return ``bind(world, name, **options) -> Penalty``: bound at w0, before the target moves."""

    def bind(world: World, name: str, **options: Any) -> Penalty:
        return world.bind(make_regularizer(name, **options))

    return bind
