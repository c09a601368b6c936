"""``mmx compare A B``: two finished runs, what differs between them and which numbers do.

Configs and surroundings come first, then the numbers: gain and metrics on the test rows
before all others; then how much better B is than A on the same test rows, and how sure that is.

    mmx compare A B
    mmx compare A1 A2 A3 --with B1 B2 B3     two groups of runs, seed by seed
    mmx compare outputs/sweeps/ID            a sweep: its table, and its groups two by two

Any number of runs, sweeps, output folders or patterns is one table, with a line for each group of
seeds: means with intervals, the difference to the best by validation on the same test rows, and
over three or more targets mean ranks. Conditions choose runs as in mmx list.

    mmx compare outputs --by fusion,transfer
    mmx compare 'outputs/sweeps/*' target=stl10 'seed<4' --metric f1_macro
    mmx compare outputs --by fusion --format latex --figure fusions.pdf
"""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from collections.abc import Sequence
from fnmatch import fnmatch
from glob import glob
from pathlib import Path
from typing import Any

from mmx.errors import DataError, MmxError, RunError, UsageError
from mmx.printable import one_line
from mmx.reports.many_runs_table import FORMATS
from mmx.reports.pairing import Side, compare_sides
from mmx.reports.run_comparison import Comparison, compare, describe_changes
from mmx.reports.sweep_groups import is_sweep, keep_common_draws, read_groups
from mmx.runs.conditions import looks_like_condition
from mmx.runs.directory import RunDirectory
from mmx.runs.identity import NOTHING, NOTHING_THAT_COUNTS
from mmx.runs.index_entry import list_run_names
from mmx.terminal import Console
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import Parser
from mmx.verbs.compare_many import print_many
from mmx.verbs.left_out import telling_left_out
from mmx.verbs.run_words import read_keys, read_run_word

SUMMARY = "say how runs differ: two in all numbers, many as one table"
PLACE = 70
COMPLETES = {"runs": 2}

_KEY = re.compile(r"[a-z_]+(\.[a-z_]+)*")
MOST = 12
"""Lines of numbers that are shown; ``--all`` shows the rest."""
FIRST = ("gain.*", "target.metrics.test.*", "control.*.metrics.test.*", "target.metrics.val.*")


def main(arguments: Sequence[str]) -> int:
    """Compare two runs and return the exit code."""
    given = _parse(arguments)
    console = Console()
    if given.others:
        paths = [Path(word) for word in given.words]
        sides = [Side("A", _open_finished(paths)), Side("B", _open_finished(given.others))]
        _say_lines(console, compare_sides(sides))
        return 0
    places = [word for word in given.words if not _is_condition(word)]
    conditions = [word for word in given.words if word not in places]
    _refuse_keys_apart(given.by, places, conditions)
    if not conditions and not _asks_for_table(given):
        paths = [Path(word) for word in places]
        if _compare_few(console, paths, most=None if given.all else MOST):
            return 0
    print_many(
        places or ["outputs"],
        conditions,
        by=given.by,
        metric=given.metric,
        form=given.format,
        figure=given.figure,
    )
    return 0


def _refuse_keys_apart(by: list[str], places: list[str], conditions: list[str]) -> None:
    """Raise UsageError where keys of ``--by`` stand apart, so that some were taken for runs."""
    apart = [word for word in places if _KEY.fullmatch(word) and not Path(word).exists()]
    if by and apart:
        line = [*(word for word in places if word not in apart), *conditions]
        raise UsageError(
            f"{apart[0]} is no run; keys of --by are joined by commas",
            tip=shlex.join(["mmx", "compare", *line, "--by", ",".join([*by, *apart])]),
        )


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser("compare", description=__doc__)
    parser.add_argument(
        "words",
        type=read_run_word,
        nargs="+",
        metavar="RUN",
        help="a run, a sweep, an output folder, a pattern, or a condition such as target=stl10",
    )
    parser.add_argument(
        "--with", dest="others", type=Path, nargs="+", metavar="RUN", help="runs of another group"
    )
    parser.add_argument("--all", action="store_true", help=f"all numbers, not the first {MOST}")
    parser.add_argument("--by", type=read_keys, default=[], metavar="KEY,…", help="what groups are")
    parser.add_argument("--metric", metavar="NAME", help="of those that all runs have")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the table")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="a .pdf, .svg or .png")
    return parser.parse_args(arguments)


def _asks_for_table(given: Namespace) -> bool:
    """Return whether an option was typed that only a table of many runs has."""
    return bool(given.by or given.metric or given.figure or given.format != "text")


def _is_condition(word: str) -> bool:
    if not looks_like_condition(word):
        return False
    return unusable_path(word) is not None or not Path(word).exists()


def _holds_runs(path: Path) -> bool:
    """Return whether a path is a folder of several runs, or a pattern, instead of a run."""
    if path.exists():
        return not (path / "config.yaml").exists() and bool(list_run_names(path) or is_sweep(path))
    return bool(glob(str(path)))  # noqa: PTH207 - also absolute patterns


def _compare_few(console: Console, paths: Sequence[Path], *, most: int | None) -> bool:
    """Compare the groups of one sweep, or two runs; return whether ``paths`` are one of these.

    Raises:
        RunError: One is no run, or not done.
        UsageError: One run alone is given.
    """
    if len(paths) == 1 and is_sweep(paths[0]):
        _compare_groups(console, paths[0], most=most)
        return True
    if len(paths) > 2 or any(_holds_runs(path) for path in paths):
        return False
    runs = _open_finished(paths)
    if len(runs) == 1:
        raise UsageError(
            f"{runs[0].path} is one run: there is nothing to compare it with",
            tip=f"mmx compare {shlex.quote(str(runs[0].path))} OTHER   (mmx list shows the runs)",
        )
    before, after = runs
    print_comparison(console, before, after, most=most)
    _say_lines(console, _compare_paired(before, after))
    return True


def _compare_groups(console: Console, sweep: Path, *, most: int | None) -> None:
    """Print a sweep's table, and each group with every earlier one on the same test rows.

    Args:
        console: Where to print.
        sweep: The folder of the sweep.
        most: Comparisons that are shown at most; None for all.
    """
    damaged: list[str] = []
    with telling_left_out(damaged):
        sides, left_out = keep_common_draws(read_groups(sweep, damaged))
        head, *lines = compare_sides(sides)
    try:
        print_many([str(sweep)], [])
    except MmxError:  # such as runs without a test metric in common, which have no table
        pass
    else:
        print()
    _say_lines(console, [head, *lines[:most]])
    if len(lines) > len(lines[:most]):
        command = shlex.join(["mmx", "compare", str(sweep), "--all"])
        _say_lines(console, [f"… and {len(lines) - len(lines[:most])} more: {command}"])
    _say_lines(console, [left_out] if left_out else [])


def _compare_paired(before: RunDirectory, after: RunDirectory) -> list[str]:
    """Return how two runs compare on the same test rows, or why they do not."""
    if before.path.resolve() == after.path.resolve():
        return []
    try:
        return compare_sides([Side("A", [before]), Side("B", [after])])
    except DataError as error:
        return [error.message]


def _open_finished(paths: Sequence[Path]) -> list[RunDirectory]:
    """Return finished runs.

    Raises:
        RunError: One is no run, or not done.
    """
    runs = [RunDirectory.open(path) for path in paths]
    for run in runs:
        run.require_undamaged()
        if not run.summary():
            raise RunError(
                f"{run.path} is not done: it has no numbers", tip=f"mmx resume {run.path}"
            )
    return runs


def _say_lines(console: Console, texts: Sequence[str]) -> None:
    for text in texts:
        console.print(one_line(text), highlight=False, markup=False, soft_wrap=True)


def print_comparison(
    console: Console, before: RunDirectory, after: RunDirectory, *, most: int | None = MOST
) -> Comparison:
    """Print how two runs differ, and return the comparison.

    Args:
        console: Where to print.
        before: A finished run.
        after: Another finished run.
        most: Lines of numbers at most; None for all.
    """

    def line(text: str) -> None:
        console.print(one_line(text), highlight=False, markup=False, soft_wrap=True)

    found = compare(before, after)
    if found.around:
        line("what differs around the numbers:")
        for key, (old, new) in found.around.items():
            line(f"  {key}: {_format_value(old)} -> {_format_value(new)}")
    if text := describe_changes(before, after):
        line(NOTHING_THAT_COUNTS if text == NOTHING and found.around else text)
    if not found.drifted:
        line(f"identical: all {found.identical} numbers, bit for bit")
        return found
    line(f"{len(found.drifted)} numbers differ, {found.identical} identical")
    keys = sorted(found.drifted, key=_place)
    for key in keys[:most]:
        old, new = found.drifted[key]
        line(f"  {key}: {_format_value(old)} -> {_format_value(new)}{_difference(old, new)}")
    if len(keys[most:] if most is not None else ()):
        command = shlex.join(["mmx", "compare", str(before.path), str(after.path), "--all"])
        line(f"  … and {len(keys) - len(keys[:most])} more: {command}")
    return found


def _place(key: str) -> int:
    """Return the sort key of a number; numbers with the same key keep their order."""
    return next((place for place, like in enumerate(FIRST) if fnmatch(key, like)), len(FIRST))


def _format_value(value: Any) -> str:
    """Return a value with at most six significant digits."""
    if isinstance(value, list):
        return "[" + ", ".join(_format_value(each) for each in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _difference(old: Any, new: Any) -> str:
    both = isinstance(old, float) and isinstance(new, float)
    return f"  ({new - old:+.3g})" if both else ""
