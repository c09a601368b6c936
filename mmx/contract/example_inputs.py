"""Made-up inputs of an encoder, as a modality's ``prepare`` would return them.

Shape legend: ``B`` batch, ``T`` steps.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping

import torch
from torch import Tensor

from mmx.contract.base import Broken
from mmx.modalities import Spec
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.sequence import SequenceSpec
from mmx.modalities.sub_words import SubWordSpec
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TfidfSpec, TokenSpec
from mmx.modalities.vector import VectorSpec
from mmx.modalities.video import VideoSpec

BATCH_ROWS = 4
WORDS = tuple(f"word{number}" for number in range(30))
SPECS: Mapping[type[Spec], Spec] = {
    ImageSpec: ImageSpec(height=32, width=32),
    AudioSpec: AudioSpec(sample_rate=8000, max_samples=8000),
    TokenSpec: TokenSpec(words=WORDS, max_tokens=12),
    SubWordSpec: SubWordSpec(tokenizer="{}", max_tokens=12, vocabulary=len(WORDS) + 2),
    TfidfSpec: TfidfSpec(terms=WORDS, idf=(1.0,) * len(WORDS), ngrams=1),
    TabularSpec: TabularSpec(
        numeric=("a", "b"),
        means=(0.0, 0.0),
        stds=(1.0, 1.0),
        categorical=("c",),
        categories=(("x", "y"),),
    ),
    VectorSpec: VectorSpec(means=(0.0,) * 6, stds=(1.0,) * 6),
    VideoSpec: VideoSpec(frames=8, height=32, width=32),
    SequenceSpec: SequenceSpec(means=(0.0,) * 3, stds=(1.0,) * 3, longest=40),
}
SEQUENCES = (AudioSpec, TokenSpec, SubWordSpec, SequenceSpec)
LENGTHS = (1.0, 0.625, 0.045, 0.0)
"""Lengths of sequences, as fractions of the longest; a text may have no words."""
EncoderInputs = tuple[Tensor, Tensor | None]


def find_spec(encoder: type) -> type[Spec]:
    """Return the spec that an encoder reads, by the annotation of its first argument.

    Raises:
        Broken: The annotation names no spec of mmx.
    """
    hints = typing.get_type_hints(encoder.__init__)  # type: ignore[misc]
    first = next((hint for name, hint in hints.items() if name != "return"), None)
    found = [kind for kind in SPECS if kind is first or kind in typing.get_args(first)]
    if not found:
        known = ", ".join(kind.__name__ for kind in SPECS)
        seen = getattr(first, "__name__", first)
        raise Broken(
            "expected the first argument of the constructor to say what is encoded, such as "
            f"spec: ImageSpec, one of {known}; seen {seen}"
        )
    return found[0]


def make_inputs(spec: Spec, rows: int = BATCH_ROWS, seed: int = 1) -> EncoderInputs:
    """Return random inputs, and lengths where they are sequences."""
    draw = torch.Generator().manual_seed(seed)
    if isinstance(spec, ImageSpec):
        return torch.rand(rows, 3, spec.height, spec.width, generator=draw), None
    if isinstance(spec, VideoSpec):
        shape = (rows, spec.frames, 3, spec.height, spec.width)
        return torch.rand(shape, generator=draw), None
    if isinstance(spec, TfidfSpec):
        return torch.rand(rows, len(spec.terms), generator=draw), None
    if isinstance(spec, TabularSpec | VectorSpec):
        return torch.randn(rows, spec.width, generator=draw), None
    if isinstance(spec, AudioSpec):
        steps = spec.max_samples
        x = torch.randn(rows, steps, generator=draw) * 0.2
    elif isinstance(spec, SequenceSpec):
        steps = spec.longest
        x = torch.randn(rows, steps, spec.width, generator=draw)
    elif isinstance(spec, TokenSpec | SubWordSpec):
        steps = spec.max_tokens
        x = torch.randint(1, spec.vocabulary, (rows, steps), generator=draw)
    else:
        raise TypeError(f"no inputs can be made up for a {type(spec).__name__}")
    lengths = torch.tensor([int(steps * LENGTHS[row % len(LENGTHS)]) for row in range(rows)])
    # Padding is 0: (B, T) * ((T,) < (B, 1)), or (B, T, D) * (B, T, 1).
    there = torch.arange(steps) < lengths[:, None]
    return x * there.view(*there.shape, *[1] * (x.dim() - 2)), lengths


def pick(inputs: EncoderInputs, rows: Tensor) -> EncoderInputs:
    """Return some rows of inputs, by number."""
    x, lengths = inputs
    return x[rows], None if lengths is None else lengths[rows]


def change_first(inputs: EncoderInputs) -> EncoderInputs:
    """Return inputs with other values in row 0, of the same length."""
    x, lengths = inputs
    other = x.clone()
    other[0] = other[0].flip(-1) if not x.is_floating_point() else 3.0 - 2 * other[0]
    return other, lengths
