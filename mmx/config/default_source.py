"""The source of a run that names none: that of the demo, or none where the target is one's own.

``mmx train`` alone shows a transfer between tasks that come with mmx. Somebody who trains on a
table of their own has not asked whether digits help there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmx.config.composed import Composed
from mmx.config.locate import find_default_option
from mmx.config.option_files import chooses, reads_own_data
from mmx.stage_id import Role

SOURCE, EXPERIMENT = Role.SOURCE.value, "experiment"
NO_SOURCE = "none"
WITHOUT_SOURCE = f"{SOURCE}={NO_SOURCE}"
OWN_DATA = "the target reads data of your own"
"""When nothing is transferred unasked, in words."""


def takes_source_unasked(composed: Composed, extra: Sequence[Path] = ()) -> bool:
    """Return whether nobody chose the source, and the target reads data of the user's own.

    Args:
        composed: A config with its choices and overrides.
        extra: The user's config directories.
    """
    choices = composed.choices
    words = (text.lstrip("+~").partition("=") for text in composed.overrides)
    typed = {key: value for key, _, value in words}
    if SOURCE in typed or choices.get(SOURCE) != find_default_option(SOURCE):
        return False
    # Hydra's choices leave out a group of which several options are chosen.
    experiments = re.findall(r"[^\[\]'\", ]+", typed.get(EXPERIMENT, ""))
    if any(chooses(SOURCE, name, extra) for name in experiments):
        return False
    return reads_own_data(choices.get(Role.TARGET, ""), extra)
