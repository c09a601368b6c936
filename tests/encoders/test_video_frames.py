"""Frames: an encoder of images on every frame; its options are checked as on its own."""

from __future__ import annotations

import pytest
import torch

from mmx.encoders.video.frames import Frames
from mmx.modalities.video import VideoSpec

SPEC = VideoSpec(frames=4, height=8, width=8)


def encode(pooling: str, clips: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    options = {"width": 16}
    encoder = Frames(SPEC, image="small_cnn", options=options, pooling=pooling).eval()
    return encoder(clips, None).pooled


@pytest.mark.parametrize("value", [-3, "16", 2.5])
def test_an_option_of_the_image_encoder_is_checked(value: object) -> None:
    with pytest.raises(ValueError, match=rf"`options.width` \(={value}\) of image=small_cnn: "):
        Frames(SPEC, image="small_cnn", options={"width": value})


def test_the_mean_ignores_the_order_of_frames_and_attention_does_not() -> None:
    clips = torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    backwards = clips.flip(1)
    torch.testing.assert_close(encode("mean", clips), encode("mean", backwards))
    change = encode("attention", clips) - encode("attention", backwards)
    assert change.abs().max() > 1e-3
