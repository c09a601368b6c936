"""Composes and builds every job of a command line before any of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmx.config.chosen import find_chosen_names
from mmx.config.composed import Composed
from mmx.errors import ConfigError, Problem
from mmx.experiment import Experiment, assemble
from mmx.experiment.publishing import find_missing_files, find_other_formats
from mmx.ranks.lead import require_processes
from mmx.runs.essence import essence_with_weights
from mmx.runs.variation import Variant
from mmx.training.precision import choose_device
from mmx.verbs.line_jobs import LineJob, build_line
from mmx.verbs.train_line import CommandLine

STRICT = ("encoder.", "fusion.", "transfer", "regularizer")
"""Keys of which an unread override is an error; of other keys it is only noted."""


@dataclass(frozen=True)
class Job:
    """One job of a command line, composed and built.

    Attributes:
        overrides: As Hydra passes them to the job.
        composed: Its config.
        experiment: Its experiment.
    """

    overrides: list[str]
    composed: Composed
    experiment: Experiment


def make_variant(job: Job) -> Variant:
    """Return the description of a job that tells it from the others of its command line."""
    experiment, composed = job.experiment, job.composed
    return Variant(
        config=experiment.config,
        what=essence_with_weights(experiment.config, experiment.weight_digests),
        unresolved=composed.unresolved,
        names={
            group: experiment.find_name(group)
            for group in composed.choices
            if group != "experiment"
        },
        typed=[text.lstrip("+~").partition("=")[0] for text in composed.overrides],
        choices=composed.choices,
    )


def preflight(line: CommandLine, allowed: Sequence[str]) -> list[Job]:
    """Compose and build every job before any of them runs.

    Raises:
        ConfigError: Everything that is wrong with any job.
    """
    found, refused, problems = _build_jobs(line, allowed)
    problems += [problem for each in refused for problem in (*each.typed, *each.parts)]
    _require_usable(found, problems)
    return found


def preflight_possible(
    line: CommandLine, allowed: Sequence[str]
) -> tuple[list[Job], list[LineJob[Experiment]]]:
    """Compose and build every job, and return apart those of which the parts do not go together.

    Raises:
        ConfigError: No job is possible, or an override is wrong by itself.
    """
    found, refused, problems = _build_jobs(line, allowed)
    if not found or any(each.typed for each in refused):
        problems += [problem for each in refused for problem in (*each.typed, *each.parts)]
    _require_usable(found, problems)
    return found, refused


def _require_usable(found: Sequence[Job], problems: Sequence[Problem]) -> None:
    wrong = problems or [*refuse_unread(found), *refuse_absent_weights(found)]
    if wrong:
        raise ConfigError(dict.fromkeys(wrong))


def _build_jobs(
    line: CommandLine, allowed: Sequence[str]
) -> tuple[list[Job], list[LineJob[Experiment]], list[Problem]]:
    """Return the jobs of a line, those that cannot be used, and what is wrong with the line."""

    def build(composed: Composed) -> Experiment:
        names = find_chosen_names(composed, line.config_dirs)
        return assemble(composed.config, allowed, names)

    jobs, problems = build_line(line, build)
    found: list[Job] = []
    refused: list[LineJob[Experiment]] = []
    for job in jobs:
        if job.built is None or job.typed:
            refused.append(job)
        else:
            found.append(Job(job.overrides, job.composed, job.built))
    return found, refused, problems


def require_devices(jobs: Sequence[Job]) -> None:
    """Check the devices and processes before a run directory is made.

    Raises:
        ConfigError: A job needs a device, or more processes, that this machine does not have.
    """
    for name in dict.fromkeys(job.experiment.settings.device for job in jobs):
        choose_device(name)
    require_processes_of_all(jobs)


def require_processes_of_all(jobs: Sequence[Job]) -> None:
    """Check that each job can have the processes that it asks for.

    Where it asks for a device that is not here, nothing can be said of them.

    Raises:
        ConfigError: A job asks for more than this machine has.
    """
    problems: list[Problem] = []
    for job in jobs:
        try:
            choose_device(job.experiment.settings.device)
        except ConfigError:
            continue
        try:
            require_processes(job.experiment)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def refuse_absent_weights(found: Sequence[Job]) -> list[Problem]:
    """Return the problems of weight files that do not exist, or that hold no tensors."""
    return [
        problem
        for job in found
        for find in (find_missing_files, find_other_formats)
        for problem in find(job.experiment.start, job.experiment.find_encoder_path)
    ]


def refuse_unread(found: Sequence[Job]) -> list[Problem]:
    """Return the problems of overrides that no job reads."""
    reasons: dict[str, list[str]] = {}
    instead: dict[str, str] = {}
    for job in found:
        for text in job.overrides:
            key = text.lstrip("+~").split("=", 1)[0].replace("/", ".")
            for dropped, why in job.experiment.dropped.items():
                if (key == dropped or key.startswith(f"{dropped}.")) and key.startswith(STRICT):
                    reasons.setdefault(text, []).append(why)
                    instead[text] = _advise_instead(text, key, job.experiment)
    return [
        Problem(text, f"has no effect, since {why[0]}", type_this=instead[text])
        for text, why in reasons.items()
        if len(why) == sum(text in job.overrides for job in found)
        and not _sibling_is_read(text, found)
    ]


def _advise_instead(text: str, key: str, experiment: Experiment) -> str:
    """Return what to type instead of an override without effect, or to give it one."""
    leave = "regularizer=none" if key == "regularizer" else f"leave out {text}"
    if key.startswith("encoder."):
        return leave
    if key.startswith("fusion."):
        return f"{leave}   (or match=none)"
    other = "transfer=parameter" if "source" in experiment.dropped else "source=<task>"
    return f"{leave}   (or {other})"


def _sibling_is_read(text: str, found: Sequence[Job]) -> bool:
    """Return whether some job reads the same key, with another value or task."""
    key = text.split("=", 1)[0]
    path = key.lstrip("+~").replace("/", ".")
    return any(
        any(other.split("=", 1)[0] == key for other in job.overrides)
        and not any(path == d or path.startswith(f"{d}.") for d in job.experiment.dropped)
        for job in found
    )
