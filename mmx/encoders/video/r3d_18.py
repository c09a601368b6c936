"""A residual network of 18 layers with 3-D convolutions."""

from __future__ import annotations

from torchvision.models import video

from mmx.encoders.image.torchvision_weights import Normalization
from mmx.encoders.video.torchvision_clips import TorchvisionClips
from mmx.modalities.video import VideoSpec


class R3d18(TorchvisionClips):
    """A residual network of 18 layers with 3-D convolutions.

    Use it where motion decides and time allows: every convolution sees three frames.
    Tokens and levels are those of
    :class:`~mmx.encoders.video.torchvision_clips.TorchvisionClips`.

    Args:
        spec: Number and size of the frames.
        weights: A local ``.pth`` or ``.safetensors`` file with torchvision's names, in the place
            of torchvision's own Kinetics weights; read where the encoder starts from published
            weights.
        normalization: Mean and deviation of the frames: as the ``published`` weights expect
            them, or ``centered``, from [0, 1] to [-2, 2].
        download: Whether weights absent from torch's cache may be fetched.

    Reference: Tran et al. 2018, arXiv 1711.11248.
    """

    published_weights = video.R3D_18_Weights.DEFAULT
    stages = (("stem",), ("layer1",), ("layer2",), ("layer3",), ("layer4",))

    def __init__(
        self,
        spec: VideoSpec,
        *,
        weights: str | None = None,
        normalization: Normalization = "published",
        download: bool = False,
    ) -> None:
        super().__init__()
        self.build(spec, video.r3d_18, (64, 64, 128, 256, 512), normalization)
