"""How bilinear methods tame products, whose size grows with every factor."""

from __future__ import annotations

import math

from torch import Tensor

EPSILON = 1e-6


def power_normalised(x: Tensor) -> Tensor:
    """Return the signed square roots of ``x`` ``(B, D)``, at unit length.

        s = sign(x) (√(|x| + ε) − √ε) = x / (√(|x| + ε) + √ε),  s / √(Σ s² + ε),  ε = 1e-6

    The root of |x| alone has an infinite slope at 0, and a vector of zeros has no direction.
    With ε the slopes stay finite, and both are zero at zero.
    """
    roots = x / ((x.abs() + EPSILON).sqrt() + math.sqrt(EPSILON))
    return roots / (roots.square().sum(1, keepdim=True) + EPSILON).sqrt()
