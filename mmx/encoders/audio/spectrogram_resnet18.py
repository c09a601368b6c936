"""The residual network of 18 layers for pictures, over log-mel spectrograms."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torchvision.models import resnet

from mmx.encoders.audio.frontend import LogMel
from mmx.encoders.audio.masked_norm import MaskedBatchNorm
from mmx.encoders.base import Encoder, FollowsInput
from mmx.modalities import Features
from mmx.modalities.audio import AudioSpec
from mmx.modalities.masking import masked_mean


class SpectrogramResNet18(Encoder):
    """Reads a spectrogram as the picture encoder ``resnet18`` reads a picture of one channel.

    The tensors have the names and, but for the first convolution, the shapes of a
    ``resnet18`` of equal ``stem``, so that each can start from the other. ``levels`` are the
    means of the four layers, ``tokens`` the pixels of the last map, moment by moment and low
    to high within a moment, ``pooled`` their mean.

    Padding never leaks: a row is rounded up to whole tokens with zero frames, all after
    is zeroed before each convolution, and the norm's statistics leave it out.

    Args:
        spec: Rate and longest length of the sounds.
        stem: ``small`` is one 3×3 convolution of stride 1, as ``resnet18`` has it for small
            pictures; ``standard`` is a 7×7 convolution and a pool, each of stride 2.
        mels: Number of mel bands, so many that the last map has two: 16, or 64 with the
            ``standard`` stem.
        window_ms: Length of a frame, in milliseconds.
        hop_ms: Step from frame to frame, in milliseconds.

    Raises:
        ValueError: There are too few mel bands.

    Reference: He et al. 2016, arXiv 1512.03385; Palanisamy et al. 2020, arXiv 2007.11154.
    """

    def __init__(
        self,
        spec: AudioSpec,
        *,
        stem: Literal["small", "standard"] = "small",
        mels: Annotated[int, Field(ge=16, le=256)] = 64,
        window_ms: Annotated[float, Field(ge=1, le=10_000)] = 32.0,
        hop_ms: Annotated[float, Field(ge=1, le=10_000)] = 10.0,
    ) -> None:
        super().__init__()
        small = stem == "small"
        self.frames = 8 if small else 32  # of a token
        # One band alone in the last map would also meet a fault of oneDNN: its bfloat16
        # convolution of stride 2 over a map two wide reads memory that nobody wrote (torch 2.14).
        if mels < 2 * self.frames:
            raise ValueError(
                f"`mels` (={mels}) must be at least {2 * self.frames}, since `stem` is {stem}"
            )
        self.frontend = LogMel(spec, mels=mels, window_ms=window_ms, hop_ms=hop_ms)
        net = resnet.resnet18(norm_layer=MaskedBatchNorm)
        size, stride = (3, 1) if small else (7, 2)
        convolution = nn.Conv2d(1, 64, size, stride, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        pool = nn.Identity() if small else net.maxpool
        self.stem = nn.Sequential(convolution, net.bn1, net.relu, pool)
        made = (net.layer1, net.layer2, net.layer3, net.layer4)
        self.layers = nn.ModuleList(MaskedLayer(*layer.children()) for layer in made)
        self.width = net.fc.in_features
        self.level_widths = tuple(self.width // 2**k for k in (3, 2, 1, 0))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sounds.

        Args:
            x: ``(B, S)`` samples in [-1, 1].
            lengths: ``(B,)`` int64 valid samples.

        Returns:
            Tokens ``(B, T'·F', D)``, four levels.
        """
        frames, mask = self.frontend(x, lengths)  # (B, T, F), (B, T)
        missing = -frames.shape[1] % self.frames
        x = F.pad(frames, (0, 0, 0, missing))[:, None]  # (B, 1, T, F)
        mask = mask[:, :: self.frames]  # (B, T'), True where any frame of the token is
        convolution, norm, relu, pool = self.stem
        x = pool(relu(_normalized(norm, convolution(x), mask)))
        levels = []
        for layer in self.layers:
            x = layer(x, mask)  # (B, D_k, T_k, F_k)
            levels.append(masked_mean(x.mean(3).transpose(1, 2), _steps(mask, x)))
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, T'·F', D)
        mask = mask.repeat_interleave(x.shape[3], dim=1)
        return Features(tokens, mask, levels[-1], tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stem, then the four layers of blocks."""
        return ("stem.",), *((f"layers.{index}.",) for index in range(len(self.layers)))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the first convolution."""
        return {"stem.0.weight": "channels"}


class MaskedLayer(nn.Sequential):
    """Residual blocks whose norms are told what is valid; a module whose output is its map."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the map ``(B, D_k, T_k, F_k)``, zeros in the padding.

        Args:
            x: The map before.
            mask: ``(B, T')`` bool, True where a token is valid; None: all are.
        """
        if mask is None:
            found: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return found
        for block in self.children():
            x = _residual(block, x, mask)
        return x


def _residual(block: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Return what torchvision's basic block does, each norm told what is valid."""
    conv1, norm1, relu, conv2, norm2, *shortcut = block.children()
    y = relu(_normalized(norm1, conv1(x), mask))
    y = _normalized(norm2, conv2(y), mask)
    for projection in shortcut:
        convolution, norm = projection.children()
        x = _normalized(norm, convolution(x), mask)
    out: Tensor = relu(y + x)
    return out


def _normalized(norm: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Return the norm of a map, zeros in the padding."""
    valid = _steps(mask, x)
    out: Tensor = norm(x, valid) * valid[:, None, :, None]
    return out


def _steps(mask: Tensor, x: Tensor) -> Tensor:
    """Return ``(B, T_k)``, which steps of a map ``(B, D_k, T_k, F_k)`` are valid."""
    return mask.repeat_interleave(x.shape[2] // mask.shape[1], dim=1)
