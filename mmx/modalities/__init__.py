"""What a modality is: how raw values are decoded, batched, augmented and normalised.

Shape legend: ``N`` rows of a task, ``B`` batch, ``T`` tokens, ``D`` width, ``C`` classes.

A *column* holds a task's raw values of one modality, row by row, and knows which rows lack
it. A *modality* turns a column into tensors in four pure steps:

    spec   = modality.fit(column, rows)             learned from the training rows only
    stored = modality.encode(column, rows, spec)    decoded once, in a compact dtype
    stored = modality.augment(stored)               training only, per sample, global torch RNG
    inputs = modality.prepare(stored, spec)         the input of an encoder

Everything learned from the data is in the spec. It is frozen, can be written to JSON and read
back, and is stored with every checkpoint. Encoders are built from it.
"""

from mmx.modalities.base import (
    Batch,
    Column,
    Encoded,
    Features,
    Modality,
    Spec,
    Stored,
    spec_from_json,
    spec_to_json,
)
from mmx.modalities.step import StepRows

__all__ = [
    "Batch",
    "Column",
    "Encoded",
    "Features",
    "Modality",
    "Spec",
    "StepRows",
    "Stored",
    "spec_from_json",
    "spec_to_json",
]
