"""``mmx search``: find settings on validation, and open the test rows once, for the winner.

    mmx search target=digits_av 'optimizer.lr=log(1e-4,1e-2)' fusion.width=32..256 trials=30
    mmx search target=fsdd source=none 'encoder/audio=[logmel_cnn,crnn]' 'trainer.epochs=5..30'

    key=log(a,b)    numbers from a to b, spread evenly over their magnitudes
    key=a..b        numbers from a to b, whole if both are
    key=a,b,c       one of several values; of a config group also group=[a,b,c]

    trials=20           how many trainings
    sampler=tpe         or random
    pruner=hyperband    stops trials early that validation speaks against; or none
    jobs=auto           trials at the same time, as of a sweep

All else is as for mmx train. The first trials are drawn at random; later ones by what was best
(Optuna's TPE). A trial trains source and target, and no control; its test rows are not opened. The
winner is then run as mmx train would run it, with its control and test. The same command goes on
where it was stopped, exactly; with more trials= it goes on from those that it has. The last line of
stdout is the directory of the search.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter, ValidationError

from mmx.config import compose
from mmx.config.locate import list_groups
from mmx.config.override_problems import check_overrides
from mmx.errors import ConfigError, Problem, UsageError
from mmx.experiment.identify import identify, read_fingerprints
from mmx.json_object import Json
from mmx.reports.search_table import describe_choice, make_search_table, write_trials
from mmx.reports.sweep_view import open_sweep_view
from mmx.runs.atomic import make_folder, write_json
from mmx.runs.sweep import Sweep
from mmx.runs.sweep_process import allow_again, announce_process
from mmx.search.space import EXAMPLES, Dimension, read_choices, read_range
from mmx.search.study import Study, StudySettings, TrialRow, find_best
from mmx.stage_id import TASK_ROLES
from mmx.terminal import Console
from mmx.untrusted import parse_json, read_text
from mmx.verbs.arguments import list_allowed_packages
from mmx.verbs.preflight import Job, preflight_possible, require_devices
from mmx.verbs.search_trials import (
    SearchFolder,
    TrialWork,
    compose_trial,
    tell_results,
    write_batch,
)
from mmx.verbs.train_checked import take_path
from mmx.verbs.train_job import SweepJob, describe_wanted
from mmx.verbs.train_line import CommandLine, parse_line
from mmx.verbs.train_workers import find_jobs
from mmx.workers.messages import Ended, Lost, Message
from mmx.workers.plan import WorkerPlan, plan_workers
from mmx.workers.pool import Pool

SUMMARY = "find settings on validation, and test the winner once"
PLACE = 25
COMPLETES = {
    "overrides": True,
    "flags": {"--config-dir": (), "-cd": (), "--allow": (), "--help": None, "--debug": None},
}
OPTIONS: dict[str, tuple[TypeAdapter[object], object]] = {
    "trials": (TypeAdapter(Annotated[int, Field(ge=1, le=100_000)]), 20),
    "sampler": (TypeAdapter(Literal["tpe", "random"]), "tpe"),
    "pruner": (TypeAdapter(Literal["hyperband", "none"]), "hyperband"),
}
"""Options of a search, with their types and defaults."""
ACCEPTED = {
    "trials": "a number, from 1",
    "sampler": "tpe, random",
    "pruner": "hyperband, none",
}
EXAMPLE = "mmx search 'optimizer.lr=log(1e-4,1e-2)' trials=20"
MOST_CHECKED = 200
"""Combinations of choices that are composed before anything is trained."""
PLAN_BYTES = 10_000_000


def main(arguments: Sequence[str]) -> int:
    """Search, and return the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    line = parse_line(arguments, "search")
    if line.multirun or line.only_shows:
        raise UsageError("mmx search has no flags but --config-dir and --allow", tip=EXAMPLE)
    allowed = list_allowed_packages(line.allow)
    where, overrides = take_path(line.overrides, "hydra.sweep.dir")
    options, overrides = take_options(overrides)
    dimensions, fixed = split_space(overrides, line.config_dirs)
    line = CommandLine(fixed, config_dirs=line.config_dirs, allow=line.allow)
    dimensions = read_whole_numbers(line, dimensions)
    found = check_space(line, dimensions, allowed)
    require_devices(found)
    return _search(line, dimensions, options, found, where, ["mmx", "search", *arguments])


def take_options(overrides: Sequence[str]) -> tuple[dict[str, object], list[str]]:
    """Return the options of the search, and the overrides without them.

    Raises:
        ConfigError: A value that an option does not take.
    """
    found = {name: default for name, (_, default) in OPTIONS.items()}
    kept, problems = [], []
    for text in overrides:
        key, _, value = text.partition("=")
        if key not in OPTIONS:
            kept.append(text)
            continue
        try:
            found[key] = OPTIONS[key][0].validate_python(int(value) if value.isdecimal() else value)
        except ValidationError:
            default = f"{key}={OPTIONS[key][1]}"
            problems.append(
                Problem(text, "cannot be used", accepted=ACCEPTED[key], type_this=default)
            )
    if problems:
        raise ConfigError(problems)
    return found, kept


def split_space(
    overrides: Sequence[str], config_dirs: Sequence[Path]
) -> tuple[list[Dimension], list[str]]:
    """Return what a search varies, and the overrides that stay the same.

    Raises:
        ConfigError: An override that cannot be read.
        UsageError: Nothing varies.
    """
    dimensions: list[Dimension] = []
    fixed: list[str] = []
    groups = set(list_groups(config_dirs)) | {*TASK_ROLES}
    with compose.composer(config_dirs):
        for text in overrides:
            if (found := read_range(text)) is not None:
                dimensions.append(found)
                continue
            key, _, value = text.partition("=")
            if key in groups and value.startswith("[") and value.endswith("]"):
                text = f"{key}={value[1:-1]}"
            (parsed,) = compose.parse([text])
            if not parsed.is_sweep_override():
                fixed.append(text)
                continue
            jobs = compose.list_jobs([parsed])
            values = [job[0].partition("=")[2] for job in jobs]
            dimensions.append(read_choices(text, key, values))
    if problems := _find_repeated(dimensions, fixed):
        raise ConfigError(problems)
    if not dimensions:
        raise UsageError(
            "mmx search varies nothing: give at least one setting a range or several values",
            tip=f"{EXAMPLES}; such as {EXAMPLE}",
        )
    return dimensions, fixed


def read_whole_numbers(line: CommandLine, dimensions: Sequence[Dimension]) -> list[Dimension]:
    """Return the dimensions, without whole numbers where the setting is none by default.

    ``optimizer.lr=0..1`` has both ends whole, and means what lies between them too.
    """
    with compose.composer(line.config_dirs):
        try:
            config = check_overrides(
                compose.parse(line.overrides), line.overrides, line.config_dirs
            )[0].config
        except ConfigError:  # it needs what is varied: its numbers are as they were typed
            return list(dimensions)
    return [
        replace(each, whole=False)
        if each.whole and isinstance(_find_value(config, each.key), float)
        else each
        for each in dimensions
    ]


def _find_value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _find_repeated(dimensions: Sequence[Dimension], fixed: Sequence[str]) -> list[Problem]:
    """Return the problems of settings that are given twice."""
    keys = [each.key for each in dimensions]
    typed = {text.partition("=")[0]: text for text in fixed}
    problems = [
        Problem(each.text, f"is varied here, and {typed[each.key]} sets it", type_this=each.text)
        for each in dimensions
        if each.key in typed
    ]
    return problems + [
        Problem(each.text, "varies a setting a second time")
        for number, each in enumerate(dimensions)
        if each.key in keys[:number]
    ]


def check_space(
    line: CommandLine, dimensions: Sequence[Dimension], allowed: Sequence[str]
) -> list[Job]:
    """Return the experiments at the ends of ranges and of all choices, which are possible.

    Raises:
        ConfigError: No combination is possible, or one of them is wrong by itself.
    """
    ends = [_list_ends(each) for each in dimensions]
    found: list[Job] = []
    problems: list[Problem] = []
    possible: set[str] = set()
    for chosen in _combine(ends):
        alone = CommandLine([*line.overrides, *chosen], config_dirs=line.config_dirs)
        try:
            found += preflight_possible(alone, allowed)[0]
            possible |= set(chosen)
        except ConfigError as error:
            problems += error.problems
    ranges = [
        end for each, of in zip(dimensions, ends, strict=True) if not each.choices for end in of
    ]
    if not found or not set(ranges) <= possible:
        raise ConfigError(dict.fromkeys(problems))
    if found[0].experiment.transfer.search is not None:
        reason = "is a search itself, on the target's validation rows"
        raise ConfigError(
            [Problem("transfer=auto", reason, type_this="transfer=parameter,feature")]
        )
    if (size := found[0].experiment.settings.processes) > 1:
        reason = "divides one training, and the trials of a search run side by side"
        raise ConfigError([Problem(f"processes={size}", reason, type_this=f"jobs={size}")])
    return found


def _combine(ends: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return all combinations of overrides; where they are many, each with the first of others."""
    if math.prod(map(len, ends)) <= MOST_CHECKED:
        return [list(each) for each in itertools.product(*ends)]
    first = [each[0] for each in ends]
    alone = [
        [*first[:place], text, *first[place + 1 :]]
        for place, each in enumerate(ends)
        for text in each[1:]
    ]
    return [first, *alone]


def _list_ends(dimension: Dimension) -> list[str]:
    """Return the overrides at the ends of a range, or all of its choices."""
    values: Sequence[str | int | float] = dimension.choices or (
        [int(dimension.low), int(dimension.high)]
        if dimension.whole
        else [dimension.low, dimension.high]
    )
    return [dimension.format_override(value) for value in values]


def _search(
    line: CommandLine,
    dimensions: Sequence[Dimension],
    options: Json,
    found: Sequence[Job],
    where: Path | None,
    argv: Sequence[str],
) -> int:
    """Run the trials that are missing, then the winner; return the exit code.

    Raises:
        UsageError: The directory holds another search, or another process is at it.
    """
    trials, experiment = int(options["trials"]), found[0].experiment
    cuda = experiment.settings.device != "cpu"
    workers = plan_workers(find_jobs(found[:1]), trials, experiment.trainer.threads, cuda=cuda)
    asked = _describe_search(dimensions, options, found)
    text = json.dumps(asked, sort_keys=True).encode()
    identity = hashlib.blake2b(text, digest_size=4).hexdigest()
    folder = SearchFolder(
        where or Path(experiment.settings.output_dir) / "sweeps" / f"search-{identity}"
    )
    make_folder(folder.path / "trials")
    try:
        with FileLock(str(folder.path / ".lock"), timeout=0):
            allow_again(folder.path)
            with announce_process(folder.path):
                code = _search_in(folder, asked, (line, dimensions, options, found), workers, argv)
    except Timeout as error:
        raise UsageError(
            f"another process is searching in {folder.path}", tip="wait for it, or stop it"
        ) from error
    print(folder.path)
    return code


def _describe_search(dimensions: Sequence[Dimension], options: Json, found: Sequence[Job]) -> Json:
    """Return what the trials of a search depend on: every config, its weights, data and code."""
    experiments = [job.experiment for job in found]
    identities = [identify(each) for each in experiments]
    data = [read_fingerprints(each) for each in experiments]
    return {
        "dimensions": [each.text for each in dimensions],
        "sampler": options["sampler"],
        "pruner": options["pruner"],
        "configs": sorted({each.config for each in identities}),
        "weights": sorted({json.dumps(dict(each.weights), sort_keys=True) for each in identities}),
        "data": sorted({json.dumps(each, sort_keys=True) for each in data}),
        "code": dict(identities[0].code),
        "versions": dict(identities[0].versions),
    }


def _search_in(
    folder: SearchFolder,
    asked: Json,
    given: tuple[CommandLine, Sequence[Dimension], Json, Sequence[Job]],
    workers: WorkerPlan,
    argv: Sequence[str],
) -> int:
    """Run trials and winner in the locked directory of a search; return the exit code."""
    line, dimensions, options, found = given
    experiment = found[0].experiment
    batch = _read_or_write_plan(folder, asked, workers.processes)
    settings = StudySettings(
        seed=experiment.settings.seed,
        sampler=str(options["sampler"]),
        pruner=str(options["pruner"]),
        batch=batch,
        epochs=max(job.experiment.trainer.epochs for job in found),
    )
    study = Study(folder.journal, dimensions, settings)
    work = TrialWork(folder, dimensions, settings, experiment.allowed, line.config_dirs, argv)
    code = _run_trials(folder, study, work, line, int(options["trials"]), workers)
    rows = study.list_trials()
    write_trials(folder.path, rows, dimensions)
    return code or _run_winner(folder, study, work, line)


def _read_or_write_plan(folder: SearchFolder, asked: Json, batch: int) -> int:
    """Return the size of the batches, which stays that of the first start.

    Raises:
        UsageError: The directory holds another search.
    """
    path = folder.path / "search.json"
    if path.exists():
        plan: Json = parse_json(read_text(path, limit=PLAN_BYTES), dict, path)
        if plan.get("asked") != asked:
            raise UsageError(
                f"{folder.path} holds another search: other settings, data, code or versions",
                tip="name another hydra.sweep.dir=…, or leave it out",
            )
        return int(plan["batch"])
    write_json(path, {"format": 1, "asked": asked, "batch": batch})
    return batch


def _run_trials(
    folder: SearchFolder,
    study: Study,
    work: TrialWork,
    line: CommandLine,
    trials: int,
    workers: WorkerPlan,
) -> int:
    """Run trials, batch after batch; return 0, or the exit code of a search that was stopped."""
    lost: dict[int, int] = {}
    wrong: dict[int, str] = {}
    names = [f"trial {number}" for number in range(trials)]
    with open_sweep_view(names, workers, what="trials") as view:
        view.ended = sum(row.state != "running" for row in study.list_trials()[:trials])

        def hear(number: int, message: Message) -> None:
            if isinstance(message, Lost):
                lost[number] = lost.get(number, 0) + 1
                if lost[number] > 1:
                    wrong[number] = "its worker was killed twice"
            elif isinstance(message, Ended) and message.error:
                wrong[number] = message.error
            view.hear(number, message)

        # One worker too, so that trials of a search never share a process with it.
        with Pool(work, workers, hear, view.tick) as pool:
            while proposals := study.propose(trials):
                numbers = write_batch(folder, study, proposals, line, work.dimensions, work.allowed)
                code = pool.run(numbers)
                tell_results(folder, study, numbers)
                if code:
                    return code
                for number in wrong.keys() & set(numbers):
                    study.tell_failed(number, wrong[number])
    return 0


def _run_winner(folder: SearchFolder, study: Study, work: TrialWork, line: CommandLine) -> int:
    """Run the winner as mmx train does, unless that is done; print what came out."""
    console = Console(stderr=True)
    rows: list[TrialRow] = study.list_trials()
    best = find_best(rows)
    if best is None:
        reasons = dict.fromkeys(row.why for row in rows if row.why)
        console.print("no trial has a result: " + "; ".join(list(reasons)[:3]), soft_wrap=True)
        return 1
    console.print(make_search_table(rows, work.dimensions))
    job = compose_trial(line, work.dimensions, best.values, work.allowed)
    kept = Sweep(folder.path)
    make_folder(kept.runs)
    console.print(f"the winner, trial {best.number}, as mmx train runs it:", soft_wrap=True)
    try:
        SweepJob(kept, work.allowed, work.config_dirs, work.argv).run(job.composed, job.experiment)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    done = kept.find_standing(describe_wanted(job.experiment)).done
    for text in describe_choice(rows, best, done):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 1 if done is None else 0
