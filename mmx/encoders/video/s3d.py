"""Separable 3-D convolutions in inception blocks."""

from __future__ import annotations

from torchvision.models import video

from mmx.encoders.video.torchvision_clips import TorchvisionClips


class S3d(TorchvisionClips):
    """Inception blocks of convolutions over space, then over time.

    Use it where parameters should be few (8 million); it needs larger and longer clips than
    ``mc3_18``, since it halves them more often. Options, tokens and levels are those of
    :class:`~mmx.encoders.video.torchvision_clips.TorchvisionClips`; a stage ends before a pool.

    Args:
        spec: Number and size of the frames: 8 of 32 pixels at least.

    Reference: Xie et al. 2018, arXiv 1712.04851.
    """

    published_weights = video.S3D_Weights.DEFAULT
    stages = tuple(
        tuple(f"features.{index}" for index in range(first, end))
        for first, end in ((0, 1), (1, 4), (4, 7), (7, 13), (13, 16))
    )
    least = (8, 32)
    widths = (64, 192, 480, 832, 1024)
    make_net = staticmethod(video.s3d)
