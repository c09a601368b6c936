"""From scratch: the target's model with fresh weights, and the same data, draws and trainer."""

from __future__ import annotations

from mmx.controls.base import Control


class ScratchControl(Control):
    """Trains the target without its source. Use it to see what the transfer adds."""

    without_source = True
