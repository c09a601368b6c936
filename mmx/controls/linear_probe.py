"""A linear probe: a linear head on the concatenated features of the source's frozen encoders."""

from __future__ import annotations

from mmx.controls.base import Control


class LinearProbeControl(Control):
    """Shows what the source's features are worth without fine-tuning."""

    needs_source_weights = True
