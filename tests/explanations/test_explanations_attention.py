"""Attention equals what is computed by hand, for each kind of transformer."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import real_weights
import torch
from tiny_models import (
    save_open_clip,
    save_pair,
    save_text_model,
    save_timm,
    save_vit,
    save_wav2vec2,
    save_whisper,
)

from mmx.encoders.audio.transformers import Transformers as AudioTransformers
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.image.timm import Timm
from mmx.encoders.image.transformers import Transformers as ImageTransformers
from mmx.encoders.image.vit_b_16 import VitB16
from mmx.encoders.sequence.transformer import Transformer
from mmx.encoders.text.open_clip import OpenClip as ClipTexts
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.explanations import Attribution
from mmx.explanations.attention import AttentionRollout, record_attention, roll_out, weigh_tokens
from mmx.explanations.integrated_gradients import IntegratedGradients
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.sequence import SequenceColumn, Sequences
from mmx.modalities.text import TextColumn

RANDOM = np.random.default_rng(0)
STEPS = SequenceColumn([RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(7, 3))])


def pictures(side: int) -> ImageColumn:
    return ImageColumn(RANDOM.integers(0, 255, (2, side, side, 3)).astype(np.uint8))


def sounds() -> AudioColumn:
    return AudioColumn(RANDOM.integers(-9000, 9000, (2, 8000)).astype(np.int16), sample_rate=16000)


def test_two_layers_by_hand():
    first = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    second = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    one = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    two = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    assert roll_out([first, second])[0].allclose(two @ one)


def attend_by_hand(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the mean over heads of softmax(q kᵀ / √d), from the weights themselves."""
    part = layer.self_attn
    width, heads = part.embed_dim, part.num_heads
    query, key, _ = (x @ part.in_proj_weight.T + part.in_proj_bias).split(width, dim=-1)
    query, key = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (query, key))
    return (query @ key.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1).mean(1)


def test_the_attention_over_steps_equals_one_computed_from_the_weights(ask):
    question = ask(STEPS, Sequences(), partial(Transformer, width=8, heads=2, mlp_width=8), row=1)
    layers = record_attention(question)
    encoder = question.encoder
    inputs = []
    handles = [
        each.norm1.register_forward_hook(lambda m, given, out: inputs.append(out))
        for each in encoder.layers
    ]
    question.encode(question.x)
    for handle in handles:
        handle.remove()
    assert len(layers) == len(encoder.layers) == 2
    for layer, x, found in zip(encoder.layers, inputs, layers, strict=True):
        assert found.allclose(attend_by_hand(layer, x), atol=1e-6)
    assert AttentionRollout().explain_misfit(question) == ""
    expected = roll_out(layers)[0].mean(0)  # the mean of the tokens is pooled
    assert AttentionRollout().attribute(question).values == pytest.approx(expected.detach().numpy())


def check(found: Attribution, shape: tuple[int, ...], *, whole: bool) -> None:
    """Check that these are parts of attention, which sum to 1 where no class token has some."""
    assert found.values.shape == shape
    assert (found.values >= 0).all()
    assert not found.signed
    assert found.values.std() > 0
    if whole:
        assert float(found.values.sum()) == pytest.approx(1, abs=1e-5)


def test_patches_of_a_vision_transformer_are_places_of_the_picture(ask):
    encoder = partial(VitB16, layers=2, heads=2, width=8, mlp_width=8, stem="small")
    question = ask(pictures(16), Image(size=16), encoder)
    found = AttentionRollout().attribute(question)
    check(found, (16, 16), whole=False)
    assert weigh_tokens(question, 17).tolist() == [1.0] + [0.0] * 16  # the class token is read
    rolled = roll_out(record_attention(question))[0][0]
    assert found.values[::4, ::4].reshape(-1) == pytest.approx(rolled[1:].detach().numpy())


def test_a_network_without_attention_has_none(ask):
    question = ask(pictures(8), Image(size=8), partial(SmallCnn, width=8, depth=2))
    assert record_attention(question) == []
    assert "no transformer" in AttentionRollout().explain_misfit(question)


def test_published_architectures_of_pictures(ask, tmp_path):
    vit = partial(ImageTransformers, model=str(save_vit(tmp_path / "vit")))
    question = ask(pictures(32), Image(size=32), vit)
    eager = question.encoder.net.config._attn_implementation
    check(AttentionRollout().attribute(question), (32, 32), whole=False)
    assert question.encoder.net.config._attn_implementation == eager
    assert IntegratedGradients().attribute(question).completeness.holds
    timm = partial(Timm, model=str(save_timm(tmp_path / "timm", "test_vit")))
    question = ask(pictures(96), Image(size=96), timm)
    check(AttentionRollout().attribute(question), (96, 96), whole=False)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_published_architectures_of_texts(ask, tmp_path, kind):
    model = str(save_text_model(tmp_path / kind, kind))
    texts = TextColumn(["cat dog", "cats a b c"])
    reader = TextTransformers.read_with(None, model=model)
    question = ask(texts, reader, partial(TextTransformers, model=model))
    check(AttentionRollout().attribute(question), (4,), whole=True)  # with the tokens at both ends
    found = IntegratedGradients().attribute(question)
    assert found.values.shape == (4,)
    assert found.completeness.holds
    assert found.values[[0, 3]] == pytest.approx([0, 0])  # the baseline has them too


def test_pairs_of_pictures_and_texts(ask, tmp_path):
    texts = TextColumn(["cat dog a b", "cat"])
    for name, model, kind in (
        ("clip", save_pair(tmp_path / "clip"), TextTransformers),
        ("open_clip", save_open_clip(tmp_path / "open"), ClipTexts),
    ):
        reader = kind.read_with(None, model=str(model))
        question = ask(texts, reader, partial(kind, model=str(model)))
        tokens = int(question.lengths[0])
        check(AttentionRollout().attribute(question), (tokens,), whole=True)
        layers = record_attention(question)
        assert not layers[0].triu(1).any(), name  # no word attends to a later one
        read = weigh_tokens(question, layers[0].shape[-1])
        assert float(read[tokens - 1]) == pytest.approx(1), name  # the end of the text is read


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_published_architectures_of_sounds(ask, tmp_path, kind):
    folder = save_whisper(tmp_path) if kind == "whisper" else save_wav2vec2(tmp_path, masks=True)
    question = ask(
        sounds(), Audio(sample_rate=16000), partial(AudioTransformers, model=str(folder))
    )
    with torch.no_grad():
        tokens = int(question.encode(question.x).mask.sum())
    check(AttentionRollout().attribute(question), (tokens,), whole=True)
    found = IntegratedGradients().attribute(question)
    assert found.completeness.holds
    # Whisper reads a spectrogram of 80 bands; what wav2vec2 has learned of moments has no names.
    assert found.values.shape == ((50, 80) if kind == "whisper" else (tokens,))


@pytest.mark.weights
def test_real_weights_of_a_sentence_encoder(ask):
    model = str(Path(real_weights.find_minilm()))
    reader = TextTransformers.read_with(None, model=model)
    texts = TextColumn(["The striker scored twice in the cup final.", "Shares fell on Friday."])
    question = ask(texts, reader, partial(TextTransformers, model=model))
    question.encoder.load_state_dict(
        question.encoder.read_published(TextTransformers.find_published(model=model))
    )
    found = IntegratedGradients().attribute(question)
    assert found.completeness.holds
    check(AttentionRollout().attribute(question), found.values.shape, whole=True)
