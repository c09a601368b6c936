"""Grad-CAM equals a few lines written by hand, and is used for convolutional networks alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.audio.logmel_lstm import LogmelLstm
from mmx.encoders.audio.spectrogram_cnn import SpectrogramCnn
from mmx.encoders.image.resnet import ResNet18
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.image.vit_b_16 import VitB16
from mmx.encoders.vector.linear import Linear
from mmx.explanations.grad_cam import GradCam, enlarge
from mmx.fusion.hierarchical import Hierarchical
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.vector import Vector, VectorColumn

RANDOM = np.random.default_rng(0)


def pictures(side: int) -> ImageColumn:
    return ImageColumn(RANDOM.integers(0, 255, (2, side, side, 3)).astype(np.uint8))


def sounds() -> AudioColumn:
    return AudioColumn(RANDOM.integers(-9000, 9000, (2, 1600)).astype(np.int16), sample_rate=8000)


@pytest.mark.parametrize("fusion", [None, Hierarchical])
def test_on_a_resnet_it_equals_ten_lines(ask, fusion):
    more = {} if fusion is None else {"fusion": partial(fusion, width=8)}
    question = ask(pictures(48), Image(size=48), ResNet18, **more)
    assert GradCam().explain_misfit(question) == ""
    found = GradCam().attribute(question)

    seen = {}
    layer = question.encoder.layers[3]
    handle = layer.register_forward_hook(lambda module, given, out: seen.update(map=out))
    output = question.model(question.batch)[0, question.output]
    handle.remove()
    (slope,) = torch.autograd.grad(output, seen["map"])
    weights = slope.mean((2, 3), keepdim=True)
    coarse = (weights * seen["map"]).sum(1, keepdim=True).relu()
    expected = F.interpolate(coarse, (48, 48), mode="bilinear", align_corners=False)[0, 0]

    assert coarse.shape[2:] == (6, 6)  # a map of several places
    assert found.values == pytest.approx(expected.detach().numpy(), abs=1e-6)
    assert found.values.max() > 0
    assert not found.signed
    assert found.completeness is None


@pytest.mark.parametrize(
    "encoder", [partial(LogmelCnn, width=8, mels=8), partial(SpectrogramCnn, width=8, depth=2)]
)
def test_a_map_over_a_sound_has_its_frames_and_bands(ask, encoder):
    question = ask(sounds(), Audio(sample_rate=8000), encoder)
    assert GradCam().explain_misfit(question) == ""
    found = GradCam().attribute(question).values
    assert found.shape == (21, 8 if encoder.func is LogmelCnn else 64)
    assert np.isfinite(found).all()


def test_a_map_is_enlarged_to_whole_places_and_cut_at_the_end():
    small = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert enlarge(small, (2, 2)).equal(small)
    # Three rows of the input are one and a half places: four are drawn, and the last is cut off.
    expected = F.interpolate(small, (4, 2), mode="bilinear", align_corners=False)[:, :, :3]
    assert enlarge(small, (3, 2)).equal(expected)


@pytest.mark.parametrize(
    ("column", "modality", "encoder", "said"),
    [
        (pictures(16), Image(size=16), partial(VitB16, layers=2, heads=2, width=8, mlp_width=8),
         "transformer"),
        (VectorColumn(RANDOM.normal(size=(4, 5))), Vector(), Linear, "neither a picture"),
        (sounds(), Audio(sample_rate=8000), partial(LogmelLstm, width=8, mels=8), "no layer"),
        (pictures(4), Image(size=4), partial(SmallCnn, width=8, depth=1), ""),
    ],
)  # fmt: skip
def test_what_it_fits(ask, column, modality, encoder, said):
    found = GradCam().explain_misfit(ask(column, modality, encoder))
    assert said in found
    assert bool(said) == bool(found)
