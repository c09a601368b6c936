"""Completion by TAB of one word of ``mmx train``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.completion_plugin import DefaultCompletionPlugin

from mmx.config.compose import COMPOSE_ERRORS, compose_job, composer
from mmx.config.hydra_node import is_hydra_key
from mmx.config.locate import HIDDEN_GROUPS
from mmx.config.sources import ROOT
from mmx.errors import MmxError


def complete_override(overrides: Sequence[str], last: str, extra: Sequence[Path] = ()) -> list[str]:
    """Return Hydra's candidates for the last word, including those of the user's configs.

    Args:
        overrides: The complete overrides before it.
        last: The part of it that has been typed.
        extra: The user's config directories.

    Raises:
        ConfigError: mmx would refuse the configs.
    """
    overrides = [text for text in overrides if not is_hydra_key(text)]
    key, equals, values = last.partition("=")
    before, comma, value = values.rpartition(",")  # the last of the values of a sweep
    with composer(extra):
        with contextlib.suppress(*COMPOSE_ERRORS):  # an unfinished line need not compose
            compose_job(overrides)
        plugin = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
        line = " ".join([*overrides, f"{key}{equals}{value}"])
        try:
            found: list[str] = plugin._query(config_name=ROOT, line=line)
        except MmxError:
            raise
        except Exception:  # the config does not compose, so there is nothing to offer
            return []
    shown = {each for each in found if re.split("[=/.]", each.lstrip("+~"))[0] not in HIDDEN_GROUPS}
    if comma:
        return sorted(f"{key}={before},{each.partition('=')[2]}" for each in shown)
    return sorted(shown)
