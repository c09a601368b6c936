"""The training rows' most frequent class: label by label, or the mean of numbers."""

from __future__ import annotations

from mmx.controls.base import Control


class MajorityControl(Control):
    """One answer for all rows."""

    needs_labels = True
    trained = False
