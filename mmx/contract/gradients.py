"""Checks of the gradients after a backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from mmx.contract.base import Broken
from mmx.modalities import Features


def make_leaf(features: Features) -> Features:
    """Return features whose floating-point tensors collect gradients."""
    return features.map(lambda x: x.clone().requires_grad_() if x.is_floating_point() else x)


def expect_gradients(module: nn.Module, expected: str, shut: Iterable[str] = ()) -> int:
    """Raise Broken where a trainable parameter has no gradient, or only zeros.

    Args:
        module: After a backward pass.
        expected: What was expected, in words.
        shut: Patterns of names of parameters without a gradient in the first step, such as
            those behind a gate that is initialised to 0.

    Returns:
        How many parameters train.
    """
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    dead = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
    dead = [name for name in dead if not any(fnmatchcase(name, each) for each in shut)]
    if dead:
        raise Broken(f"expected {expected}; none reaches {', '.join(dead[:5])}")
    return len(trainable)


def find_gradient_that_is_not_finite(module: nn.Module) -> str | None:
    """Return the name of the first parameter with such a gradient, or None."""
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return name
    return None
