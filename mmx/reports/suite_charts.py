"""The charts of evaluation suites, from the rows of their CSV files.

A suite's page draws what was just measured, and a run's page what ``eval/<suite>.csv`` holds.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmx.errors import UnreadableFileError
from mmx.reports import chart_specs
from mmx.reports.chart_specs import MeasuredRow, Series
from mmx.reports.heat_map import HeatCell, draw_heat_map
from mmx.reports.page import Chart, Grid
from mmx.untrusted import read_text

LIMIT = 8 * 2**20
"""Most bytes of a suite's file."""
MOST_CLASSES = 40
"""Classes whose importance is drawn; the table has all."""
SuiteRow = Mapping[str, str]
FIXED = ("split", "shown", "modality", "noise", "strength", "level", "scaled", "by_prior", "rate",
         "seed", "draw", "relative_area")  # fmt: skip
"""Columns that are no metrics."""


def draw_suite(
    name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], floor: float | None = None
) -> list[Chart]:
    """Return the charts of a suite.

    Args:
        name: The suite; one that is not known has no charts.
        columns: Columns of its CSV file.
        rows: Its cells.
        floor: The primary metric of the prior, if it is known.
    """
    draw = DRAWN.get(name)
    if draw is None:
        return []
    as_text = [["" if cell is None else str(cell) for cell in row] for row in rows]
    charts = draw([dict(zip(columns, row, strict=True)) for row in as_text], floor)
    splits = {row[columns.index("split")] for row in as_text} - {"test"}
    where = f" ({', '.join(sorted(splits))})" if splits else ""
    return [replace(chart, title=f"{chart.title}{where}") for chart in charts]


def read_suites(folder: Path) -> tuple[dict[str, list[Chart]], list[str]]:
    """Return the charts of the suites that a run was evaluated by, and what could not be read.

    Args:
        folder: ``eval`` in a run directory, whose files anybody may have changed.
    """
    found: dict[str, list[Chart]] = {}
    problems = []
    for name in DRAWN:
        path = folder / f"{name}.csv"
        if not path.exists():
            continue
        try:
            heads, *rows = csv.reader(io.StringIO(read_text(path, limit=LIMIT)), strict=True)
            found[name] = draw_suite(name, heads, rows)
        except (UnreadableFileError, ValueError, KeyError, csv.Error) as error:
            problems.append(f"eval/{path.name} cannot be read and is not shown: {error}")
    return found, problems


def _draw_importance(rows: Sequence[SuiteRow], floor: float | None) -> list[Chart]:
    overall = [row for row in rows if not row["class"]]
    classes = [row for row in rows if row["class"]]
    charts = []
    if overall:
        found = {row["modality"]: float(row["shapley"]) for row in overall}
        ordered = sorted(found, key=lambda name: -found[name])
        table = tuple((name, f"{found[name]:+.3f}") for name in ordered)
        grid = Grid("importance", ("modality", "Shapley value"), table)
        score = overall[0]["score"]
        bars = [MeasuredRow(name, found[name]) for name in ordered]
        axis = f"Shapley value: part of the {score}"
        spec = chart_specs.draw_bars(bars, x=axis, signed=True)
        charts.append(Chart(f"What each modality adds to the {score}", spec, grid))
    if classes:
        charts.append(_draw_class_importance(classes))
    return charts


def _draw_class_importance(rows: Sequence[SuiteRow]) -> Chart:
    labels = list(dict.fromkeys(row["class"] for row in rows))
    names = list(dict.fromkeys(row["modality"] for row in rows))
    values = {(row["class"], row["modality"]): float(row["shapley"]) for row in rows}
    cells = [
        HeatCell(label, name, value, chart_specs.format_number(value, signed=True))
        for label in labels[:MOST_CLASSES]
        for name in names
        if (value := values.get((label, name))) is not None
    ]
    known = {place: f"{value:+.3f}" for place, value in values.items()}
    table = tuple((label, *(known.get((label, name), "") for name in names)) for label in labels)
    labels = labels[:MOST_CLASSES]
    spec = draw_heat_map(cells, rows=labels, columns=names, y="class")
    grid = Grid("importance for recall", ("class", *names), table)
    width = 110 * len(names) + 160
    return Chart("What each modality adds to the recall of a class", spec, grid, width=width)


def _draw_missing(rows: Sequence[SuiteRow], floor: float | None) -> list[Chart]:
    if not rows or "shown" not in rows[0]:
        return []
    primary = _find_primary(rows[0])
    points = [(row["shown"], float(row[primary])) for row in rows]
    grid = Grid("missing", ("shown", primary), tuple((x, f"{y:.3f}") for x, y in points))
    bars = [MeasuredRow(name, value) for name, value in points]
    spec = chart_specs.draw_bars(bars, x=primary)
    return [Chart(f"{primary} where only these modalities are shown", spec, grid)]


def _draw_rates(rows: Sequence[SuiteRow], floor: float | None) -> list[Chart]:
    """Return the mean over draws at each rate of missing cells."""
    if not rows:
        return []
    primary, values = _find_primary(rows[0]), dict[float, list[float]]()
    for row in rows:
        values.setdefault(float(row["rate"]), []).append(float(row[primary]))
    points = [(rate, sum(found) / len(found)) for rate, found in sorted(values.items())]
    title = f"{primary} where cells are missing at random"
    table = tuple((f"{rate:g}", f"{value:.3f}") for rate, value in points)
    spec = chart_specs.draw_curves([Series(primary, points)], x="part that is missing", whole=False)
    return [Chart(title, spec, Grid(title, ("rate", primary), table), width=620)]


def _group_rows(rows: Sequence[SuiteRow], column: str) -> dict[str, list[SuiteRow]]:
    """Return each value of a column, in the order of the rows, to the rows that have it."""
    groups: dict[str, list[SuiteRow]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def _draw_noise(rows: Sequence[SuiteRow], floor: float | None) -> list[Chart]:
    charts = []
    primary = _find_primary(rows[0]) if rows else ""
    ends = [float(row[primary]) for row in rows]
    known = [each for each in [*ends, floor] if each is not None and math.isfinite(each)]
    within = chart_specs.find_ends(known)  # the same axis for all modalities
    for modality, own in _group_rows(rows, "modality").items():
        series, table = [], []
        for place, (noise, members) in enumerate(_group_rows(own, "noise").items()):
            colour, dash = chart_specs.pick_colour(place)
            points = [(float(row["scaled"]), float(row[primary])) for row in members]
            series.append(Series(noise, points, colour, dash))
            table += [(noise, row["level"], f"{float(row[primary]):.3f}") for row in members]
        spec = chart_specs.draw_curves(
            series,
            x="strength, in parts of the heaviest",
            whole=False,
            within=within,
            reference=None if floor is None else (floor, "prior"),
        )
        grid = Grid(f"noise on {modality}", ("noise", "strength", primary), tuple(table))
        charts.append(Chart(f"{primary} with noise on {modality}", spec, grid, small=True))
    return charts


def _find_primary(row: SuiteRow) -> str:
    """Return the metric that counts, which stands before the others."""
    found = next((name for name in row if name not in FIXED), None)
    if found is None:
        raise ValueError("it has no metric")
    return found


DRAWN: dict[str, Callable[[Sequence[SuiteRow], float | None], list[Chart]]] = {
    "importance": _draw_importance,
    "missing": _draw_missing,
    "missing_at_random": _draw_rates,
    "noise": _draw_noise,
}
"""Suite to the function that draws it, in the order of a run's page."""
