"""Vector scaling: a scale and an offset for each output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.calibration.base import LARGEST, Calibration, measure_loss
from mmx.metrics import Floats
from mmx.tasks.contents import Kind


@dataclass(frozen=True, kw_only=True)
class VectorScaling(Calibration):
    """Gives each output a scale and an offset. Use it where classes are over- or underestimated.

        min_{w,b} mean_i -ln softmax(w ⊙ z_i + b)[y_i],  1/100 ≤ w_c ≤ 100, |b_c| ≤ 100

    For several labels the sigmoid of each. It may change decisions, and needs more validation
    rows than a temperature: 2 C numbers are fitted.

    Reference: Guo et al. 2017 (arXiv:1706.04599).
    """

    def fit(self, outputs: Floats, values: npt.NDArray[Any], kind: Kind) -> tuple[Floats, Floats]:
        """Return scale and offset of each output; see :class:`Calibration`."""
        from scipy.optimize import minimize  # slow to import

        width = outputs.shape[1]

        def measure(both: Floats) -> tuple[float, Floats]:
            scale, offset = both[:width], both[width:]
            loss, gradient = measure_loss(outputs * scale + offset, values, kind)
            # By the chain rule: d/d scale_c = Σ_n g_nc z_nc, d/d offset_c = Σ_n g_nc.
            return loss, np.concatenate([(gradient * outputs).sum(0), gradient.sum(0)])

        bounds = [(1 / LARGEST, LARGEST)] * width + [(-LARGEST, LARGEST)] * width
        # Starts at the identity, which is what an uncalibrated model is.
        found = minimize(
            measure,
            np.concatenate([np.ones(width), np.zeros(width)]),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9},
        )
        return found.x[:width], found.x[width:]


Vector = VectorScaling
"""Its name in configs, which counts in the fingerprints of runs and in the keys of sweeps."""
