"""What a control needs of an experiment, and what a gain over it says."""

from __future__ import annotations

from typing import ClassVar


class Control:
    """Base of all controls. A subclass sets the attributes that differ from the defaults.

    ``control=shuffled`` would choose the class in ``mmx/controls/shuffled.py``.

    Example:
        >>> class ShuffledControl(Control):
        ...     \"\"\"The target trained on shuffled labels, which say nothing.\"\"\"
        ...
        ...     needs_labels = True
        >>> ShuffledControl.trained, ShuffledControl.needs_source_weights
        (True, False)

    Attributes:
        without_source: Whether it is the target's own training without a source. The gain over
            it is then what the source adds, and a run without a source is the control itself.
        needs_source_weights: Whether it needs a source that is trained before the target.
        needs_labels: Whether it needs an objective that reads labels.
        needs_single_modalities: Whether it needs an objective and a fusion that work on each of
            the target's modalities alone.
        needs_text_tower: Whether it needs classes, and an encoder of images with a published
            text tower; see :meth:`~mmx.encoders.Encoder.text_tower`.
        trained: Whether it is trained, with the budget of the target.
        stands_for_chance: Whether it has learned nothing, so that a target that beats it has.
        options: Root keys of a config that this control alone reads.
    """

    # Read by assemble and the reports without building anything, hence class attributes.
    without_source: ClassVar[bool] = False
    needs_source_weights: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    needs_single_modalities: ClassVar[bool] = False
    needs_text_tower: ClassVar[bool] = False
    trained: ClassVar[bool] = True
    stands_for_chance: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()
