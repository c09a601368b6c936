"""Equal numbers of parameters for fusion methods that are compared (``match=params``)."""

from __future__ import annotations

from functools import cache, partial
from typing import cast

from torch import nn

from mmx.fusion.base import Fusion, Widths
from mmx.meta_model import make_without_memory
from mmx.variants import variant

TOLERANCE = 0.05
"""Largest difference from the budget, as a fraction of it."""
NARROWEST, WIDEST = 2, 2**16


def make_matched(
    widths: dict[str, Widths],
    *,
    outputs: int,
    method: partial[Fusion],
    budget: int,
    share_heads: bool = False,
) -> Fusion:
    """Return a fusion of the width at which fusion and head have as many parameters as budgeted.

    The number of trainable parameters must grow with the method's ``width_option``; a
    bisection finds the width with the number nearest to the budget.

    Args:
        widths: Modality to widths.
        outputs: C.
        method: The class with its other options.
        budget: Trainable parameters of the fusion and the linear head after it.
        share_heads: Whether all modalities will share one head, which then counts once.

    Raises:
        ValueError: No width comes within ``TOLERANCE`` of the budget.
    """
    option = width_option(method)

    # Cached: doubling, bisection and the final choice ask for the same widths again.
    @cache
    def count(width: int) -> int:
        fusion = make_without_memory(method, widths, outputs=outputs, **{option: width})
        if share_heads:
            merge_heads(fusion)
        return count_fusion_parameters(fusion, outputs)

    # Double the width until it is too large, then bisect: count(low) ≤ budget < count(high).
    low, high = NARROWEST, 2 * NARROWEST
    while count(high) < budget and high < WIDEST:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    # The budget lies between the two; the nearer may be the larger one.
    best = min((low, high), key=lambda width: abs(count(width) - budget))
    found = count(best)
    if abs(found - budget) > TOLERANCE * budget:
        name = variant(cast(type[Fusion], method.func))
        raise ValueError(
            f"match=params finds no width of {name} with {budget:,} parameters in fusion and head: "
            f"the nearest is {option}={best} with {found:,}"
        )
    return method(widths, outputs=outputs, **{option: best})


def merge_heads(fusion: Fusion) -> None:
    """Make all modalities use one head, if the method has heads of equal shapes."""
    heads = getattr(fusion, "heads", None)
    if not isinstance(heads, nn.ModuleDict):
        return
    names = sorted(heads)
    shapes = {tuple(tuple(p.shape) for p in heads[name].parameters()) for name in names}
    if len(shapes) == 1:
        # The same module under every name, not a copy: it gets the sum of the gradients.
        for name in names[1:]:
            heads[name] = heads[names[0]]


def width_option(method: partial[Fusion]) -> str:
    """Return the option of a method that scales its parameters."""
    return cast(type[Fusion], method.func).width_option


def count_fusion_parameters(fusion: Fusion, outputs: int) -> int:
    """Return the number of trainable parameters of a fusion and of the linear head after it."""
    own = sum(each.numel() for each in cast(nn.Module, fusion).parameters() if each.requires_grad)
    return own if fusion.decides else own + (fusion.width + 1) * outputs
