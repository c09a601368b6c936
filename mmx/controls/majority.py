"""The most frequent class of the training rows: for each label, or the mean of numbers."""

from __future__ import annotations

from mmx.controls.base import Control


class MajorityControl(Control):
    """Gives one answer for all rows. Use it to see whether the target beats chance."""

    needs_labels = True
    trained = False
    stands_for_chance = True
