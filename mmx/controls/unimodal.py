"""The best single modality, trained from scratch; validation chooses which one counts."""

from __future__ import annotations

from mmx.controls.base import Control


class UnimodalControl(Control):
    """Trains each of the target's modalities alone. Use it to see what the fusion adds."""

    needs_single_modalities = True
