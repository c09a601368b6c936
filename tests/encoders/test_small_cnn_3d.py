"""What happens to time and space in the stages of the small 3D convnet."""

from __future__ import annotations

import pytest
import torch

from mmx.encoders.video.small_cnn_3d import SmallCnn3d
from mmx.modalities.video import VideoSpec


@pytest.mark.parametrize("depth", [1, 3])
def test_time_keeps_its_length_and_both_sides_halve_from_the_second_stage_on(depth: int) -> None:
    encoder = SmallCnn3d(VideoSpec(frames=5, height=8, width=16), width=8, depth=depth).eval()
    sizes: list[tuple[int, ...]] = []
    for stage in encoder.stages:
        stage.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape[2:])))
    found = encoder(torch.rand(2, 5, 3, 8, 16))
    assert sizes == [(5, 8, 16), (5, 4, 8), (5, 2, 4)][:depth]
    assert found.tokens.shape == (2, 5, 8)
