"""Networks of clips whose Kinetics weights torchvision publishes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from mmx.encoders.image.torchvision_weights import Normalization, TorchvisionEncoder
from mmx.encoders.padding import step_mask
from mmx.modalities import Features
from mmx.modalities.resized_image import describe_size
from mmx.modalities.video import VideoSpec


class TorchvisionClips(TorchvisionEncoder):
    """Base of torchvision's networks of three-dimensional convolutions.

    ``tokens`` are the places of the last map, T' × H' × W', those of the first frames first;
    ``levels`` are the means of the stages, and ``pooled`` is that of the last.

    Args:
        spec: Number and size of the frames.
        weights: A local ``.pth`` or ``.safetensors`` file with torchvision's names, in the place
            of torchvision's own Kinetics weights; read where the encoder starts from published
            weights.
        normalization: Mean and deviation of the frames: as the ``published`` weights expect
            them, or ``centered``, from [0, 1] to [-2, 2].
        download: Whether weights absent from torch's cache may be fetched.

    Raises:
        ValueError: The clips are too short or too small.

    Attributes:
        stages: Names of the network's parts that make up each stage, in order.
        widths: Channels of each stage.
        least: (frames, pixels) that the strides of the network need at least.
    """

    modality = "video"
    licence = "BSD-3-Clause, trained on Kinetics-400"
    stages: ClassVar[Sequence[Sequence[str]]]
    widths: ClassVar[tuple[int, ...]]
    least: ClassVar[tuple[int, int]] = (1, 1)

    def __init__(
        self,
        spec: VideoSpec,
        *,
        weights: str | None = None,
        normalization: Normalization = "published",
        download: bool = False,
    ) -> None:
        super().__init__()
        side = min(spec.height, spec.width)
        if spec.frames < self.least[0] or side < self.least[1]:
            raise ValueError(
                f"clips of {spec.frames} frames of {spec.height}×{spec.width} pixels are too "
                f"small: it needs {self.least[0]} frames of {self.least[1]} pixels at least "
                f"(target.video.frames={max(self.least[0], spec.frames)} "
                f"target.video.size={max(self.least[1], side)})"
            )
        self.width, self.level_widths = self.widths[-1], self.widths
        self.normalize = self.make_normalize(normalization)
        net = self.make_net()
        self.net = nn.ModuleDict(
            {_rename(name): net.get_submodule(name) for stage in self.stages for name in stage}
        )

    @staticmethod
    @abstractmethod
    def make_net() -> nn.Module:
        """Return torchvision's network, drawn fresh."""

    @classmethod
    def describe_deviations(cls, spec: Any, **options: Any) -> tuple[str, ...]:
        """Return in what clips are shown otherwise than the weights were trained on."""
        height, width = cls.published_weights.transforms().crop_size
        found = list(describe_size((spec.height, spec.width), (height, width), "target.video.size"))
        if options.get("normalization") == "centered":
            found.append(
                "frames are centred otherwise than for the weights: "
                "encoder.video.normalization=published"
            )
        return tuple(found)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode clips.

        Args:
            x: ``(B, T, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, T'·H'·W', D)``, one level for each stage.
        """
        x = self.normalize(x).transpose(1, 2)  # (B, 3, T, H, W)
        levels = []
        for stage in self.stages:
            for name in stage:
                x = self.net[_rename(name)](x)
            levels.append(x.mean((2, 3, 4)))
        tokens = x.flatten(2).transpose(1, 2)  # (B, T'·H'·W', D)
        return Features(tokens, step_mask(None, tokens), levels[-1], tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stages."""
        own = list(self.state_dict())
        found = []
        for stage in self.stages:
            parts = [f"net.{_rename(name)}." for name in stage]
            # A pool has no tensors.
            found.append(
                tuple(part for part in parts if any(name.startswith(part) for name in own))
            )
        return tuple(found)

    def name_published(self, name: str) -> str | None:
        """Return what torchvision's tensor is called here; None behind the last stage."""
        for part in (each for stage in self.stages for each in stage):
            if name.startswith(f"{part}."):
                return f"net.{_rename(part)}.{name[len(part) + 1 :]}"
        return None


def _rename(part: str) -> str:
    """Return the name of a part as a ModuleDict can hold it."""
    return part.replace(".", "_")
