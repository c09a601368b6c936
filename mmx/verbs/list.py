"""``mmx list``: all runs under the output folder, oldest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmx.errors import RunError
from mmx.runs import index
from mmx.verbs.arguments import Parser

COLUMNS = ("run", "status", "source", "target", "transfer", "fusion", "seed")


def main(arguments: Sequence[str]) -> int:
    """Print the runs."""
    parser = Parser("list", description=__doc__)
    parser.add_argument("outputs", nargs="?", type=Path, default=Path("outputs"), metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    if not given.outputs.is_dir():
        raise RunError(f"there is no folder {given.outputs}", tip="mmx train makes the first run")
    entries = index.read(given.outputs)
    if given.json:
        for entry in entries:
            print(json.dumps(entry))
        return 0
    console = Console()
    if not entries:
        console.print(f"no runs under {given.outputs} yet; mmx train makes the first")
        return 0
    table = Table(*COLUMNS, "test", "gain", "seconds", box=None, header_style="bold")
    for entry in entries:
        first = next(iter((k, v) for k, v in entry["test"].items() if k != "loss"), None)
        table.add_row(
            *(str(entry[name]) if entry[name] is not None else "" for name in COLUMNS),
            f"{first[0]} {first[1]:.3f}" if first else "",
            f"{entry['gain']:+.3f}" if entry["gain"] is not None else "",
            f"{entry['seconds']:.1f}" if entry["seconds"] is not None else "",
        )
    if not console.is_terminal:
        console.width = 240
    console.print(table)
    return 0
