"""Whether a modality has stopped learning while the others go on (modality collapse)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FALLEN = 0.2
"""A gradient norm below this part of its highest value has fallen away."""

LOST = 0.5
"""A probe that has lost this part of its best lead over chance has fallen away."""


@dataclass(frozen=True)
class Vitals:
    """Signs of life of the modalities in one epoch.

    Attributes:
        gradients: Modality to the mean norm of its encoder's gradient; frozen ones are absent.
        probes: Modality to the accuracy of a linear probe on its features.
        chance: Accuracy without features, of the most frequent class.
        noise: Standard error of a probe that knows nothing.
    """

    gradients: dict[str, float]
    probes: dict[str, float]
    chance: float
    noise: float = 0.0


def gradient_norms(encoders: nn.ModuleDict) -> dict[str, Tensor]:
    """Return each encoder's gradient norm, a scalar on its device; frozen ones are left out."""
    found = {}
    for name, encoder in encoders.items():
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        if gradients:
            norms = torch._foreach_norm(gradients)
            found[name] = torch.stack([norm.float() for norm in norms]).norm()
    return found


def find_collapsed(history: Sequence[Vitals]) -> list[str]:
    """Return the modalities that have collapsed in the last epoch of a history.

    Both signs must have fallen away from their best so far: the gradient norm below
    ``FALLEN`` of its highest value, and the probe's lead over chance below ``1 - LOST`` of
    its largest. One alone says little: gradients also shrink when all is learned. A lead
    counts only where it is more than two standard errors of chance, and so does its loss.
    """
    if len(history) < 2:
        return []
    last, found = history[-1], []
    for name in sorted(last.gradients.keys() & last.probes.keys()):
        before = [each for each in history if name in each.gradients and name in each.probes]
        highest = max(each.gradients[name] for each in before)
        lead = max(each.probes[name] - each.chance for each in before)
        still = last.probes[name] - last.chance
        lost = still < (1 - LOST) * lead and lead - still > 2 * last.noise
        if lead > 2 * last.noise and lost and last.gradients[name] < FALLEN * highest:
            found.append(name)
    return found
