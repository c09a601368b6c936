"""How long runs like those of a plan have taken before, as the index of an output folder has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from mmx.json_object import Json
from mmx.runs.index import flatten_to_cells
from mmx.runs.index_cache import CellValue
from mmx.runs.index_reading import read_run_facts
from mmx.stage_id import TASK_ROLES

SECONDS = "timing.total_s"
ALIKE = (
    "trainer.epochs",
    "trainer.source_epochs",
    "trainer.batch_size",
    "trainer.accumulate",
    "control",
    "modalities",
    "precision",
    *(f"{role}.{key}" for role in TASK_ROLES for key in ("per_class", "limit")),
)
"""Settings that decide how long a run takes, besides the options of its parts."""


def find_earlier_seconds(
    root: Path, planned: Sequence[tuple[Mapping[str, str], Json]]
) -> list[list[float]]:
    """Return, for each planned run, the seconds of finished ones with the same parts and length.

    Args:
        root: The output folder.
        planned: Of each, group to chosen option, and the config, as its run would record them.
    """
    names = sorted({group.replace("/", ".") for choices, _ in planned for group in choices})
    keys = [*names, *ALIKE]
    known: dict[tuple[CellValue, ...], list[float]] = {}
    if root.is_dir():
        for seconds, *values in read_run_facts(root, [SECONDS, *keys]).values():
            if isinstance(seconds, (int, float)):
                known.setdefault(tuple(values), []).append(float(seconds))
    return [known.get(_list_facts(choices, config, keys), []) for choices, config in planned]


def _list_facts(
    choices: Mapping[str, str], config: Json, keys: Sequence[str]
) -> tuple[CellValue, ...]:
    options = {group.replace("/", "."): name for group, name in choices.items()}
    facts = {**dict(flatten_to_cells(config)), **options}
    return tuple(facts.get(key) for key in keys)


def estimate_seconds(found: Sequence[Sequence[float]], at_once: int) -> float:
    """Return the seconds of runs of which each has earlier ones, several at a time.

    Args:
        found: For each run the seconds of earlier ones.
        at_once: How many run at the same time.

    Example:
        >>> estimate_seconds([[10.0, 20.0], [15.0]], at_once=2)
        15.0
    """
    return sum(map(fmean, found)) / max(1, min(at_once, len(found)))
