"""The targets of a command line, built by themselves: for verbs that look at data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmx.config.composed import Composed
from mmx.errors import ConfigError
from mmx.experiment.target_alone import TargetAlone, build_target
from mmx.runs.essence import essence
from mmx.terminal import Console
from mmx.verbs.line_jobs import build_line
from mmx.verbs.train_expand import expand
from mmx.verbs.train_line import CommandLine

READ = ("target", "task", "experiment", "encoder", "seed", "seeds", "curve", "modalities")
READ_WITH_PLACES = (*READ, "data_dir", "output_dir", "download", "hydra")
"""What a look at a target reads of a command line; overrides may begin with it."""


@dataclass(frozen=True)
class TargetJob:
    """One target of a command line.

    Attributes:
        overrides: Those that chose it.
        target: The target.
    """

    overrides: tuple[str, ...]
    target: TargetAlone


def build_targets(line: CommandLine, allowed: Sequence[str], verb: str) -> list[TargetJob]:
    """Build the targets of a command line, each once, before any data is opened.

    Args:
        line: The command line, with the overrides that ``mmx train`` takes.
        allowed: Packages other than mmx whose classes the config may name.
        verb: The verb, for a note on overrides that it does not read.

    Raises:
        ConfigError: Everything that is wrong with any of them.
    """
    line = expand(line)
    jobs, problems = build_line(line, lambda composed: build_target(composed.config, allowed))
    found: dict[str, TargetJob] = {}
    for job in jobs:
        problems += [*job.typed, *job.parts]
        if job.built is not None:
            target = TargetJob(job.composed.overrides, job.built)
            found.setdefault(_identify(job.composed), target)
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    _note_unread(line.overrides, verb)
    return list(found.values())


def _identify(composed: Composed) -> str:
    """Return what tells two looks at a target apart."""
    config = composed.config
    return repr([essence(config["target"]), config.get("modalities"), config.get("encoder")])


def is_read(override: str) -> bool:
    """Return whether an override may change what is seen of a target, or where it is found."""
    key = override.lstrip("+~").split("=")[0]
    return key.replace("/", ".").split(".")[0] in READ_WITH_PLACES


def _note_unread(overrides: Sequence[str], verb: str) -> None:
    """Say which overrides change nothing of the data."""
    unread = [text for text in overrides if not is_read(text)]
    if unread:
        Console(stderr=True).print(
            f"note: mmx {verb} reads the target alone; {' '.join(unread)} "
            f"{'changes' if len(unread) == 1 else 'change'} nothing here",
            highlight=False,
            soft_wrap=True,
        )
