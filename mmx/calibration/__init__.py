"""Calibration: probabilities that mean what they say, fitted on validation rows after training.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from mmx.calibration.base import Calibration, Rescaling, attach, suspend_calibration
from mmx.calibration.reliability import ReliabilityBin, find_reliability

__all__ = [
    "Calibration",
    "ReliabilityBin",
    "Rescaling",
    "attach",
    "find_reliability",
    "suspend_calibration",
]
