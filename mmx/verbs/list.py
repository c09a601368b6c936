"""``mmx list``: all runs under the output folder, oldest first.

Attempts that failed before any training, as of a mistyped folder, are left out unless --all is
given; ``mmx rm RUN`` removes them. A run directory that cannot be read has the status ``?``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table

from mmx.errors import RunError
from mmx.printable import VALUE, one_line, shorten
from mmx.runs import index
from mmx.runs.directory import RunDirectory
from mmx.runs.index import IndexEntry
from mmx.terminal import Console
from mmx.verbs.arguments import Parser

SUMMARY = "show all runs under the output folder"
PLACE = 80

ListColumn = Literal["run", "status", "source", "target", "transfer", "fusion", "seed"]
COLUMNS: tuple[ListColumn, ...] = (
    "run",
    "status",
    "source",
    "target",
    "transfer",
    "fusion",
    "seed",
)
ERROR = 80
"""Characters shown of an error; the whole of it is in the run's status.json."""


def main(arguments: Sequence[str]) -> int:
    """Print the runs."""
    parser = Parser("list", description=__doc__)
    parser.add_argument("outputs", nargs="?", type=Path, default=Path("outputs"), metavar="FOLDER")
    parser.add_argument("--all", action="store_true", help="with attempts that came to nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    if not given.outputs.is_dir():
        raise RunError(f"there is no folder {given.outputs}", tip="mmx train makes the first run")
    entries = index.read_index(given.outputs)
    shown = (
        entries if given.all else [each for each in entries if not _is_idle(each, given.outputs)]
    )
    if given.json:
        for entry in shown:
            print(json.dumps(entry))
    else:
        _print(Console(), given.outputs, shown)
    if left_out := len(entries) - len(shown):
        attempts = "1 attempt" if left_out == 1 else f"{left_out} attempts"
        print(f"{attempts} that failed before training left out: --all shows them", file=sys.stderr)
    return 0


def _is_idle(entry: IndexEntry, root: Path) -> bool:
    """Return whether an entry is a run that failed before it trained anything."""
    directory = RunDirectory(root / str(entry["run"]))
    return entry["status"] == "failed" and index.failed_before_training(directory)


def _print(console: Console, root: Path, entries: Sequence[IndexEntry]) -> None:
    """Print entries as a table."""
    if not entries:
        console.print(f"no runs under {root} yet; mmx train makes the first", highlight=False)
        return
    failed = any(entry.get("error") for entry in entries)
    heads = (*COLUMNS, "test", "gain", "seconds", *(["error"] if failed else []))
    table = Table(*heads, box=None, header_style="bold")
    for entry in entries:
        cells = [
            *_format_cells(entry),
            *([shorten(entry.get("error") or "", ERROR)] if failed else []),
        ]
        table.add_row(*(one_line(cell, VALUE) for cell in cells))
    if not console.is_terminal:
        console.width = 320
    console.print(table)


def _format_cells(entry: IndexEntry) -> list[str]:
    """Return the cells of an entry, without its error."""
    if entry.get("regularizer"):
        entry = {**entry, "transfer": f"{entry['transfer']} + {entry['regularizer']}"}
    first = next(iter((k, v) for k, v in entry["test"].items() if k != "loss"), None)
    unknown = index.UNREADABLE if entry["status"] == index.UNREADABLE else ""
    return [
        *(str(entry[name]) if entry[name] is not None else unknown for name in COLUMNS),
        f"{first[0]} {first[1]:.3f}" if first else "",
        f"{entry['gain']:+.3f}" if entry.get("gain") is not None else "",
        f"{entry['seconds']:.1f}" if entry.get("seconds") is not None else "",
    ]
