"""``mmx compare A B``: two finished runs, what differs between them and which numbers do.

Configs and surroundings come first, then the numbers: gain and metrics on the test rows
before all others; then how much better B is than A on the same test rows, and how sure that is.

    mmx compare A B
    mmx compare A1 A2 A3 --with B1 B2 B3     two groups of runs, seed by seed
    mmx compare outputs/sweeps/ID            all groups of a sweep, two by two
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mmx.errors import DataError, RunError, UsageError
from mmx.printable import one_line
from mmx.reports.pairing import Side, compare_sides
from mmx.reports.run_comparison import Comparison, compare, describe_changes
from mmx.reports.sweep_groups import is_sweep, keep_common_draws, read_groups
from mmx.runs.directory import RunDirectory
from mmx.runs.identity import NOTHING, NOTHING_THAT_COUNTS
from mmx.terminal import Console
from mmx.verbs.arguments import Parser

SUMMARY = "say what differs between two runs, and which numbers"
PLACE = 70
COMPLETES = {"runs": 2}

MOST = 12
"""Lines of numbers that are shown; ``--all`` shows the rest."""
FIRST = ("gain.*", "target.metrics.test.*", "control.*.metrics.test.*", "target.metrics.val.*")


def main(arguments: Sequence[str]) -> int:
    """Compare two runs and return the exit code."""
    parser = Parser("compare", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run, or one sweep")
    parser.add_argument(
        "--with", dest="others", type=Path, nargs="+", metavar="RUN", help="runs of another group"
    )
    parser.add_argument("--all", action="store_true", help=f"all numbers, not the first {MOST}")
    given = parser.parse_args(arguments)
    console = Console()
    if given.others:
        sides = [Side("A", _open_finished(given.runs)), Side("B", _open_finished(given.others))]
        _say_lines(console, compare_sides(sides))
        return 0
    if len(given.runs) == 1 and is_sweep(given.runs[0]):
        _compare_groups(console, given.runs[0])
        return 0
    if len(given.runs) != 2:
        raise UsageError(
            f"one side, of {len(given.runs)}, is given; two runs are compared, or two groups",
            tip="mmx compare A1 A2 --with B1 B2",
        )
    before, after = _open_finished(given.runs)
    print_comparison(console, before, after, most=None if given.all else MOST)
    _say_lines(console, _compare_paired(before, after))
    return 0


def _compare_groups(console: Console, sweep: Path) -> None:
    """Compare each group of a sweep with every earlier one on the same test rows, and print it."""
    sides, left_out = keep_common_draws(read_groups(sweep))
    for side in sides:
        _open_finished([run.path for run in side.runs])
    _say_lines(console, [*compare_sides(sides), *filter(None, [left_out])])


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
    line(f"drifted: {len(found.drifted)} numbers; {found.identical} identical")
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
