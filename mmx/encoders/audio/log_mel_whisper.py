"""The log-mel spectrogram that Whisper was trained on, computed on the device.

Shape legend: ``S`` samples, ``F`` frames.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WhisperLogMel(nn.Module):
    """Samples to log-mel frames, equal to the library's ``WhisperFeatureExtractor``.

    The library pads every clip with silence to 30 seconds and computes all of it. Here the
    frames behind the longest clip are left out, which changes none of the others.

    Args:
        extractor: The library's own, with its window, step and mel filters.
        frames: F, a multiple of 2.

    Attributes:
        time_axis: The axis of the output that is time; explanations look for it.
    """

    time_axis: ClassVar[int] = 2

    def __init__(self, extractor: Any, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.window, self.hop = int(extractor.n_fft), int(extractor.hop_length)
        filters = torch.as_tensor(extractor.mel_filters, dtype=torch.float32)  # (bins, mels)
        self.register_buffer("filters", filters.T.contiguous(), persistent=False)
        self.register_buffer("hann", torch.hann_window(self.window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, mels, F)`` of samples ``(B, S)`` in [-1, 1], zeros behind each clip."""
        samples = self.frames * self.hop
        # Silence follows the last frame, as in the library, so that no sample is mirrored there.
        x = F.pad(x[:, :samples].float(), (0, max(0, samples - x.shape[1]) + self.window))
        hann = self.get_buffer("hann")
        with torch.autocast(x.device.type, enabled=False):
            found = torch.stft(x, self.window, self.hop, window=hann, return_complex=True)
            # The frames of the samples alone; those of the silence behind them are dropped.
            power = found[..., : self.frames].abs().square()  # (B, bins, F)
            # (mels, bins) @ (B, bins, F), broadcast over the batch
            mels = (self.get_buffer("filters") @ power).clamp(min=1e-10).log10()
        # 80 dB below the loudest moment of the clip is silence.
        # log10 of power: 8 are 80 dB.
        floor = mels.amax((1, 2), keepdim=True) - 8.0
        return (torch.maximum(mels, floor) + 4.0) / 4.0
