"""The options that all jobs of a command line choose, composed before anything else is read."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from mmx.config.compose import ChosenOptions, composer, list_jobs, parse
from mmx.config.hydra_node import DIRECTORY_KEYS
from mmx.config.locate import list_groups
from mmx.config.override_problems import KEPT, choose_options, sort_overrides
from mmx.config.part_packages import list_part_directories


def choose_all(overrides: Sequence[str], *, multirun: bool) -> dict[Hashable, ChosenOptions]:
    """Return the options that the jobs of a command line choose, of mmx's own files alone.

    Args:
        overrides: Those of the line, as they were typed.
        multirun: Whether they are of a sweep.
    """
    found: dict[Hashable, ChosenOptions] = {}
    with composer():
        if list_part_directories():
            return found
        known = list_groups()
        texts = [text for text in overrides if text.partition("=")[0] not in DIRECTORY_KEYS]
        for job in list_jobs(parse(texts)) if multirun else [texts]:
            choosing, _, problems = sort_overrides(parse(job), job, known, ())
            if any(problems) or len(found) == KEPT:
                break
            found.setdefault((choosing, ()), choose_options(choosing, ()))
    return found
