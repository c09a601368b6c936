"""Encoders: one input modality in, features out.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width.

    encoder = SmallCnn(spec, width=128)
    encoder(x, lengths) -> Features(tokens (B, T, D), mask (B, T), pooled (B, D), levels)

An encoder states its ``width`` D and its ``level_widths``, one for each stage with a pooled
output in ``levels``. An encoder that returns one vector has T = 1. An encoder only gets rows
that have the modality. ``depths()`` names its tensors from the input to the output;
``input_tensors()`` names those that a transfer may adapt to an input of another shape.
"""

from mmx.encoders.base import Encoder, TextTower

__all__ = ["Encoder", "TextTower"]
