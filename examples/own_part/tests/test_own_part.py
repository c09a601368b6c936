"""Both parts keep their contract, and compute what their formulas say."""

from __future__ import annotations

import pytest
import torch
from own_part.color_histogram import ColorHistogram
from own_part.maximum import Maximum

from mmx.cli import main
from mmx.fusion import Widths
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


@pytest.mark.parametrize(
    "words",
    [
        ["own_part.maximum:Maximum", "width=4"],
        ["own_part.color_histogram:ColorHistogram", "bins=4"],
    ],
)
def test_keeps_its_contract(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == 0, capsys.readouterr().out


def test_the_maximum_of_what_is_present() -> None:
    fusion = Maximum({"image": Widths(2), "text": Widths(2)}, outputs=3, width=2)
    for layer in fusion.maps.values():
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    vectors = {
        "image": torch.tensor([[1.0, -5.0], [1.0, -5.0]]),
        "text": torch.tensor([[0.0, -1.0], [9.0, 9.0]]),
    }
    both = torch.tensor([True, True])
    features = {name: Features(x[:, None], both[:, None], x) for name, x in vectors.items()}
    present = {"image": both, "text": torch.tensor([True, False])}
    assert fusion(features, present).tolist() == [[1.0, -1.0], [1.0, -5.0]]


def test_shares_of_pixels() -> None:
    encoder = ColorHistogram(ImageSpec(height=2, width=2), bins=3, width=9)
    torch.nn.init.eye_(encoder.layer.weight)
    torch.nn.init.zeros_(encoder.layer.bias)
    image = torch.full((1, 3, 2, 2), 0.0)
    image[0, 0, 0] = 1.0  # half of the pixels of the first channel
    near, far = (
        torch.softmax(torch.tensor([0.0, -1.0, -4.0]), 0),
        torch.softmax(torch.tensor([-1.0, 0.0, -1.0]), 0),
    )
    first = (near.flip(0) + far) / 2
    expected = torch.cat([first, far, far])
    assert torch.allclose(encoder(image).pooled[0], expected)
