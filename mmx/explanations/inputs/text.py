"""Texts: a number for each word, sub-word or term."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmx.explanations.base import Question, Values
from mmx.explanations.inputs.base import InputParts, Named
from mmx.explanations.surface import trace_calls
from mmx.modalities.sub_words import SubWords, SubWordSpec
from mmx.modalities.text import PADDING, TextColumn, TfidfSpec, TokenSpec
from mmx.modalities.tokenizers import make_tokenizer


class TextParts(InputParts):
    """The tokens that an encoder reads, in their order, or the terms of a bag of words."""

    name = "text"
    baseline = "a text of as many tokens that say nothing"
    axes = ("token",)

    def find_layer(self, question: Question) -> nn.Module | None:
        """Return the layer that looks up a vector for each id; see :class:`Parts`.

        It is the first that is given the ids; later ones may look up positions.
        """
        if question.x.is_floating_point():
            return None
        found = trace_calls(question, nn.Embedding)
        for module, (given, *_), _ in found:
            if _starts_with(given, question.x):
                return module
        return found[0][0] if found else None

    def make_baseline(self, question: Question) -> Tensor:
        """Return zeros, or ids of padding between the tokens that begin and end every text."""
        if question.x.is_floating_point():
            return torch.zeros_like(question.x)
        spec = question.view.spec
        padding = spec.padding if isinstance(spec, SubWordSpec) else PADDING
        empty = torch.full_like(question.x, padding)
        kept = _find_special(question)
        empty[:, kept] = question.x[:, kept]
        return empty

    def sum_parts(self, values: Values, question: Question) -> Values:
        """Return ``(T,)`` of ``(T, D)``, or ``(K,)`` of the terms in the text."""
        if values.ndim == 2:
            summed: Values = values.sum(1)[: _count_tokens(question)]
            return summed
        return values[_list_terms(question)]

    def is_in_order(self, question: Question) -> bool:
        """Return whether tokens are read, and no bag of terms; see :class:`Parts`."""
        return not question.x.is_floating_point()

    def list_names(self, question: Question, row: int) -> tuple[Named, ...] | None:
        """Return the tokens in their order, or the terms of the text; see :class:`Parts`."""
        spec, column = question.view.spec, question.view.column
        if isinstance(spec, TfidfSpec):
            return tuple(Named(spec.terms[place]) for place in _list_terms(question))
        if not isinstance(column, TextColumn):
            return None
        if isinstance(spec, SubWordSpec):
            return tuple(map(Named, _name_sub_words(question, spec)))
        if not isinstance(spec, TokenSpec):
            return None
        words = make_tokenizer(spec.tokenizer)(column.texts[row] or "")
        known = set(spec.words)
        names = [Named(word, "" if word in known else "unknown word") for word in words]
        count = _count_tokens(question)
        return tuple((names or [Named("", "no word")])[:count])


def _starts_with(given: object, ids: Tensor) -> bool:
    """Return whether a layer was given the ids of a text, with any padding behind them."""
    if not isinstance(given, Tensor) or given.dim() != 2 or given.is_floating_point():
        return False
    steps = min(given.shape[1], ids.shape[1])
    return torch.equal(given[:, :steps].cpu(), ids[:, :steps].cpu())


def _count_tokens(question: Question) -> int:
    lengths = question.lengths
    return question.x.shape[1] if lengths is None else max(1, int(lengths[0]))


def _list_terms(question: Question) -> list[int]:
    """Return the places of the terms that a text has."""
    places: list[int] = question.x[0].nonzero().squeeze(1).tolist()
    return places


def _find_special(question: Question) -> list[int]:
    """Return the places of tokens that every text has, such as those at its two ends."""
    modality, spec = question.view.modality, question.view.spec
    if not isinstance(modality, SubWords) or not isinstance(spec, SubWordSpec):
        return []
    ids = question.x[0, : _count_tokens(question)].tolist()
    (blank,) = modality.list_ids([""], spec)
    return [place for place, each in enumerate(ids) if each in blank]


def _name_sub_words(question: Question, spec: SubWordSpec) -> list[str]:
    """Return how the tokenizer writes each sub-word of the text."""
    ids = question.x[0, : _count_tokens(question)].tolist()
    if not spec.tokenizer:  # open_clip's own
        return _name_by_open_clip(ids)
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_str(spec.tokenizer)
    return [str(tokenizer.id_to_token(each) or each) for each in ids]


def _name_by_open_clip(ids: list[int]) -> list[str]:
    from open_clip.tokenizer import SimpleTokenizer

    decoder: Any = SimpleTokenizer().decoder
    return [str(decoder.get(each, each)) for each in ids]
