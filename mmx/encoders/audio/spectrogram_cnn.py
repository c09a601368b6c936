"""The small convolutional network for pictures, over log-mel spectrograms."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.audio.frontend import LogMel
from mmx.encoders.audio.masked_norm import MaskedBatchNorm
from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.sequence import masked_max
from mmx.encoders.stages import convolution_stages, stage_widths
from mmx.modalities import Features
from mmx.modalities.audio import AudioSpec
from mmx.modalities.masking import masked_mean


class SpectrogramCnn(Encoder):
    """Reads a spectrogram as the picture encoder ``small_cnn`` reads a picture of one channel.

        x_k = relu(norm(pool(conv(x_{k-1})))),  k = 1..depth

    The tensors have the names and, but for the first convolution, the shapes of a
    ``small_cnn`` of equal ``width`` and ``depth``, so that each can start from the other.
    ``levels`` are the means of the stages, ``tokens`` the pixels of the last map, moment by
    moment and low to high within a moment, ``pooled`` their maximum.

    Padding never leaks: a row is rounded up to whole tokens with zero frames, all after
    is zeroed before each convolution, and the norm's statistics leave it out.

    Args:
        spec: Rate and longest length of the sounds.
        width: D, the channels of the last stage; a multiple of ``2 ** (depth - 1)``.
        depth: Number of stages.
        mels: Number of mel bands.
        window_ms: Length of a frame, in milliseconds.
        hop_ms: Step from frame to frame, in milliseconds.

    Raises:
        ValueError: ``width`` cannot be halved ``depth - 1`` times.

    Reference: Palanisamy et al. 2020, arXiv 2007.11154.
    """

    def __init__(
        self,
        spec: AudioSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        depth: Annotated[int, Field(ge=1, le=8)] = 4,
        mels: Annotated[int, Field(ge=8, le=256)] = 64,
        window_ms: Annotated[float, Field(ge=1, le=10_000)] = 32.0,
        hop_ms: Annotated[float, Field(ge=1, le=10_000)] = 10.0,
    ) -> None:
        super().__init__()
        self.level_widths = stage_widths(width, depth)
        self.width = width
        self.frontend = LogMel(spec, mels=mels, window_ms=window_ms, hop_ms=hop_ms)
        # Time is continued to whole tokens, so that the bands alone say how often to pool.
        made = convolution_stages(1, self.level_widths, side=mels, norm=MaskedBatchNorm)
        self.stages = nn.ModuleList(MaskedStage(*stage.children()) for stage in made)
        pools = sum(isinstance(part, nn.MaxPool2d) for part in self.stages.modules())
        self.frames = 2**pools  # of a token

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sounds.

        Args:
            x: ``(B, S)`` samples in [-1, 1].
            lengths: ``(B,)`` int64 valid samples.

        Returns:
            Tokens ``(B, T'·F', D)``, one level for each stage.
        """
        frames, mask = self.frontend(x, lengths)  # (B, T, F), (B, T)
        missing = -frames.shape[1] % self.frames
        x = F.pad(frames, (0, 0, 0, missing))[:, None]  # (B, 1, T, F)
        mask = mask[:, :: self.frames]  # (B, T'), True where any frame of the token is
        levels = []
        for stage in self.stages:
            x = stage(x, mask)  # (B, width / 2^k, T_k, F_k)
            levels.append(masked_mean(x.mean(3).transpose(1, 2), _steps(mask, x)))
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, T'·F', D)
        mask = mask.repeat_interleave(x.shape[3], dim=1)
        # The pool is small_cnn's, whose weights it may start from.
        return Features(tokens, mask, masked_max(tokens, mask), tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stages."""
        return tuple((f"stages.{index}.",) for index in range(len(self.stages)))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the first convolution."""
        return {"stages.0.0.weight": "channels"}


class MaskedStage(nn.Sequential):
    """A stage of convolution whose norm is told what is valid; a module whose output is its map."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the map ``(B, D_k, T_k, F_k)``, zeros in the padding.

        Args:
            x: The map before.
            mask: ``(B, T')`` bool, True where a token is valid; None: all are.
        """
        if mask is None:
            found: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return found
        *before, norm, relu = self.children()
        for part in before:
            x = part(x)
        valid = _steps(mask, x)
        out: Tensor = relu(norm(x, valid)) * valid[:, None, :, None]
        return out


def _steps(mask: Tensor, x: Tensor) -> Tensor:
    """Return ``(B, T_k)``, which steps of a map ``(B, D_k, T_k, F_k)`` are valid."""
    return mask.repeat_interleave(x.shape[2] // mask.shape[1], dim=1)
