"""``mmx list``: all runs under the output folder, oldest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mmx.errors import RunError
from mmx.runs import index
from mmx.terminal import Console
from mmx.verbs.arguments import Parser

COLUMNS = ("run", "status", "source", "target", "transfer", "fusion", "seed")
ERROR = 80
"""Letters that are shown of why a run ended; the rest is in its status.json."""


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
    failed = any(entry.get("error") for entry in entries)
    heads = (*COLUMNS, "test", "gain", "seconds", *(["error"] if failed else []))
    table = Table(*heads, box=None, header_style="bold")
    for entry in entries:
        first = next(iter((k, v) for k, v in entry["test"].items() if k != "loss"), None)
        if entry.get("regularizer"):
            entry = {**entry, "transfer": f"{entry['transfer']} + {entry['regularizer']}"}
        cells = [
            *(str(entry[name]) if entry[name] is not None else "" for name in COLUMNS),
            f"{first[0]} {first[1]:.3f}" if first else "",
            f"{entry['gain']:+.3f}" if entry["gain"] is not None else "",
            f"{entry['seconds']:.1f}" if entry["seconds"] is not None else "",
            *([_short(entry.get("error") or "")] if failed else []),
        ]
        table.add_row(*cells)
    if not console.is_terminal:
        console.width = 320
    console.print(table)
    return 0


def _short(text: str) -> str:
    return text if len(text) <= ERROR else f"{text[: ERROR - 1]}…"
