"""A residual network of 18 layers with 3-D convolutions."""

from __future__ import annotations

from torchvision.models import video

from mmx.encoders.video.torchvision_clips import TorchvisionClips


class R3d18(TorchvisionClips):
    """A residual network of 18 layers with 3-D convolutions.

    Use it where motion decides and time allows: every convolution sees three frames.
    Options, tokens and levels are those of
    :class:`~mmx.encoders.video.torchvision_clips.TorchvisionClips`.

    Reference: Tran et al. 2018, arXiv 1711.11248.
    """

    published_weights = video.R3D_18_Weights.DEFAULT
    stages = (("stem",), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
    widths = (64, 64, 128, 256, 512)
    make_net = staticmethod(video.r3d_18)
