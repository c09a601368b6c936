"""Spectrograms as images: the image encoders' own networks, where nothing is padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from refusals import check_error
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.encoders.audio.spectrogram_cnn import SpectrogramCnn
from mmx.encoders.audio.spectrogram_resnet18 import SpectrogramResNet18
from mmx.encoders.image.resnet import ResNet18
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec

SPEC = AudioSpec(sample_rate=8000, max_samples=8000)


def sounds(frames: int) -> Tensor:
    """Return two sounds of so many frames of 10 ms."""
    return torch.randn(2, 80 * (frames - 1), generator=torch.Generator().manual_seed(1)) * 0.2


@pytest.mark.parametrize(
    ("audio", "image", "options", "first"),
    [
        *((SpectrogramCnn, SmallCnn, {"depth": d}, "stages.0.0.weight") for d in (1, 3, 4, 5)),
        (SpectrogramResNet18, ResNet18, {"stem": "small"}, "stem.0.weight"),
        (SpectrogramResNet18, ResNet18, {"stem": "standard"}, "stem.0.weight"),
    ],
)
def test_tensors_are_those_of_the_image_encoder(
    audio: type[Encoder], image: type[Encoder], options: dict[str, Any], first: str
) -> None:
    ours: Encoder = audio(SPEC, **options)
    theirs: Encoder = image(ImageSpec(32, 32), **options)
    assert ours.depths() == theirs.depths()
    assert ours.input_tensors() == theirs.input_tensors() == {first: "channels"}
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    assert [name for name in mine if mine[name].shape != other[name].shape] == [first]
    assert mine[first].shape[1] == 1
    assert other[first].shape[1] == 3


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_spectrogram_cnn_by_the_stages_of_small_cnn(depth: int, training: bool) -> None:
    torch.manual_seed(0)
    model = SpectrogramCnn(SPEC, width=8, depth=depth, mels=32).train(training)
    x = sounds(16)
    frames, mask = model.frontend(x)
    assert mask.all()
    image, levels = frames[:, None], []  # (B, 1, T, F)
    for index in range(depth):
        image = nn.functional.conv2d(image, model.stages[index][0].weight, padding=1)
        if index < depth - 1:
            image = nn.functional.max_pool2d(image, 2)
        image = nn.BatchNorm2d(image.shape[1]).train(training)(image).relu()
        levels.append(image.mean((2, 3)))
    features = model(x)
    time, bands = 16 // 2 ** (depth - 1), 32 // 2 ** (depth - 1)
    assert features.tokens.shape == (2, time * bands, 8)
    torch.testing.assert_close(features.levels, tuple(levels))
    torch.testing.assert_close(features.pooled, image.amax((2, 3)))
    # Moment by moment, low to high within each.
    last = image[:, :, time - 1, bands - 2]
    torch.testing.assert_close(features.tokens[:, (time - 1) * bands + bands - 2], last)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("stem", ["small", "standard"])
def test_spectrogram_resnet18_is_torchvisions(stem: Any, training: bool) -> None:
    torch.manual_seed(0)
    model = SpectrogramResNet18(SPEC, stem=stem, mels=64).train(training)
    net = torchvision.models.resnet18()
    net.fc = nn.Identity()
    if stem == "small":
        net.conv1, net.maxpool = nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.Identity()
    else:
        net.conv1 = nn.Conv2d(1, 64, 7, 2, padding=3, bias=False)
    names = {"stem.0": "conv1", "stem.1": "bn1", "layers.0": "layer1", "layers.1": "layer2"}
    names |= {"layers.2": "layer3", "layers.3": "layer4"}
    state = {names[name[:6] if name[0] == "s" else name[:8]]: {} for name in model.state_dict()}
    for name, tensor in model.state_dict().items():
        part = name[:6] if name[0] == "s" else name[:8]
        state[names[part]][name.removeprefix(f"{part}.")] = tensor.clone()
    for part, tensors in state.items():
        net.get_submodule(part).load_state_dict(tensors)
    x = sounds(64)
    frames, mask = model.frontend(x)
    assert mask.all()
    want = net.train(training)(frames[:, None])
    features = model(x)
    torch.testing.assert_close(features.pooled, want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.tokens.mean(1), want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.stem[1].running_var, net.bn1.running_var)
    torch.testing.assert_close(
        model.layers[3][1].bn2.running_mean, net.layer4[1].bn2.running_mean, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    ("mels", "depth", "frames", "bands"),
    [(8, 4, 4, 2), (64, 4, 8, 8), (64, 8, 32, 2), (9, 2, 2, 4)],
)
def test_pools_stop_where_bands_run_out(mels: int, depth: int, frames: int, bands: int) -> None:
    model = SpectrogramCnn(SPEC, width=128, depth=depth, mels=mels).eval()
    assert model.frames == frames
    features = model(sounds(2 * frames), torch.tensor([80 * frames, 80 * (frames - 1)]))
    assert features.tokens.shape == (2, 2 * bands, 128)
    assert features.mask.sum(1).tolist() == [2 * bands, bands]  # one frame more takes a token


@pytest.mark.parametrize(("stem", "least"), [("small", 16), ("standard", 64)])
def test_spectrogram_resnet18_needs_two_bands_to_the_end(stem: Any, least: int) -> None:
    model = SpectrogramResNet18(SPEC, stem=stem, mels=least).eval()
    assert model(sounds(model.frames)).tokens.shape == (2, 2, 512)
    with pytest.raises(ValueError, match="`mels`") as error:
        SpectrogramResNet18(SPEC, stem=stem, mels=least - 1)
    check_error(error.value, "mels", least - 1, least, "stem", stem)


def test_spectrogram_cnn_width_must_halve() -> None:
    with pytest.raises(ValueError, match="`width`") as error:
        SpectrogramCnn(SPEC, width=20)
    check_error(error.value, "width", "20", "8", "depth", "4")
