"""A residual network of 18 layers, 3-D convolutions in the first of them."""

from __future__ import annotations

from torchvision.models import video

from mmx.encoders.video.torchvision_clips import TorchvisionClips


class Mc318(TorchvisionClips):
    """A residual network of 18 layers, 3-D convolutions in the first of them.

    Use it where motion decides: a third of the parameters of ``r3d_18``, and nearly as good.
    Options, tokens and levels are those of
    :class:`~mmx.encoders.video.torchvision_clips.TorchvisionClips`.

    Reference: Tran et al. 2018, arXiv 1711.11248.
    """

    published_weights = video.MC3_18_Weights.DEFAULT
    stages = (("stem",), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
    widths = (64, 64, 128, 256, 512)
    make_net = staticmethod(video.mc3_18)
