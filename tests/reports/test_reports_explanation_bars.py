"""Bars of an explanation: the inputs of a row have one scale."""

from __future__ import annotations

import numpy as np

from mmx.explanations.base import Attribution
from mmx.explanations.explained_rows import ExplainedInput
from mmx.explanations.inputs.base import Named
from mmx.reports.explanation_media import find_largest, show_map

METHOD = "integrated_gradients"


def make(modality: str, values: list[float], *, in_order: bool = False) -> ExplainedInput:
    """Return an input whose parts are named a, b, …"""
    found = Attribution(np.array(values, np.float32), signed=True)
    names = tuple(Named(chr(ord("a") + place)) for place in range(len(values)))
    return ExplainedInput(
        modality, modality, {METHOD: found}, {}, ("part",), names, in_order, "", None
    )


def test_a_lone_small_number_has_a_short_bar() -> None:
    inputs = [make("text", [0.02, -0.04]), make("tabular", [-0.001])]
    largest = find_largest(inputs, METHOD)
    assert largest == np.float32(0.04)
    lengths = [
        [round(bar.length, 4) for bar in show_map(each, METHOD, "IG", largest).bars]
        for each in inputs
    ]
    assert lengths == [[0.5, -1.0], [-0.025]]


def test_what_is_not_drawn_as_bars_sets_no_scale() -> None:
    words = make("text", [5.0, 1.0], in_order=True)
    assert find_largest([words, make("tabular", [0.25])], METHOD) == 0.25
    assert find_largest([words], METHOD) == find_largest([], METHOD) == 1.0
    assert find_largest([make("tabular", [0.0])], "grad_cam") == 1.0
