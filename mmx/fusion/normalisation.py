"""Power normalisation, which bounds the products of bilinear methods."""

from __future__ import annotations

import math

from torch import Tensor

EPSILON = 1e-6


def normalise_power(x: Tensor) -> Tensor:
    """Return the signed square roots of ``x`` ``(B, D)``, scaled to unit length.

        s = sign(x) (√(|x| + ε) − √ε) = x / (√(|x| + ε) + √ε),  s / √(Σ s² + ε),  ε = 1e-6

    The square root has an infinite slope at 0, and a vector of zeros cannot be scaled to unit
    length. With ε the gradients stay finite, and zeros are mapped to zeros.
    """
    # The second form above: the difference of the roots would cancel for small |x|.
    roots = x / ((x.abs() + EPSILON).sqrt() + math.sqrt(EPSILON))
    # ε in the root: the gradient of a norm is undefined at a vector of zeros.
    return roots / (roots.square().sum(1, keepdim=True) + EPSILON).sqrt()
