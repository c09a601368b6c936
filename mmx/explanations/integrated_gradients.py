"""Integrated gradients, computed by captum."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.explanations.base import (
    Attribution,
    Completeness,
    Method,
    Question,
    as_values,
    full_precision,
)
from mmx.explanations.inputs import find_parts
from mmx.explanations.surface import Surface
from mmx.extras import import_extra

STEPS = (32, 64, 128, 256, 512, 1024)
"""Steps of the integral that are tried until completeness holds."""
TOLERANCE = 0.01
"""Part of the change of the output by which the sum of the attributions may differ from it."""
ROUNDING = 1e-5
"""Part of the outputs themselves that counts as rounding, where they hardly change."""
AT_ONCE = 32
"""Variants of a row that are computed at once."""


class IntegratedGradients(Method):
    """The gradient along the way from a baseline to the input.

        attribution_i = (x_i - b_i) · ∫₀¹ ∂f / ∂x_i (b + t (x - b)) dt

    The integral is a sum (Gauss-Legendre) over 32 steps, and over twice as many until the
    attributions sum to f(x) - f(b) within 1 %, or 1,024 are too few.

    Reference: Sundararajan et al. 2017, arXiv 1703.01365.
    """

    title = "Integrated gradients"
    about = (
        "What each part adds to the output, or takes from it, on the way from the baseline to the "
        "input. All parts together sum to the output minus that for the baseline."
    )
    has_baseline = True

    def explain_misfit(self, question: Question) -> str:
        """Return that no gradient reaches the input, where none does; see :class:`Method`."""
        surface, _ = _find_ends(question)
        values = surface.read(question.x)
        if not values.is_floating_point():
            return "its encoder reads whole numbers and has no layer that looks up vectors for them"
        values = values.detach().requires_grad_()
        with torch.enable_grad():
            answer = surface.answer(values).sum()
            if answer.requires_grad:
                (slope,) = torch.autograd.grad(answer, values, allow_unused=True)
                if slope is not None:
                    return ""
        return "no gradient reaches it from the output"

    def attribute(self, question: Question) -> Attribution:
        """Return what each part adds; see :class:`Method`."""
        captum = import_extra("captum.attr", "explain")
        parts = find_parts(question)
        surface, baseline = _find_ends(question)
        values, start = surface.read(question.x).detach(), surface.read(baseline).detach()
        with torch.no_grad():
            after, before = float(surface.answer(values)), float(surface.answer(start))
        total = after - before
        allowed = max(TOLERANCE * abs(total), ROUNDING * max(1.0, abs(after), abs(before)))
        method = captum.IntegratedGradients(surface.answer)
        for steps in STEPS:
            # Around the backward pass as well, whose products autocast would round too.
            with full_precision(question.model, values.device):
                found: Tensor = method.attribute(
                    values, baselines=start, n_steps=steps, internal_batch_size=AT_ONCE
                )
            gap = float(found.sum(dtype=torch.float64)) - total
            complete = Completeness(total, gap, steps, allowed)
            if complete.holds:
                break
        summed = parts.sum_parts(as_values(found[0]), question)
        return Attribution(summed, signed=True, completeness=complete)


def _find_ends(question: Question) -> tuple[Surface, Tensor]:
    """Return where the input is changed, and the input that says nothing."""
    parts = find_parts(question)
    return Surface(question, parts.find_layer(question)), parts.make_baseline(question)
