"""Sounds: mono samples at one rate; they are rounded to 16 bits in the graph, as in training."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities.audio import FULL_SCALE, AudioColumn, AudioSpec, find_channel


class AudioInput(GraphInput[AudioSpec]):
    """``(S,)`` float32 samples in [-1, 1]."""

    spec_type = AudioSpec
    dtype = torch.float32
    reader = "audio"
    packages = ("soundfile",)
    any_length = False  # a spectrogram's frames are cut into whole tokens, one way for each length

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Any number of samples."""
        return (None,)

    @property
    def longest(self) -> int | None:
        """The samples from which a sound is cut."""
        return self.spec.max_samples

    def read(self, column: AudioColumn, row: int) -> Array:
        """Return the samples of a row, without the padding behind its end."""
        stored = self.modality.encode(column, [row], self.spec)
        length = 0 if stored.lengths is None else int(stored.lengths[0])
        return stored.values[0, :length].numpy().astype("float32") / FULL_SCALE

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, S)`` in [-1, 1], in steps of 1 / 32768."""
        stored = (x * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1)
        return stored / FULL_SCALE, None if lengths is None else lengths.clamp(min=1)

    def describe(self) -> Json:
        """Return how a file becomes samples."""
        return {
            "sample_rate": self.spec.sample_rate,
            "max_samples": self.spec.max_samples,
            "channel": find_channel(self.modality),
            "resampling": "windowed sinc of torchaudio: Hann, width 6, roll-off 0.99",
            "in_graph": "rounded to 16 bits; spectrogram and mel bands of the encoder",
        }
