"""The residual network of 18 layers for images, over log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torchvision.models import resnet

from mmx.encoders.audio.frontend import LogMel
from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.masked_norm import MaskedBatchNorm, expand_steps, zero_invalid
from mmx.modalities import Features
from mmx.modalities.audio import AudioSpec
from mmx.modalities.masking import masked_mean


class SpectrogramResNet18(Encoder):
    """Applies the image encoder ``resnet18`` to the spectrogram as an image of one channel.

    Use it to transfer between images and sounds with a larger network than ``spectrogram_cnn``:
    its tensors have the names and, except for the first convolution, the shapes of a
    ``resnet18`` of equal ``stem``, so each can start from the weights of the other.

    ``levels`` are the means of the four layers, ``tokens`` are the pixels of the last map,
    ordered by time and then from low to high frequency, and ``pooled`` is their mean.

    Padding has no effect: a row is extended to whole tokens with zero frames, later frames are
    set to zero before each convolution, and the norm's statistics leave them out.

    Args:
        spec: Sample rate and maximum length of the sounds.
        stem: ``small`` is one 3×3 convolution of stride 1, as in ``resnet18`` for small
            images; ``standard`` is a 7×7 convolution and a pool, each of stride 2.
        mels: Number of mel bands; the last map needs at least two, so at least 16, or 64 with
            the ``standard`` stem.
        window_ms: Length of a frame, in milliseconds.
        hop_ms: Time from the start of a frame to that of the next, in milliseconds.

    Raises:
        ValueError: There are too few mel bands.

    Reference: He et al. 2016, arXiv 1512.03385; Palanisamy et al. 2020, arXiv 2007.11154.
    """

    architecture = "resnet18"

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
        self.frames = 8 if small else 32  # frames per token
        # A last map with a single band would also trigger an error in oneDNN: its bfloat16
        # convolution of stride 2 over a map of width 2 reads uninitialised memory (torch 2.14).
        if mels < 2 * self.frames:
            raise ValueError(
                f"`mels` (={mels}) must be at least {2 * self.frames}, since `stem` is {stem}"
            )
        self.frontend = LogMel(spec, mels=mels, window_ms=window_ms, hop_ms=hop_ms)
        net = resnet.resnet18(norm_layer=MaskedBatchNorm)
        size, stride = (3, 1) if small else (7, 2)
        convolution = nn.Conv2d(1, 64, size, stride, padding=size // 2, bias=False)
        # As torchvision initialises its own convolutions.
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
            x: ``(B, S)`` samples in [-1, 1], or ``(B, T, F)`` their frames.
            lengths: ``(B,)`` int64 valid samples.

        Returns:
            Tokens ``(B, T'·F', D)``, four levels.
        """
        frames, mask = self.frontend(x, lengths)  # (B, T, F), (B, T)
        missing = -frames.shape[1] % self.frames
        # Frames up to a whole token, behind the end, then one channel.
        x = F.pad(frames, (0, 0, 0, missing))[:, None]  # (B, 1, T, F)
        mask = mask[:, :: self.frames]  # (B, T'), True where any frame of the token is
        convolution, norm, relu, pool = self.stem
        x = pool(relu(_normalise_valid(norm, convolution(x), mask)))
        levels = []
        for layer in self.layers:
            x = layer(x, mask)  # (B, D_k, T_k, F_k)
            levels.append(masked_mean(x.mean(3).transpose(1, 2), expand_steps(mask, x)))
        # Time first, so that the tokens of a step lie together: step t, band f is t · F' + f.
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, T'·F', D)
        mask = mask.repeat_interleave(x.shape[3], dim=1)
        return Features(tokens, mask, levels[-1], tuple(levels))

    def fixed_front(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Return what makes log-mel frames of sounds."""
        return self.frontend.compute_frames

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stem, then the four layers of blocks."""
        return ("stem.",), *((f"layers.{index}.",) for index in range(len(self.layers)))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the first convolution."""
        return {"stem.0.weight": "channels"}


class MaskedLayer(nn.Sequential):
    """Residual blocks that pass the mask of valid steps to their norms.

    It is a module of its own so that hooks on it see its map.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the map ``(B, D_k, T_k, F_k)``, zeros in the padding.

        Args:
            x: The map of the layer before.
            mask: ``(B, T')`` bool, True where a token is valid; None: all are.
        """
        if mask is None:
            unmasked: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return unmasked
        for block in self.children():
            x = _apply_block(block, x, mask)
        return x


def _apply_block(block: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Return the output of torchvision's basic block, with masked norms."""
    # The children in the order of registration; the shortcut is there where shapes change.
    conv1, norm1, relu, conv2, norm2, *shortcut = block.children()
    # Zeros in the padding before each convolution, whose kernel reaches across a row's end.
    y = relu(_normalise_valid(norm1, conv1(x), mask))
    y = _normalise_valid(norm2, conv2(y), mask)
    for projection in shortcut:
        convolution, norm = projection.children()
        x = _normalise_valid(norm, convolution(x), mask)
    out: Tensor = relu(y + x)
    return out


def _normalise_valid(norm: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Return a normalised map with zeros in the padding."""
    valid = expand_steps(mask, x)
    return zero_invalid(norm(x, valid), valid)
