"""Encoders: one input modality in, features out.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width.

    encoder = SmallCnn(spec, width=128)
    encoder(x, lengths) -> Features(tokens (B, T, D), mask (B, T), pooled (B, D), levels)

An encoder states its ``width`` D and its ``level_widths``, one for each stage whose
pooled output it exposes in ``levels``; a single-vector encoder has T = 1. Every row
that reaches an encoder is present: absent rows are left out before. ``depths()`` names
its tensors from the input to the output, ``input_tensors()`` those that a transfer may fit
to another input.
"""

from mmx.encoders.base import Encoder

__all__ = ["Encoder"]
