"""Integrated gradients sum to what they should, and equal a sum written by hand."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
import torch

from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.sequence.gru import Gru
from mmx.encoders.tabular.mlp import Mlp
from mmx.encoders.text.embedding_mean import EmbeddingMean
from mmx.encoders.text.lstm import Lstm
from mmx.encoders.text.tfidf import Tfidf
from mmx.encoders.vector.linear import Linear
from mmx.encoders.video.small_cnn_3d import SmallCnn3d
from mmx.errors import DataError
from mmx.explanations import Question, integrated_gradients
from mmx.explanations.inputs import find_parts, find_surface
from mmx.explanations.integrated_gradients import TOLERANCE, IntegratedGradients
from mmx.fusion.algorithm import Algorithm
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.sequence import SequenceColumn, Sequences
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.modalities.text import TextColumn, TfidfVectors, Tokens
from mmx.modalities.vector import Vector, VectorColumn
from mmx.modalities.video import Video, VideoColumn

RANDOM = np.random.default_rng(0)
TEXTS = TextColumn(["the cat sat on the mat", "a dog", "the dog saw a cat", "rain"])


def make_tone(count: int) -> np.ndarray:
    return (8000 * np.sin(np.arange(count) * 0.3)).astype(np.int16)


CASES = {
    "image": lambda ask: ask(
        ImageColumn(RANDOM.integers(0, 255, (4, 12, 12, 3)).astype(np.uint8)),
        Image(size=12),
        partial(SmallCnn, width=8, depth=2),
    ),
    "audio": lambda ask: ask(
        AudioColumn(np.stack([make_tone(1600)] * 2), sample_rate=8000),
        Audio(sample_rate=8000),
        partial(LogmelCnn, width=8, mels=8),
    ),
    "text of vectors": lambda ask: ask(TEXTS, Tokens(), partial(Lstm, width=8, embedding=8)),
    "text of terms": lambda ask: ask(TEXTS, TfidfVectors(), partial(Tfidf, width=8)),
    "tabular": lambda ask: ask(
        TabularColumn({"a": ["1", "2", "9", "4"], "b": ["x", "y", "x", "z"]}),
        Tabular(),
        partial(Mlp, width=8, hidden=8),
    ),
    "vector": lambda ask: ask(
        VectorColumn(RANDOM.normal(size=(4, 5))), Vector(), partial(Linear, width=8)
    ),
    "sequence": lambda ask: ask(
        SequenceColumn([RANDOM.normal(size=(6, 2)) for _ in range(3)]),
        Sequences(),
        partial(Gru, width=8),
    ),
    "video": lambda ask: ask(
        VideoColumn([RANDOM.integers(0, 255, (4, 8, 8)).astype(np.uint8)] * 2),
        Video(frames=4, size=8),
        partial(SmallCnn3d, width=8, depth=2),
    ),
}
SHAPES = {
    "image": (12, 12),
    "audio": (21, 8),
    "text of vectors": (6,),
    "tabular": (2,),
    "vector": (5,),
    "sequence": (6, 2),
    "video": (4, 8, 8),
}


def by_hand(question: Question, steps: int) -> np.ndarray:
    """Return the sum over the middles of equal steps, of the parts of the input."""
    surface, parts = find_surface(question), find_parts(question)
    end, start = surface.read(question.x), surface.read(parts.make_baseline(question))
    total = torch.zeros_like(end)
    for step in range(steps):
        point = (start + (step + 0.5) / steps * (end - start)).detach().requires_grad_()
        total += torch.autograd.grad(surface.answer(point).sum(), point)[0]
    return parts.sum_parts(((end - start) * total / steps)[0].numpy(), question)


@pytest.mark.parametrize("case", CASES)
def test_the_parts_sum_to_the_change_of_the_output(ask, case):
    question = CASES[case](ask)
    method = IntegratedGradients()
    assert method.explain_misfit(question) == ""
    found = method.attribute(question)
    assert found.signed
    assert found.completeness is not None
    assert found.completeness.holds
    surface, parts = find_surface(question), find_parts(question)
    with torch.no_grad():
        baseline = surface.read(parts.make_baseline(question))
        change = float(surface.answer(surface.read(question.x)) - surface.answer(baseline))
        # What is changed is what the model reads: nothing else differs from its own answer.
        own = float(question.model(question.batch)[0, question.output])
        assert float(surface.answer(surface.read(question.x))) == pytest.approx(own, abs=1e-6)
    assert found.completeness.total == pytest.approx(change, abs=1e-6)
    assert abs(change) > 1e-4
    assert float(found.values.sum()) == pytest.approx(change, rel=TOLERANCE, abs=2e-5)
    if case in SHAPES:
        assert found.values.shape == SHAPES[case]


@pytest.mark.parametrize("case", ["text of vectors", "tabular", "sequence"])
def test_they_equal_a_sum_written_by_hand(ask, case, monkeypatch):
    monkeypatch.setattr(integrated_gradients, "STEPS", (256,))
    question = CASES[case](ask)
    found = IntegratedGradients().attribute(question).values
    expected = by_hand(question, 400)
    assert found == pytest.approx(expected, abs=0.01 * float(np.abs(expected).max()))


def test_of_a_linear_model_they_are_weight_times_difference(ask):
    column = VectorColumn(RANDOM.normal(size=(6, 4)))
    question = ask(column, Vector(), partial(Linear, width=3), row=2, output=0)
    found = IntegratedGradients().attribute(question)
    x = question.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(question.answer(x).sum(), x)
    assert found.values == pytest.approx((slope * x)[0].detach().numpy(), abs=1e-5)
    assert found.completeness.steps == 32


def test_more_steps_are_taken_until_it_holds_else_it_is_said(ask, monkeypatch):
    question = CASES["image"](ask)
    monkeypatch.setattr(integrated_gradients, "TOLERANCE", 1e-5)
    monkeypatch.setattr(integrated_gradients, "ROUNDING", 0.0)
    monkeypatch.setattr(integrated_gradients, "STEPS", (2, 4, 8))
    found = IntegratedGradients().attribute(question).completeness
    assert found.steps == 8
    assert not found.holds
    assert found.gap == pytest.approx(
        float(IntegratedGradients().attribute(question).values.sum()) - found.total, abs=1e-5
    )


def test_padding_has_no_part_and_does_not_count(ask):
    long = ask(TEXTS, Tokens(), partial(EmbeddingMean, width=8), row=0)
    short = ask(TEXTS, Tokens(), partial(EmbeddingMean, width=8), row=1)
    assert IntegratedGradients().attribute(long).values.shape == (6,)
    assert IntegratedGradients().attribute(short).values.shape == (2,)


def test_the_model_stays_as_it_was(ask):
    question = CASES["image"](ask)
    before = {name: each.clone() for name, each in question.model.state_dict().items()}
    IntegratedGradients().attribute(question)
    assert not any(part.training for part in question.model.modules())
    assert all(p.grad is None for p in question.model.parameters())
    assert not any(part._forward_hooks for part in question.model.modules())
    after = question.model.state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())


def test_autocast_is_off(ask):
    question = CASES["tabular"](ask)
    plain = IntegratedGradients().attribute(question).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (IntegratedGradients().attribute(question).values == plain).all()


def test_no_gradient_is_said(ask):
    column = TabularColumn({"a": ["1", "2", "9", "4"]})
    question = ask(column, Tabular(), partial(Mlp, width=8, hidden=8), fusion=Algorithm)
    question.model.fusion.forward = lambda features, present: torch.zeros(
        len(features["tabular"].pooled), 3
    )
    question.model.head = torch.nn.Identity()
    assert "no gradient" in IntegratedGradients().explain_misfit(question)


def test_without_captum_it_says_what_to_type(ask, monkeypatch):
    question = CASES["tabular"](ask)
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(DataError, match="needs captum, which is not installed") as caught:
        IntegratedGradients().attribute(question)
    assert caught.value.tip == "pip install 'mmx[explain]'"
