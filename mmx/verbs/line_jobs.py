"""The jobs of a command line, each composed and built: shared by ``train``, ``data`` and others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmx.config import compose
from mmx.config.composed import Composed
from mmx.config.file_places import place_in_files
from mmx.config.override_problems import check_overrides, drop_echoes
from mmx.config.sweep_values import refuse_sweep
from mmx.errors import ConfigError, Problem
from mmx.verbs.train_line import CommandLine

_T = TypeVar("_T")


@dataclass(frozen=True)
class LineJob(Generic[_T]):
    """One job of a command line.

    Attributes:
        overrides: As Hydra passes them to the job.
        composed: Its config.
        typed: What is wrong with its overrides, each by itself.
        parts: In what its parts do not go together.
        built: What was built of its config; None where its parts do not go together.
    """

    overrides: list[str]
    composed: Composed
    typed: tuple[Problem, ...]
    parts: tuple[Problem, ...]
    built: _T | None


def build_line(
    line: CommandLine, build: Callable[[Composed], _T]
) -> tuple[list[LineJob[_T]], list[Problem]]:
    """Compose and build every job of a command line.

    Args:
        line: The command line.
        build: Builds a job of its config; what it raises as ConfigError becomes ``parts``.

    Returns:
        The jobs, and what is wrong with the line as a whole.
    """
    problems: list[Problem] = []
    found: list[LineJob[_T]] = []
    without: set[str] = set()
    with compose.composer(line.config_dirs):
        parsed = compose.parse(line.overrides)
        jobs = compose.list_jobs(parsed) if line.multirun else [line.overrides]
        if not line.multirun:
            problems.extend(refuse_sweep(parsed, line.overrides))
            # Go on without them, so that other problems are reported too.
            sweeping = {problem.given for problem in problems}
            jobs = [[text for text in line.overrides if text not in sweeping]]
            without = {text.lstrip("+").partition("=")[0] for text in sweeping}
        for job in jobs:
            composed, typed = check_overrides(compose.parse(job), job, line.config_dirs)
            built, parts = None, []
            try:
                built = build(composed)
            except ConfigError as error:
                own = drop_echoes(error.problems, composed.unresolved)
                # A value was given: several, which is the problem.
                own = [problem for problem in own if problem.given not in without]
                parts = place_in_files(own, composed, line.config_dirs)
            found.append(LineJob(job, composed, tuple(typed), tuple(parts), built))
    return found, problems
