"""``mmx matrix source=a,b,c target=x,y``: the gain of every source on every target.

    mmx matrix source=digits,fsdd target=digits_av,moving_digits seed=1,2,3
    mmx matrix outputs/sweeps/ID --figure matrix.pdf
    mmx matrix outputs fusion=concat --format latex

Of sources and targets, it runs the sweep that mmx train -m would, without those pairs of which the
source is the target; what is done is not repeated, and what cannot go together is left out and
named. Of a run, a sweep, an output folder or a pattern it only reads; conditions choose runs as in
mmx list.

Each cell is the mean gain over the runs' control with its interval over seeds or folds, its verdict
([+] clearly positive, [-] clearly negative, [·] not clear) and their number. Below, negative
transfer is named, and the source that is best on validation for each target. Runs that differ in
other settings make one matrix for each setting. Exit code 1 if a pair failed or was refused.
"""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmx.errors import UsageError
from mmx.printable import shorten
from mmx.reports.latex import explain_unknown_letters
from mmx.reports.many_runs_figure import require_figure_path
from mmx.reports.many_runs_table import FORMATS
from mmx.reports.matrix_page import render_matrix
from mmx.reports.run_groups import (
    FinishedRun,
    drop_repeated,
    find_runs,
    find_unfinished,
    read_finished,
)
from mmx.reports.transfer_matrix import NO_SOURCE, TransferMatrix, Trouble, build_matrix, is_itself
from mmx.reports.transfer_matrix_figure import draw_matrix
from mmx.reports.transfer_matrix_table import format_matrix
from mmx.runs.conditions import looks_like_condition, parse_condition
from mmx.runs.directory import RunDirectory
from mmx.runs.sweep_row import SweepRow
from mmx.runs.task_names import find_task_name
from mmx.stage_id import TASK_ROLES, Role
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import Parser, list_allowed_packages
from mmx.verbs.left_out import tell_left_out, telling_left_out
from mmx.verbs.train_line import CommandLine

if TYPE_CHECKING:
    from mmx.config.composed import Composed
    from mmx.experiment import Experiment
    from mmx.verbs.line_jobs import LineJob

SUMMARY = "show the gain of every source on every target"
PLACE = 75
COMPLETES = {
    "overrides": True,
    "runs": 1000,
    "sweeps": True,
    "flags": {
        "--metric": (),
        "--format": ("text", "csv", "json", "markdown", "latex", "html"),
        "--figure": (),
        "--config-dir": (),
        "-cd": (),
        "--allow": (),
        "--help": None,
        "--debug": None,
    },
}
EXAMPLE = "mmx matrix source=digits,fsdd target=digits_av seed=1,2,3"


def main(arguments: Sequence[str]) -> int:
    """Show a matrix, and return the exit code."""
    given = _parse(arguments)
    if given.figure is not None:
        require_figure_path(given.figure)
    places = [word for word in given.words if _is_place(word)]
    if places:
        others = [word for word in given.words if word not in places]
        notes: list[str] = []
        with telling_left_out(notes):
            found, code = _read(places, others, given.metric, notes), 0
        if given.format == "csv":  # the one format that holds the table alone
            tell_left_out(notes)
    else:
        found, code = _run(given, ["mmx", "matrix", *arguments])
    html = given.format == "html"
    text = render_matrix(found) if html else format_matrix(found, given.format)
    print(text, end="")
    if given.format == "latex" and (unknown := explain_unknown_letters(text)):
        print(f"note: {unknown}", file=sys.stderr)
    if given.figure is not None:
        draw_matrix(found, given.figure)
        print(f"figure: {given.figure}", file=sys.stderr)
    return code


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser("matrix", description=__doc__).with_allow()
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="overrides with source=a,b and target=x,y; or runs, sweeps, folders and conditions",
    )
    parser.add_argument(
        "--config-dir", "-cd", type=Path, action="append", default=[], metavar="DIR",
        help="add your own YAML, as for mmx train",
    )  # fmt: skip
    parser.add_argument("--metric", metavar="NAME", help="of those that all runs have")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the table")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="a .pdf, .svg or .png")
    return parser.parse_args(arguments)


def _is_place(word: str) -> bool:
    """Return whether a word is a run, a folder or a pattern, instead of key=value."""
    if word.startswith(("+", "~")):
        return False
    return not looks_like_condition(word) or (unusable_path(word) is None and Path(word).exists())


def _read(
    places: Sequence[str], words: Sequence[str], metric: str | None, notes: list[str]
) -> TransferMatrix:
    """Return the matrix of runs that exist; ``notes`` receives which are left out of it."""
    for place in places:
        if reason := unusable_path(place):
            raise UsageError(f"{shorten(place)} {reason}", tip="mmx matrix outputs")
    conditions = [parse_condition(word) for word in words]
    runs, repeated = drop_repeated(find_runs(places, conditions, left_out=notes))
    done = {run.directory.manifest().fingerprint for run in runs}
    unfinished = [
        _describe_unfinished(directory)
        for directory in find_unfinished(places, conditions)
        if directory.manifest().fingerprint not in done
    ]
    troubles = [each for each in unfinished if each.source not in NO_SOURCE]
    notes += [repeated] if repeated else []
    return build_matrix(runs, troubles, metric=metric, notes=notes)


def _describe_unfinished(directory: RunDirectory) -> Trouble:
    config, names, status = directory.config(), directory.names(), directory.status()
    source, target = (_find_task(config, names.get(role), role) for role in TASK_ROLES)
    return Trouble(source, target, str(status.get("status", "?")), _describe_error(status))


def _find_task(config: Mapping[str, Any], chosen: str | None, role: Role) -> str:
    """Return the name of a task: its own, else the option that chose it."""
    node = config.get(role)
    own = find_task_name(node) if isinstance(node, Mapping) else None
    return str(own or chosen or "none")


def _describe_error(status: Mapping[str, Any]) -> str:
    error = str(status.get("error") or "").replace("\n  tip: ", "; tip: ")
    return " ".join(error.split())


def _run(given: Namespace, argv: Sequence[str]) -> tuple[TransferMatrix, int]:
    """Run the sweep, and return its matrix and the exit code."""
    _require_tasks(given.words)
    # These build and train: slow to import.
    from mmx.verbs.preflight import preflight_possible, require_devices
    from mmx.verbs.train_checked import take_path
    from mmx.verbs.train_expand import expand
    from mmx.verbs.train_sweep import run_sweep

    allowed = list_allowed_packages(given.allow)
    line = CommandLine(given.words, config_dirs=given.config_dir, multirun=True)
    line = expand(line)
    where, line.overrides = take_path(line.overrides, "hydra.sweep.dir")
    possible, refused = preflight_possible(line, allowed)
    planned = [*(job.composed for job in possible), *(job.composed for job in refused)]
    pairs = [_find_pair(each) for each in sorted(planned, key=_order_as_typed(given.words))]
    jobs = [job for job in possible if not is_itself(job.composed.config)]
    troubles = [
        Trouble(*_find_pair(job.composed), "refused", _join_problems(job))
        for job in refused
        if not is_itself(job.composed.config)
    ]
    if not jobs:
        raise UsageError("each source is its target: there is nothing to transfer", tip=EXAMPLE)
    if jobs[0].composed.launcher.name == "basic":  # jobs run on this machine
        require_devices(jobs)
    ended = run_sweep(jobs, allowed, where, argv, line.config_dirs)
    print(ended.path, file=sys.stderr)
    troubles += [
        Trouble(*_find_pair(job.composed), row.status, row.error)
        for job, row in zip(jobs, ended.rows, strict=True)
        if not row.is_done
    ]
    runs = _open_done(ended.rows)
    found = build_matrix(runs, troubles, metric=given.metric, pairs=pairs)
    return found, max(ended.code, int(bool(refused)))


def _open_done(rows: Sequence[SweepRow]) -> list[FinishedRun]:
    """Return the finished runs of a sweep, each once."""
    paths = dict.fromkeys(Path(row.run) for row in rows if row.is_done)
    return [run for path in paths if (run := read_finished(RunDirectory(path))) is not None]


def _require_tasks(words: Sequence[str]) -> None:
    """Raise UsageError where a source and a target are not given, or a source is none."""
    typed = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    if missing := [role for role in TASK_ROLES if role not in typed]:
        raise UsageError(
            f"mmx matrix needs {' and '.join(f'{role}=…' for role in missing)}, or finished runs",
            tip=f"{EXAMPLE}; or mmx matrix outputs",
        )
    sources = typed[Role.SOURCE].split(",")
    if "none" in sources:
        others = [each for each in sources if each != "none"] or ["digits"]
        kept = [word for word in words if not word.startswith("source=")]
        raise UsageError(
            f"source={typed[Role.SOURCE]}: without a source there is no gain; each run trains the "
            "control without a source anyway",
            tip=shlex.join(["mmx", "matrix", f"source={','.join(others)}", *kept]),
        )


def _order_as_typed(words: Sequence[str]) -> Callable[[Composed], list[int]]:
    """Return the key that sorts jobs by their source and target, in the order of the line."""
    typed = {word.partition("=")[0]: word.partition("=")[2].split(",") for word in words}

    def find_places(composed: Composed) -> list[int]:
        chosen = [(typed[role], composed.choices.get(role)) for role in TASK_ROLES]
        return [each.index(name) if name in each else len(each) for each, name in chosen]

    return find_places


def _find_pair(composed: Composed) -> tuple[str, str]:
    names = [_find_task(composed.config, composed.choices.get(role), role) for role in TASK_ROLES]
    return names[0], names[1]


def _join_problems(job: LineJob[Experiment]) -> str:
    return "; ".join(dict.fromkeys(f"{each.given}: {each.reason}" for each in job.parts))
