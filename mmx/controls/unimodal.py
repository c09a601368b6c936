"""The best single modality, from scratch; validation chooses which counts."""

from __future__ import annotations

from mmx.controls.base import Control


class UnimodalControl(Control):
    """Each of the target's modalities trained alone."""

    needs_single_modalities = True
