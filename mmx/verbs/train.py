"""``mmx train``: check everything, then run one experiment or a sweep of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmx.config.compose import Composed
from mmx.config.launch import launch
from mmx.verbs.arguments import allowed_packages
from mmx.verbs.preflight import look_for_devices, preflight
from mmx.verbs.train_expand import expand
from mmx.verbs.train_line import read_line
from mmx.verbs.train_single import run_single
from mmx.verbs.train_sweep import run_sweep


def main(arguments: Sequence[str]) -> int:
    """Train, and return the exit code."""
    line = read_line(arguments)
    allowed = allowed_packages(line.allow)
    if line.only_shows:
        launch(_show_only, line.flags, line.overrides, line.config_dirs)
        return 0
    line = expand(line)
    where, overrides = _take(
        line.overrides, "hydra.sweep.dir" if line.multirun else "hydra.run.dir"
    )
    line.overrides = overrides
    jobs = preflight(line, allowed)
    if not any(text.startswith("hydra/launcher=") for text in line.overrides):  # they run here
        look_for_devices(jobs)
    if line.multirun:
        return run_sweep(line, jobs, allowed, where)
    return run_single(line, allowed, where)


def _show_only(composed: Composed) -> None:
    """Do nothing: Hydra has printed the config instead of running it."""


def _take(overrides: Sequence[str], key: str) -> tuple[Path | None, list[str]]:
    """Return the path given for a Hydra key, and the overrides without it."""
    given = [text for text in overrides if text.startswith(f"{key}=")]
    kept = [text for text in overrides if text not in given]
    return (Path(given[-1].split("=", 1)[1].strip("'\"")) if given else None), kept
