"""Controls: models of equal budget that a target is compared with.

A control is a class here that says what it needs, known before data is opened, and one in the
file of the same name in ``mmx/stages/pipeline/controls/`` that trains it. Nothing else names it:
``control=<name of the file>`` chooses it.
"""

from mmx.controls.base import Control
from mmx.variants import find_variants

CONTROLS: dict[str, type[Control]] = find_variants("mmx.controls", Control, skip=("base",))
"""Those of this folder, by the name of their file."""


def find_control(name: str) -> type[Control]:
    """Return a control by its name; one without needs where a run names one that mmx has not."""
    return CONTROLS.get(name, Control)


__all__ = ["CONTROLS", "Control", "find_control"]
