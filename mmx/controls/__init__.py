"""Controls: models of equal budget that a target is compared with.

A control consists of two classes in files of the same name: one here, which says what it needs
before data is opened, and one in ``mmx/stages/pipeline/controls/``, which trains it.
``control=<name of the file>`` chooses it.
"""

from mmx.controls.base import Control
from mmx.variants import find_variants

CONTROLS: dict[str, type[Control]] = find_variants("mmx.controls", Control, skip=("base",))
"""The controls of this folder, by the names of their files."""


def find_control(name: str) -> type[Control]:
    """Return a control by its name; one without needs if mmx does not know the name.

    A run directory may name a control that this version of mmx does not have.
    """
    return CONTROLS.get(name, Control)


__all__ = ["CONTROLS", "Control", "find_control"]
