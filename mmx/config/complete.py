"""What TAB may make of one word of ``mmx train``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.completion_plugin import DefaultCompletionPlugin

from mmx.config.compose import ROOT, composer
from mmx.config.locate import HIDDEN


def complete(overrides: Sequence[str], last: str, extra: Sequence[Path] = ()) -> list[str]:
    """Return Hydra's candidates for the last word, among the user's own configs too.

    Args:
        overrides: The complete overrides before it.
        last: What has been typed of it.
        extra: The user's config directories.
    """
    key, equals, values = last.partition("=")
    before, comma, value = values.rpartition(",")  # of a sweep
    with composer(extra):
        plugin = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
        line = " ".join([*overrides, f"{key}{equals}{value}"])
        found: list[str] = plugin._query(config_name=ROOT, line=line)
    shown = {each for each in found if re.split("[=/.]", each.lstrip("+~"))[0] not in HIDDEN}
    if comma:
        return sorted(f"{key}={before},{each.partition('=')[2]}" for each in shown)
    return sorted(shown)
