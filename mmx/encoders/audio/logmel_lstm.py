"""A bidirectional LSTM over log-mel frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from torch import Tensor

from mmx.encoders.audio.frontend import LogMel
from mmx.encoders.base import Encoder
from mmx.encoders.bilstm import BiLstm
from mmx.modalities import Features
from mmx.modalities.audio import AudioSpec
from mmx.modalities.masking import masked_mean


class LogmelLstm(Encoder):
    """Reads the frames in both directions; a token concatenates the states of both.

    Use it where the order of events over the whole sound matters. It is slower than the
    convolutional encoders, since it runs step by step. ``pooled`` is the mean of the tokens.

    Args:
        spec: Sample rate and maximum length of the sounds.
        width: D, even: half for each direction.
        layers: Number of stacked LSTM layers.
        dropout: Fraction of the activations dropped after each layer in training.
        mels: Number of mel bands.
        window_ms: Length of a frame, in milliseconds.
        hop_ms: Time from the start of a frame to that of the next, in milliseconds.

    Raises:
        ValueError: ``width`` is odd.

    Reference: Graves and Schmidhuber 2005, doi 10.1016/j.neunet.2005.06.042.
    """

    architecture = "lstm"

    def __init__(
        self,
        spec: AudioSpec,
        *,
        width: Annotated[int, Field(ge=2, le=65_536)] = 128,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 1,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        mels: Annotated[int, Field(ge=8, le=256)] = 64,
        window_ms: Annotated[float, Field(ge=1, le=10_000)] = 32.0,
        hop_ms: Annotated[float, Field(ge=1, le=10_000)] = 10.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.frontend = LogMel(spec, mels=mels, window_ms=window_ms, hop_ms=hop_ms)
        self.lstm = BiLstm(mels, width=width, layers=layers, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sounds.

        Args:
            x: ``(B, S)`` samples in [-1, 1], or ``(B, T, F)`` their frames.
            lengths: ``(B,)`` int64 valid samples.

        Returns:
            Tokens ``(B, frames, D)``.
        """
        frames, mask = self.frontend(x, lengths)  # (B, T, F), (B, T)
        tokens = self.lstm(frames, mask)  # (B, T, D)
        return Features(tokens, mask, masked_mean(tokens, mask))

    def fixed_front(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Return what makes log-mel frames of sounds."""
        return self.frontend.compute_frames

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the layers."""
        return self.lstm.depths("lstm.")
