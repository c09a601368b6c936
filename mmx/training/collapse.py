"""Modality collapse: a modality has stopped learning while others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FALLEN = 0.2
"""A gradient norm has fallen away if it is below this fraction of its highest value."""

LOST = 0.5
"""A probe has fallen away if it has lost this fraction of its best lead over chance."""


@dataclass(frozen=True)
class Vitals:
    """Signs in one epoch of how much each modality still learns.

    Attributes:
        gradients: Modality to the mean norm of its encoder's gradient, without frozen encoders.
        probes: Modality to the accuracy of a linear probe on its features.
        chance: Accuracy of always answering the most frequent class.
        noise: Standard error of the accuracy of a probe at chance level.
    """

    gradients: dict[str, float]
    probes: dict[str, float]
    chance: float
    noise: float = 0.0


def gradient_norms(encoders: nn.ModuleDict) -> dict[str, Tensor]:
    """Return each encoder's gradient norm, a scalar on its device, without frozen encoders."""
    found = {}
    for name, encoder in encoders.items():
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        if gradients:
            norms = torch._foreach_norm(gradients)  # one kernel for all tensors
            found[name] = torch.stack([norm.float() for norm in norms]).norm()  # ‖(‖g₁‖, …)‖ = ‖g‖
    return found


def find_collapsed(history: Sequence[Vitals]) -> list[str]:
    """Return the modalities that have collapsed in the last epoch of a history.

    Both signs must have fallen from their best value so far: the gradient norm below ``FALLEN``
    of its highest value, and the probe's lead over chance below ``1 - LOST`` of its largest.
    One sign alone is not enough: gradients also shrink when training has converged. The lead,
    and what is lost of it, must each be more than two standard errors.
    """
    if len(history) < 2:
        return []
    last, found = history[-1], []
    for name in sorted(last.gradients.keys() & last.probes.keys()):
        before = [each for each in history if name in each.gradients and name in each.probes]
        highest = max(each.gradients[name] for each in before)
        lead = max(each.probes[name] - each.chance for each in before)
        still = last.probes[name] - last.chance
        # Twice the noise: a difference of two noisy accuracies must be larger to count.
        lost = still < (1 - LOST) * lead and lead - still > 2 * last.noise
        if lead > 2 * last.noise and lost and last.gradients[name] < FALLEN * highest:
            found.append(name)
    return found
