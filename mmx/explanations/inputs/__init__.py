"""What an input is made of: pixels, words, cells, bands of a spectrogram, one file a modality."""

from mmx.explanations.base import Question
from mmx.explanations.inputs.base import InputParts, Named
from mmx.explanations.surface import Surface
from mmx.variants import find_variants

PARTS: dict[str, type[InputParts]] = {
    kind.name: kind
    for kind in find_variants("mmx.explanations.inputs", InputParts, skip=("base",)).values()
}
"""Modality to the class that knows the parts of its inputs, from the files of this folder."""


def find_parts(question: Question) -> InputParts:
    """Return what knows the parts of an input; of a modality without a file, its numbers."""
    return PARTS.get(question.view.modality.name, InputParts)()


def find_surface(question: Question) -> Surface:
    """Return where the input is changed."""
    return Surface(question, find_parts(question).find_layer(question))


__all__ = ["PARTS", "Named", "Parts", "find_parts", "find_surface"]
