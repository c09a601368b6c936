"""``mmx list``: all runs under the output folder, oldest first, or those that fulfil conditions.

    mmx list
    mmx list target=stl10 fusion=concat,gated 'accuracy>0.7' --sort accuracy
    mmx list 'optimizer.lr<=0.001' --columns target,optimizer.lr,val.accuracy --csv

A condition is a key, one of = != > < >= <= and a value; several values are divided by commas, and
* stands for any text. Keys are the columns, test metrics, val.<metric>, and any setting or number
of a run; --keys shows them all. Quote > and <, which the shell would take.

Attempts that failed before any training, as of a mistyped folder, are left out unless --all is
given; ``mmx rm RUN`` removes them. A run directory that cannot be read has the status ``?``.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmx.csv_text import format_csv
from mmx.errors import RunError, UsageError
from mmx.json_object import null_undefined
from mmx.printable import VALUE, one_line, shorten
from mmx.runs.conditions import (
    Condition,
    find_unmet,
    keys_of,
    looks_like_condition,
    parse_condition,
)
from mmx.runs.index_cache import CellValue
from mmx.runs.index_entry import UNREADABLE, IndexEntry
from mmx.runs.index_reading import list_fact_keys
from mmx.runs.selection import ENTRY_KEYS, NOT_FINITE, FoundRun, select_runs
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import Parser
from mmx.verbs.run_words import read_keys, read_run_word

SUMMARY = "show all runs under the output folder"
PLACE = 80

COLUMNS = ("run", "status", "source", "target", "transfer", "fusion", "seed")
ERROR = 80
"""Characters shown of an error; the whole of it is in the run's status.json."""
FOLDED_ROWS = 200
"""Rows up to which a terminal folds long cells; a longer table would take seconds to lay out."""


def main(arguments: Sequence[str]) -> int:
    """Print the runs."""
    given = _parse(arguments)
    root, conditions = _read_words(given.words)
    if given.keys:
        print("\n".join([*ENTRY_KEYS, *list_fact_keys(root)]))
        return 0
    columns = tuple(given.columns or ())
    shown, left_out = choose_runs(root, conditions, columns, given.sort, attempts=given.all)
    if given.reverse:
        shown.reverse()
    shown = shown[-given.last :] if given.last else shown
    if given.json:
        _print_json(shown, columns)
    elif given.csv:
        _print_csv(shown, columns)
    else:
        _print_table(root, shown, columns, conditions)
    if left_out:
        attempts = "1 attempt" if left_out == 1 else f"{left_out} attempts"
        print(f"{attempts} that failed before training left out: --all shows them", file=sys.stderr)
    return 0


def choose_runs(
    root: Path,
    conditions: Sequence[Condition],
    columns: Sequence[str] = (),
    sort: str | None = None,
    *,
    attempts: bool = False,
) -> tuple[list[FoundRun], int]:
    """Return the runs to show, and how many attempts that failed before training are left out.

    Args:
        root: The output folder.
        conditions: What a run must fulfil.
        columns: Keys whose values are shown; none for the usual ones.
        sort: The key to sort by, ascending.
        attempts: Whether attempts that came to nothing are shown too.

    Raises:
        UsageError: No run has a key.
    """
    found = select_runs(root, conditions, keys=columns, sort=sort)
    shown = [run for run in found if attempts or not _is_idle(run.entry, root)]
    return shown, len(found) - len(shown)


def tabulate_runs(
    shown: Sequence[FoundRun], columns: Sequence[str]
) -> tuple[list[str], list[list[object]]]:
    """Return the heads and rows of a table with values as they are stored.

    Args:
        shown: The runs.
        columns: Keys after ``run``; none for the usual ones and all test metrics.
    """
    names = sorted({name for run in shown for name in run.entry["test"]})
    wanted = ["run", *columns] if columns else [*COLUMNS, *names, "gain", "seconds"]
    heads = list(dict.fromkeys(wanted))
    found = ({**run.entry["test"], **run.entry, **run.values} for run in shown)
    return heads, [[each.get(key) for key in heads] for each in found]


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser("list", description=__doc__)
    parser.add_argument(
        "words",
        nargs="*",
        type=read_run_word,
        metavar="FOLDER|CONDITION",
        help="default: all runs under outputs",
    )
    parser.add_argument("--all", action="store_true", help="with attempts that came to nothing")
    parser.add_argument("--sort", metavar="KEY", help="by a key, ascending, so the best is last")
    parser.add_argument("--reverse", action="store_true", help="the newest or largest first")
    parser.add_argument("--last", type=_read_count, metavar="N", help="only the last N lines")
    parser.add_argument("--columns", type=read_keys, metavar="KEY,…", help="what is shown")
    parser.add_argument("--keys", action="store_true", help="show all keys that the runs have")
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="one JSON object a line")
    formats.add_argument("--csv", action="store_true", help="a CSV table")
    return parser.parse_args(arguments)


def _read_count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"a count of lines is expected, not {text!r}")
    return int(text)


def _read_words(words: Sequence[str]) -> tuple[Path, list[Condition]]:
    """Return the folder and the conditions that are given, in any order.

    Raises:
        UsageError: A word is neither, or there are two folders.
        RunError: There is no such folder.
    """
    folders = [word for word in words if _names_folder(word)]
    if len(folders) > 1:
        raise UsageError(
            f"{shorten(folders[1])!r} is a second folder; runs of one are listed",
            tip=f"mmx list {shorten(folders[0])} 'accuracy>0.7'",
        )
    conditions = [parse_condition(word) for word in words if word not in folders]
    return require_folder(Path(folders[0]) if folders else Path("outputs")), conditions


def require_folder(root: Path) -> Path:
    """Return an output folder.

    Raises:
        RunError: There is no such folder.
    """
    if not root.is_dir():
        raise RunError(f"there is no folder {root}", tip="mmx train makes the first run")
    return root


def _names_folder(word: str) -> bool:
    """Return whether a word is meant as a folder, which may be called ``lr=3``."""
    if not looks_like_condition(word):
        return True
    return unusable_path(word) is None and Path(word).is_dir()


def _is_idle(entry: IndexEntry, root: Path) -> bool:
    """Return whether an entry is a run that failed before it trained anything."""
    if entry["status"] != "failed":
        return False
    from mmx.runs.directory import RunDirectory
    from mmx.runs.index import has_failed_before_training

    return has_failed_before_training(RunDirectory(root / entry["run"]))


def _print_json(shown: Sequence[FoundRun], columns: Sequence[str]) -> None:
    """Print one object a line: the whole entry, or the columns that are asked for."""
    for run in shown:
        told = {key: run.values[key] for key in columns}
        values = {
            "run": run.entry["run"],
            **{key: None if value in NOT_FINITE else value for key, value in told.items()},
        }
        print(json.dumps(null_undefined(values if columns else run.entry), allow_nan=False))


def _print_csv(shown: Sequence[FoundRun], columns: Sequence[str]) -> None:
    """Print a table with numbers as they are stored."""
    heads, rows = tabulate_runs(shown, columns)
    print(format_csv([heads, *rows]), end="")


def _list_cells(
    shown: Sequence[FoundRun], columns: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return the heads of the table and its cells: the columns asked for, or the usual ones."""
    if columns:
        heads = ["run", *(key for key in columns if key != "run")]
        rows = [[_format(run.entry["run"]), *_pick(run, heads[1:])] for run in shown]
    else:
        failed = any(run.entry.get("error") for run in shown)
        heads = [*COLUMNS, "test", "gain", "seconds", *(["error"] if failed else [])]
        rows = [_format_cells(run.entry, failed=failed) for run in shown]
    return heads, [[one_line(cell, VALUE) for cell in row] for row in rows]


def _print_table(
    root: Path,
    shown: Sequence[FoundRun],
    columns: Sequence[str],
    conditions: Sequence[Condition],
) -> None:
    """Print runs as a table for people."""
    if not shown:
        print(one_line(_explain_none(root, conditions)))
        return
    heads, rows = _list_cells(shown, columns)
    if sys.stdout.isatty() and len(rows) <= FOLDED_ROWS:
        _print_folded(heads, rows)
        return
    lines: list[Sequence[str]] = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join(f"{{:{width}}}" for width in widths)
    print("\n".join(form.format(*row).rstrip() for row in lines))


def _explain_none(root: Path, conditions: Sequence[Condition]) -> str:
    """Return why no run is shown."""
    if not conditions:
        return f"no runs under {root} yet; mmx train makes the first"
    keys = keys_of(conditions)
    every = select_runs(root, keys=keys)
    unmet = find_unmet(conditions, {key: [run.values[key] for run in every] for key in keys})
    if every and unmet:
        return f"no run under {root} has {unmet}"
    return f"no run under {root} fulfils all conditions; without them, all are shown"


def _print_folded(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that a terminal of any width can show."""
    from rich.table import Table

    from mmx.terminal import Console

    table = Table(*heads, box=None, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _pick(run: FoundRun, keys: Sequence[str]) -> list[str]:
    return [_format(run.values[key]) for key in keys]


def _format(value: CellValue) -> str:
    """Return a value as a person reads it; nothing for none."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _format_cells(entry: IndexEntry, *, failed: bool) -> list[str]:
    """Return the cells of an entry, with its error where any run has one."""
    shown: dict[str, CellValue] = {name: entry[name] for name in COLUMNS}  # type: ignore[literal-required]
    if entry.get("regularizer"):
        shown["transfer"] = f"{entry['transfer']} + {entry['regularizer']}"
    first = next(iter((k, v) for k, v in entry["test"].items() if k != "loss"), None)
    unknown = UNREADABLE if entry["status"] == UNREADABLE else ""
    return [
        *(unknown if value is None else str(value) for value in shown.values()),
        f"{first[0]} {first[1]:.3f}" if first else "",
        f"{entry['gain']:+.3f}" if entry.get("gain") is not None else "",
        f"{entry['seconds']:.1f}" if entry.get("seconds") is not None else "",
        *([shorten(entry.get("error") or "", ERROR)] if failed else []),
    ]
