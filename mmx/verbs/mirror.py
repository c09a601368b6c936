"""``mmx mirror RUN|SWEEP|FOLDER|PATTERN… [CONDITION…] --to TRACKER``: copy runs to a tracker.

    mmx mirror outputs --to tensorboard
    mmx mirror outputs/runs/* 'accuracy>0.7' --to mlflow tracker.uri=http://localhost:5000
    mmx mirror outputs/sweeps/4f0c2a11 --to wandb tracker.mode=offline

Metrics by epoch, the config, and at the end the summary and the report. What the tracker has
already, from a copy before or from tracker= while the run trained, is not written again, so it
may be typed any number of times. Options of the tracker are those of tracker= when training.
With a CONDITION only finished runs are copied. The runs themselves are read and not changed.
"""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmx.config.build import TARGET, Builder
from mmx.config.locate import find_options
from mmx.errors import MmxError, RunError, UnreadableFileError, UsageError, closest
from mmx.reports.run_groups import find_runs, list_run_directories
from mmx.runs.conditions import looks_like_condition, parse_condition
from mmx.runs.directory import RunDirectory
from mmx.runs.tracked import describe_run, read_ending, read_points
from mmx.trackers import Tracker
from mmx.trackers.follower import copy_run
from mmx.untrusted import read_yaml
from mmx.verbs.arguments import Parser, list_allowed_packages
from mmx.verbs.opening import read_typed
from mmx.verbs.run_words import read_run_word

SUMMARY = "copy runs to TensorBoard, MLflow or Weights & Biases"
PLACE = 75
COMPLETES = {"runs": 1000, "sweeps": True, "flags": {"--to": "tracker", "--allow": ()}}

OPTION = "tracker."
ENDINGS = {
    "done": "done",
    "failed": "failed",
    "interrupted": "interrupted",
    "killed": "interrupted",
}
"""Status of a run to how it has ended; others have not."""


def main(arguments: Sequence[str]) -> int:
    """Copy runs, and return the exit code."""
    given = _parse(arguments)
    options = [word for word in given.words if word.startswith(OPTION)]
    words = [word for word in given.words if word not in options]
    conditions = [word for word in words if looks_like_condition(word)]
    places = [word for word in words if word not in conditions]
    tracker = _build(given.to, options, list_allowed_packages(given.allow))
    found = _find(places or ["outputs"], conditions)
    total, where = 0, ""
    for directory in found:
        count, where = _copy(tracker, directory)
        total += count
        print(f"{directory.path}  {f'{count:,} new' if count else 'nothing new'}", flush=True)
    runs = f"{len(found):,} {'run' if len(found) == 1 else 'runs'}"
    print(f"{runs}, {total:,} numbers new: {where}", file=sys.stderr)
    return 0


def _parse(arguments: Sequence[str]) -> Namespace:
    """Return what was typed; words may also follow ``--to``."""
    parser = Parser("mirror", description=__doc__).with_allow()
    parser.add_argument("words", nargs="+", metavar="RUN", type=read_run_word, help="see above")
    parser.add_argument(
        "--to", required=True, metavar="TRACKER", help="an option of tracker=, or a class of yours"
    )
    given, others = parser.parse_known_args(arguments)
    given.words += [read_run_word(each) for each in others if not each.startswith("-")]
    if flags := [each for each in others if each.startswith("-")]:
        parser.error(f"unrecognized arguments: {' '.join(flags)}")
    return given


def _build(name: str, options: Sequence[str], allowed: Sequence[str]) -> Tracker:
    """Return the tracker that a name and options say.

    Raises:
        ConfigError: There is none of that name, or it does not take an option.
    """
    node: dict[str, Any] = {TARGET: name} if "." in name else _read_option(name)
    typed = read_typed(options, "mirror", Path("RUN"))
    node = {**node, **{key.removeprefix(OPTION): value for key, value in typed.items()}}
    builder = Builder(allowed)
    tracker = builder.build(node, Tracker, "tracker")
    builder.finish()
    if tracker is None:
        raise RuntimeError("finish raises wherever nothing was built")
    return tracker


def _read_option(name: str) -> dict[str, Any]:
    """Return the node of an option of ``tracker=``.

    Raises:
        UsageError: There is none of that name.
    """
    usable = {}
    for option, path in find_options("tracker").items():
        with contextlib.suppress(UnreadableFileError):  # a package's, which need not be meant
            if node := read_yaml(path, dict):
                usable[option] = node
    if name not in usable:
        near = closest(name, usable) or next(iter(usable))
        raise UsageError(
            f"--to {name}: is no tracker; accepted: {', '.join(usable)}, or my_pkg.MyTracker",
            tip=f"mmx mirror RUN --to {near}",
        )
    return usable[name]


def _find(words: Sequence[str], conditions: Sequence[str]) -> list[RunDirectory]:
    """Return the runs that words name: with conditions the finished ones that fulfil them."""
    if conditions:
        parsed = [parse_condition(each) for each in conditions]
        return [run.directory for run in find_runs(words, parsed)]
    return list_run_directories(words)


def _copy(tracker: Tracker, directory: RunDirectory) -> tuple[int, str]:
    """Copy a run; see :func:`copy_run`.

    Raises:
        RunError: The run cannot be read, or the tracker failed.
    """
    run, points = describe_run(directory), read_points(directory.metrics())
    status = ENDINGS.get(str(directory.status().get("status")))
    ending = None if status is None else read_ending(directory, status)
    try:
        return copy_run(tracker, run, points, ending)
    except MmxError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise RunError(
            f"tracker {tracker.name} failed at {directory.path} ({type(error).__name__}: "
            f"{lines[0]})",
            tip="type it again when it answers: what it has is not written twice",
        ) from error
