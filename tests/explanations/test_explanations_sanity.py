"""A model with other weights is explained by other maps (Adebayo et al. 2018, 1810.03292)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.image.vit_b_16 import VitB16
from mmx.explanations import METHODS, Question
from mmx.modalities.image import Image, ImageColumn
from mmx.training.randomness import seed_torch

ROWS = 12
"""Pictures over which rank correlations are averaged."""
SAME = 0.5
"""Mean rank correlation above which maps count as the same."""


@pytest.fixture(scope="module")
def digits() -> tuple[ImageColumn, torch.Tensor]:
    found = load_digits()
    pixels = (found.images[:300] / 16 * 255).astype(np.uint8)
    large = pixels.repeat(2, axis=1).repeat(2, axis=2)  # 16×16, so that a map has places
    return ImageColumn(large), torch.from_numpy(found.target[:300])


def questions(model_question: Question, labels: torch.Tensor) -> Iterator[Question]:
    view = model_question.view
    for row in range(ROWS):
        stored = view.encode(np.array([row]))
        x = view.modality.prepare(stored, view.spec)
        batch = replace(model_question.batch, inputs={"image": x})
        yield replace(model_question, batch=batch, output=int(labels[row]))


def fit(question: Question, labels: torch.Tensor) -> None:
    """Train for a moment, so that the weights mean something."""
    model, view = question.model, question.view
    x = view.modality.prepare(view.encode(np.arange(len(labels))), view.spec)
    here = {"image": torch.ones(len(x), dtype=torch.bool)}
    batch = replace(question.batch, inputs={"image": x}, present=here, target=labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), labels).backward()
        optimizer.step()
    model.eval()
    for each in model.parameters():
        each.grad = None


def randomize(question: Question) -> Question:
    """Return the question to a model of the same architecture with weights drawn afresh."""
    model = copy.deepcopy(question.model)
    seed_torch(99, "other weights")
    for part in model.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return replace(question, model=model.eval())


def correlate(question: Question, other: Question, labels: torch.Tensor, name: str) -> float:
    method = METHODS[name]()
    found = []
    for one, two in zip(questions(question, labels), questions(other, labels), strict=True):
        assert method.explain_misfit(one) == ""
        maps = [method.attribute(each).values.reshape(-1) for each in (one, two)]
        ink = one.x[0].sum(0).reshape(-1).numpy() > 0  # a black place has no part in any model
        found.append(spearmanr(maps[0][ink], maps[1][ink]).statistic)
    return float(np.nanmean(found))


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("integrated_gradients", partial(SmallCnn, width=16, depth=2)),
        ("grad_cam", partial(SmallCnn, width=16, depth=2)),
        ("attention", partial(VitB16, layers=2, heads=2, width=16, mlp_width=32, stem="small")),
    ],
)
def test_other_weights_give_other_maps(ask, digits, name, encoder):
    column, labels = digits
    question = ask(column, Image(size=16), encoder, outputs=10, output=0)
    fit(question, labels)
    same = correlate(question, copy.deepcopy(question), labels, name)
    other = correlate(question, randomize(question), labels, name)
    assert same == pytest.approx(1)  # the same weights give the same map
    assert abs(other) < SAME
