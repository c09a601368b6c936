"""mmx rank [flags] [group=option ...] [key=value ...]: which source, which encoder?

Ranks sources and encoders for a target before anything is trained on it:

  mmx rank -m target=stl10 source=cifar10,cifar100,none encoder/image=small_cnn,resnet18

For each combination the source is trained, or taken from the artifact cache, and the features
of the target's training rows are scored by LogME, H-score (and with shrinkage), LEEP, NCE,
TransRate and k-nearest neighbours. A linear probe is fitted on them and measured on the
validation rows. The test rows stay closed. With source=published the encoders start from
published weights, and nothing is trained: encoder.text.model=a,b,c ranks models. With source=none
they are fresh, which shows what features are worth that nothing has taught.

The table on stderr is ordered by mean place over the scores that all candidates have; the probe
breaks ties and stands in the last column. No single score is reliable: the last line is the
command that trains the first, a search with transfer=auto. stdout carries one line, the path of
ranking.csv; ranking.json beside it holds everything, and why a cell is blank:
outputs/ranks/<id>/. Interrupted, the same command goes on where it stopped.

flags, in any place:
  -m, --multirun      rank every combination of comma-separated values
  --rows N            training rows that are scored, evenly from each class (default 5000)
  --config-dir DIR    add your own YAML, as for mmx train
  --allow PKG         let configs name classes of your own package (also MMX_ALLOW=PKG,PKG)
  --debug             show tracebacks

Exit code 1 if a candidate could not be ranked. mmx train --help lists all sources and encoders.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mmx.config.signature import list_options
from mmx.errors import ConfigError, Interrupted, MmxError, Problem, UsageError
from mmx.json_object import Json
from mmx.reports import ranking
from mmx.reports.ranking import RankedCandidate, Ranking
from mmx.reports.view import open_view
from mmx.runs.directory import RunDirectory
from mmx.runs.essence import essence
from mmx.runs.variation import join_overrides, label_variants
from mmx.stage_id import Role
from mmx.stages.selection.prepare import make_context
from mmx.stages.selection.rank import rank
from mmx.terminal import Console
from mmx.training.events import StopRequest, stop_on_signals
from mmx.transfer.auto import Auto
from mmx.verbs.arguments import list_allowed_packages
from mmx.verbs.preflight import Job, make_variant, preflight, require_devices
from mmx.verbs.train_line import parse_line

SUMMARY = "score sources and encoders for a target before training on it"
PLACE = 20
COMPLETES = {
    "overrides": True,
    "flags": {
        "--multirun": None,
        "--rows": (),
        "--config-dir": (),
        "-cd": (),
        "--allow": (),
        "--help": None,
        "--debug": None,
    },
}

DEFAULT_ROWS = 5000
NOT_READ = (
    "regularizer",
    "balance",
    "metric",
    "calibration",
    "control",
    "templates",
    "seeds",
    "curve",
)
"""Keys that only training on the target reads; null is allowed, to unset an experiment's."""
RANKING_WIDTH = 200


def main(arguments: Sequence[str]) -> int:
    """Rank, and return the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__, end="")
        return 0
    rows, rest = _take_rows(arguments)
    line = parse_line(rest, "rank")
    if line.only_shows:
        raise UsageError(
            f"mmx rank has no flag {line.flags[0]}",
            tip="mmx train --cfg job shows the config that the same overrides give",
        )
    allowed = list_allowed_packages(line.allow)
    _refuse_unread(line.overrides)
    jobs = preflight(line, allowed)
    _refuse(jobs)
    require_devices(jobs)
    each_once = _take_each_once(jobs)
    flags = [f"--config-dir={path}" for path in line.config_dirs]
    flags += [f"--allow={package}" for package in line.allow]
    return _rank_all(each_once, rows, flags)


def _take_rows(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """Return the value of ``--rows``, and the other words."""
    rest, given = [], str(DEFAULT_ROWS)
    words = iter(arguments)
    for word in words:
        flag, glued, value = word.partition("=")
        if flag != "--rows":
            rest.append(word)
            continue
        given = value if glued else next(words, "")
    if not given.isdecimal() or int(given) < 2:
        raise UsageError(f"--rows {given} must be an integer ≥ 2", tip=f"--rows {DEFAULT_ROWS}")
    return int(given), rest


def _refuse_unread(overrides: Sequence[str]) -> None:
    """Refuse overrides that a ranking does not read.

    Raises:
        ConfigError: There is such an override.
    """

    def is_read(text: str) -> bool:
        key, _, value = text.lstrip("+~").partition("=")
        return key.split(".")[0] not in NOT_READ or value == "null"

    reason = "mmx rank trains nothing on the target, and reads this nowhere"
    problems = [
        Problem(text, reason, type_this=f"leave out {text}")
        for text in overrides
        if not is_read(text)
    ]
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def _refuse(jobs: Sequence[Job]) -> None:
    """Refuse jobs that a ranking cannot compare.

    Raises:
        ConfigError: Jobs differ in their target or seed, or take no weights from a source.
    """
    problems: list[Problem] = []
    for job in jobs:
        experiment = job.experiment
        starts = experiment.transfer.needs == "weights" if experiment.source else True
        if not starts or "source" in experiment.dropped:
            problems.append(_weights_problem(job.composed.choices["transfer"]))
        problems.extend(_refuse_other_rows(job, jobs[0]))
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def _refuse_other_rows(job: Job, first: Job) -> list[Problem]:
    """Refuse a job with another target or seed than the first, and so with other rows."""
    mine, others = job.experiment, first.experiment
    if mine.settings.seed != others.settings.seed:
        key = "seed"
    elif essence(mine.config["target"]) != essence(others.config["target"]):
        key = "target"
    else:
        return []
    given = [text for text in job.overrides if text.startswith(key)]
    reason = "a ranking compares features of the same rows, and these are others"
    first_given = [text for text in first.overrides if text.startswith(key)]
    advice = f"{' '.join(first_given)}   (one {key} a ranking)"
    return [Problem(" ".join(given) or key, reason, type_this=advice)]


def _weights_problem(mode: str) -> Problem:
    return Problem(
        f"transfer={mode}",
        "takes no weights from a source that is trained before: there would be none to rank",
        type_this="transfer=feature",
    )


def _take_each_once(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs without those that are the same experiment as one before, which is said."""
    console, first = Console(stderr=True), dict[str, Job]()
    for job in jobs:
        known = first.setdefault(job.experiment.fingerprint, job)
        mine, others = join_overrides(job.overrides), join_overrides(known.overrides)
        if mine != others:  # such as a folder of weights and its copy
            text = f"left out {mine}: the same as {others}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    return list(first.values())


def _rank_all(jobs: Sequence[Job], rows: int, flags: Sequence[str]) -> int:
    """Rank every candidate, print the table, and return the exit code."""
    first = jobs[0].experiment
    place = Ranking.of(
        Path(first.settings.output_dir), [job.experiment.fingerprint for job in jobs], rows
    )
    directory = place.directory
    directory.acquire()
    try:
        directory.set_status("running")
        candidates = _candidates(jobs, rows, place, flags)
        found = ranking.order(candidates)
        path = place.write(first.target.name, first.settings.seed, found)
        place.clear()
        directory.set_status("done")
    except Interrupted as error:
        directory.set_status("interrupted", error=error.message, signal=error.signal_number)
        raise Interrupted(
            error.message,
            signal_number=error.signal_number,
            tip="the same command goes on where it stopped",
        ) from error
    except BaseException as error:
        directory.set_status("failed", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        directory.release()
    _say(found)
    print(path)
    return 1 if any(each.error for each in candidates) else 0


def _candidates(
    jobs: Sequence[Job], rows: int, place: Ranking, flags: Sequence[str]
) -> list[RankedCandidate]:
    """Rank each job, and keep one that fails with its error."""
    console, found = Console(stderr=True), []
    called = label_variants([make_variant(job) for job in jobs])
    if len(jobs) == 1:  # nothing varies
        called = [{"source": jobs[0].composed.choices[Role.SOURCE]}]
    with stop_on_signals() as stop:
        for job, label in zip(jobs, called, strict=True):
            text = join_overrides(job.composed.overrides)
            if len(jobs) > 1:
                shown = f"candidate {text}"
                console.print(shown, style="bold", markup=False, highlight=False, soft_wrap=True)
            try:
                facts = _rank_one(job, rows, place.work(job.experiment.fingerprint), stop)
                found.append(
                    RankedCandidate(text, label, facts, command=_write_command(job, flags))
                )
            except Interrupted:
                raise
            except MmxError as error:
                why = " ".join(error.message.split())
                found.append(RankedCandidate(text, label, error=why, tip=error.tip or ""))
            if stop.is_made:
                raise stop.describe(f"stopped after {len(found)} of {len(jobs)} candidates")
    return found


def _write_command(job: Job, flags: Sequence[str]) -> str:
    """Return the command that trains a candidate on the target: a search, if it has a source."""
    kept = {f"transfer.{name}" for name in list_options(Auto)}
    words = [
        text
        for text in job.composed.overrides
        if (key := text.lstrip("+~").partition("=")[0]) != "transfer"
        and (not key.startswith("transfer.") or key in kept)
    ]
    search = ["transfer=auto"] if job.experiment.source is not None else []
    return shlex.join(["mmx", "train", *flags, *words, *search])


def _rank_one(job: Job, rows: int, directory: RunDirectory, stop: StopRequest) -> Json:
    """Rank one candidate, and return its results as data for JSON."""
    with open_view() as listen:
        ranked = rank(make_context(job.experiment, directory, listen, stop), rows)
    facts = asdict(ranked)
    # JSON has no NaN; None stands for a probe that could not be fitted.
    return {**facts, "probe": None if math.isnan(ranked.probe) else ranked.probe}


def _say(found: Sequence[ranking.Placed]) -> None:
    """Print the table, the remarks on it, and the candidates that failed."""
    console = Console(stderr=True)
    console.width = console.width if console.is_terminal else RANKING_WIDTH
    if any(each.place is not None for each in found):
        console.print(ranking.make_ranking_table(found))
        for line in ranking.list_remarks(found):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for each in found:
        if each.candidate.error:
            console.print(
                f"failed: {each.candidate.label}: {each.candidate.error}"
                + (f"\n  tip: {each.candidate.tip}" if each.candidate.tip else ""),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
