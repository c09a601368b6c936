"""Temperature scaling: all outputs divided by one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.calibration.base import LARGEST, Calibration, measure_loss
from mmx.metrics import Floats
from mmx.tasks.contents import Kind


@dataclass(frozen=True, kw_only=True)
class Temperature(Calibration):
    """Divides all outputs by one temperature T. Use it first: it changes no decision.

        min_T mean_i -ln softmax(z_i / T)[y_i],  1/100 ≤ T ≤ 100

    For several labels the sigmoid of each, with one T.

    Reference: Guo et al. 2017 (arXiv:1706.04599).
    """

    one_temperature = True

    def fit(self, outputs: Floats, values: npt.NDArray[Any], kind: Kind) -> tuple[Floats, Floats]:
        """Return 1 / T for each output, and no offset; see :class:`Calibration`."""
        from scipy.optimize import minimize_scalar  # slow to import

        # The loss is convex in 1 / T, and so has one minimum in ln T.
        found = minimize_scalar(
            # divided by T = e^logarithm, which stays positive
            lambda logarithm: measure_loss(outputs * np.exp(-logarithm), values, kind)[0],
            bounds=(-np.log(LARGEST), np.log(LARGEST)),
            method="bounded",
            options={"xatol": 1e-9},
        )
        width = outputs.shape[1]
        return np.full(width, float(np.exp(-found.x))), np.zeros(width)
