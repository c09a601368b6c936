"""The small convolutional network for images, over log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.encoders.audio.frontend import LogMel
from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.masked_norm import expand_steps
from mmx.encoders.padding import masked_max
from mmx.encoders.stages import count_pooled_steps, make_masked_stages, stage_widths
from mmx.modalities import Features
from mmx.modalities.audio import AudioSpec
from mmx.modalities.masking import masked_mean


class SpectrogramCnn(Encoder):
    """Applies the image encoder ``small_cnn`` to the spectrogram as an image of one channel.

        x_k = relu(norm(pool(conv(x_{k-1})))),  k = 1..depth

    Use it to transfer between images and sounds: its tensors have the names and, except for
    the first convolution, the shapes of a ``small_cnn`` of equal ``width`` and ``depth``, so
    each can start from the weights of the other.

    ``levels`` are the means of the stages, ``tokens`` are the pixels of the last map, ordered
    by time and then from low to high frequency, and ``pooled`` is their maximum.

    Padding has no effect: a row is extended to whole tokens with zero frames, later frames are
    set to zero before each convolution, and the norm's statistics leave them out.

    Args:
        spec: Sample rate and maximum length of the sounds.
        width: D, the channels of the last stage; a multiple of ``2 ** (depth - 1)``.
        depth: Number of stages, one after another.
        mels: Number of mel bands.
        window_ms: Length of a frame, in milliseconds.
        hop_ms: Time from the start of a frame to that of the next, in milliseconds.

    Raises:
        ValueError: ``width`` cannot be halved ``depth - 1`` times.

    Reference: Palanisamy et al. 2020, arXiv 2007.11154.
    """

    architecture = "small_cnn"

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
        # Time is padded to whole tokens, so only the number of bands limits the pooling.
        self.stages = make_masked_stages(1, self.level_widths, side=mels)
        self.frames = count_pooled_steps(self.stages)  # frames per token

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sounds.

        Args:
            x: ``(B, S)`` samples in [-1, 1], or ``(B, T, F)`` their frames.
            lengths: ``(B,)`` int64 valid samples.

        Returns:
            Tokens ``(B, T'·F', D)``, one level for each stage.
        """
        frames, mask = self.frontend(x, lengths)  # (B, T, F), (B, T)
        # -n mod k: frames up to the next multiple of k, 0 if it is one.
        missing = -frames.shape[1] % self.frames
        x = F.pad(frames, (0, 0, 0, missing))[:, None]  # (B, 1, T, F)
        mask = mask[:, :: self.frames]  # (B, T'), True where any frame of the token is
        levels = []
        for stage in self.stages:
            x = stage(x, mask)  # (B, width / 2^k, T_k, F_k)
            levels.append(masked_mean(x.mean(3).transpose(1, 2), expand_steps(mask, x)))
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, T'·F', D)
        # Tokens run through the frequencies of a step first, so each step's mask repeats F' times.
        mask = mask.repeat_interleave(x.shape[3], dim=1)
        # The maximum, as in small_cnn, since weights are transferred between the two.
        return Features(tokens, mask, masked_max(tokens, mask), tuple(levels))

    def fixed_front(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Return what makes log-mel frames of sounds."""
        return self.frontend.compute_frames

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stages."""
        return tuple((f"stages.{index}.",) for index in range(len(self.stages)))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the first convolution."""
        return {"stages.0.0.weight": "channels"}
