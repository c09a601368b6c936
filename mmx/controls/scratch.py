"""From scratch: the target's model, fresh, on the same data with the same draws and trainer."""

from __future__ import annotations

from mmx.controls.base import Control


class ScratchControl(Control):
    """The target trained without its source."""

    without_source = True
