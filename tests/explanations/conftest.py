from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from mmx.encoders import Encoder
from mmx.explanations import Question
from mmx.fusion.concat import Concat
from mmx.modalities import Batch, Column, Modality
from mmx.model import MultimodalModel
from mmx.training.data import Data, ModalityReader
from mmx.training.randomness import seed_torch

Ask = Callable[..., Question]


def ask_about(
    column: Column,
    modality: Modality[Any, Any],
    encoder: Callable[..., Encoder],
    *,
    row: int = 0,
    outputs: int = 3,
    output: int = 1,
    fusion: Callable[..., Any] = Concat,
    seed: int = 1,
) -> Question:
    """Return a question to a model of one input, with weights drawn from a seed."""
    rows = np.arange(len(column))
    spec = modality.fit(column, rows)
    view = ModalityReader(column, modality, spec)
    name = modality.name
    seed_torch(seed, "weights")
    model = MultimodalModel({name: spec}, {name: encoder}, fusion, outputs).eval()
    data = Data(
        {name: view},
        torch.zeros(len(column), dtype=torch.int64),
        {"train": rows[:0], "val": rows[:0], "test": rows},
        device=torch.device("cpu"),
        resident=True,
    )
    ((part, stored),) = data.batches([np.array([row])])
    batch: Batch = data.assemble(part, stored, augment=False)
    return Question(model, batch, name, view, output)


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Return ``ask(column, modality, encoder, ...)``: a question to an untrained model."""
    return partial(ask_about)
