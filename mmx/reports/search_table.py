"""What a search shows: its best trials, all of them as CSV, and what its answer is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from mmx.csv_text import format_csv
from mmx.reports.summary_lines import format_gain_sentence
from mmx.reports.view import format_metrics
from mmx.runs.atomic import write_text
from mmx.runs.directory import RunDirectory
from mmx.search.space import Dimension, Value
from mmx.search.study import TrialRow

STATES = ("done", "pruned", "failed", "running")
SHOWN = 10
"""Trials of the table: the best ones."""


def make_search_table(rows: Sequence[TrialRow], dimensions: Sequence[Dimension]) -> Table:
    """Return a table of the best trials of a search.

    Args:
        rows: All trials.
        dimensions: What was varied.
    """
    keys = [each.key for each in dimensions]
    table = Table("trial", *keys, "validation", "epochs", title_justify="left")
    best = sorted((row for row in rows if row.score is not None), key=_rank)
    table.title = f"The best {min(SHOWN, len(best))} of {len(rows)} trials, by validation alone"
    for row in best[:SHOWN]:
        cells = [_format_value(row.values.get(key)) for key in keys]
        score = "" if row.score is None else f"{row.score:.4f}"
        table.add_row(*map(Text, [str(row.number), *cells, score, str(row.epochs)]))
    return table


def _rank(row: TrialRow) -> tuple[float, int]:
    return (-(row.score or 0.0), row.number)


def _format_value(value: Value | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_trials(folder: Path, rows: Sequence[TrialRow], dimensions: Sequence[Dimension]) -> None:
    """Write ``trials.csv``: a line for each trial."""
    keys = [each.key for each in dimensions]
    lines: list[Sequence[Any]] = [["trial", *keys, "state", "validation", "epochs", "why"]]
    for row in rows:
        values = [row.values.get(key) for key in keys]
        lines.append([row.number, *values, row.state, row.score, row.epochs, row.why])
    write_text(folder / "trials.csv", format_csv(lines))


def describe_choice(
    rows: Sequence[TrialRow], best: TrialRow, winner: RunDirectory | None
) -> Iterator[str]:
    """Yield what was tried, how the winner stands among it, and what test says.

    Args:
        rows: All trials.
        best: The winner.
        winner: Its finished run; None if it has failed.
    """
    counts = {state: sum(row.state == state for row in rows) for state in STATES}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    yield f"tried: {len(rows)} {'setting' if len(rows) == 1 else 'settings'} ({told})"
    scores = np.array([row.score for row in rows if row.score is not None], dtype=np.float64)
    low, middle = np.quantile(scores, [0.0, 0.5])
    yield (
        f"validation: {best.score:.4f} for the winner; of the {len(scores)} trained to their end "
        f"the lowest has {low:.4f} and the median is {middle:.4f}. The best of many is optimistic "
        "on validation"
    )
    if winner is not None:
        yield from _describe_test(winner)


def _describe_test(run: RunDirectory) -> Iterator[str]:
    """Yield what the test rows say of the winner, which were opened for it alone."""
    summary = run.read_summary()
    told = format_metrics(summary.target.metrics.get("test", {}))
    yield f"test, opened once: {told}"
    if summary.gain is not None:
        yield format_gain_sentence(summary.gain)
    yield f"its run: {run.path}"
