"""The matrix of transfer as a page: what gains and what loses, as heat maps and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmx.printable import printable
from mmx.reports import chart_specs
from mmx.reports.chart_specs import format_number
from mmx.reports.heat_map import HeatCell, draw_heat_map
from mmx.reports.page import Chart, Grid, render_page
from mmx.reports.transfer_matrix import NEGATIVE, POSITIVE, Matrix, MatrixCell, TransferMatrix
from mmx.reports.transfer_matrix_table import (
    LEGEND,
    NO_NEGATIVE,
    describe_matrix,
    format_cell_interval,
    list_matrix_heads,
    list_matrix_rows,
)

COLUMN = 150
"""Pixels of a column."""


def render_matrix(found: TransferMatrix) -> str:
    """Return the page of a matrix."""
    return render_page(
        "matrix.html.jinja",
        title=f"Transfer from {len(found.sources)} sources to {len(found.targets)} targets",
        over=_count(found),
        headline=_write_headline(found),
        charts=_draw_all(found),
        said=_say(found),
        tables=_list_all(found),
        notes=[LEGEND, *found.notes],
    )


def _count(found: TransferMatrix) -> str:
    counts = {"source": found.sources, "target": found.targets, "setting": found.matrices}
    parts = [f"{len(x)} {name}{'' if len(x) == 1 else 's'}" for name, x in counts.items()]
    return f"{', '.join(parts)}. {found.title}"


def _write_headline(found: TransferMatrix) -> str:
    """Return how many transfers gain and lose, and which loses most."""
    cells = found.cells
    up, down = (sum(cell.mark == mark for cell in cells) for mark in (POSITIVE, NEGATIVE))
    text = f"{up or 'None'} of {len(cells)} transfers {'gain' if up > 1 else 'gains'} clearly"
    if not down:
        return f"{text}, none loses clearly"
    worst = min((x for x in cells if x.mark == NEGATIVE), key=lambda x: x.gain.gain.value)
    lost = f"{worst.source} → {worst.target} {worst.gain.gain.value:+.3f}"
    return f"{text}, {down} {'loses' if down == 1 else 'lose'}: most {lost}"


def _say(found: TransferMatrix) -> list[str]:
    """Return what the matrix says, with one line for all settings without negative transfer."""
    lines = [line for line in describe_matrix(found) if not line.startswith("note: ")]
    without = [line for line in lines if line.endswith(NO_NEGATIVE)]
    if len(without) < 2:
        return lines
    count = f"{len(without)} of {len(found.matrices)} settings"
    said = f"negative transfer: {NO_NEGATIVE} with {count}"
    return [said, *(line for line in lines if line not in without)]


def _has_single_lines(found: TransferMatrix) -> bool:
    """Return whether there are several settings, each with a single row or column."""
    return len(found.matrices) > 1 and min(len(found.sources), len(found.targets)) == 1


def _list_all(found: TransferMatrix) -> list[Grid]:
    """Return a table for each setting, or one of all where each would be a single line."""
    if not _has_single_lines(found):
        return [_list(found, matrix) for matrix in found.matrices]
    heads = ("setting", *list_matrix_heads(found, found.matrices[0]))
    rows = [
        (printable(matrix.name), *row)
        for matrix in found.matrices
        for row in list_matrix_rows(found, matrix)
    ]
    return [Grid("Gains", heads, tuple(rows))]


def _draw_all(found: TransferMatrix) -> list[Chart]:
    """Return a heat map for each setting, or one of all where each would be a single line."""
    if _has_single_lines(found):
        return [_draw(found, found.matrices, "Gain with each setting")]
    title = "Gain of every source on every target"
    return [_draw(found, [matrix], matrix.name or title) for matrix in found.matrices]


def _draw(found: TransferMatrix, matrices: Sequence[Matrix], title: str) -> Chart:
    """Return a heat map in which zero has no colour, and each cell states its gain."""
    columns = {target: found.name_column(matrices[0], target) for target in found.targets}
    one_source = len(matrices) > 1 and len(found.sources) == 1
    y = ", ".join(key for key, _ in matrices[0].setting) if one_source else "source"
    placed = [(matrix, source) for matrix in matrices for source in found.sources]
    rows = [_name_row(matrix, source, matrices, one_source) for matrix, source in placed]
    cells = [
        _make_cell(found, matrix, (source, target), row, column)
        for (matrix, source), row in zip(placed, rows, strict=True)
        for target, column in columns.items()
    ]
    known = [abs(x.gain.gain.value) for x in found.cells if math.isfinite(x.gain.gain.value)]
    most = max(known, default=None)  # one scale for all
    spec = draw_heat_map(
        cells, rows=rows, columns=list(columns.values()), x="target", y=y, most=most
    )
    widest = max(map(len, rows))
    width = COLUMN * len(columns) + round(chart_specs.LETTER * widest) + 110
    grid = Grid(
        title, tuple(list_matrix_heads(found, matrices[0])), _list_named(found, matrices, rows)
    )
    return Chart(title, spec, grid, note="Blue gains, orange loses.", width=width)


def _name_row(matrix: Matrix, source: str, matrices: Sequence[Matrix], one_source: bool) -> str:
    """Return what stands before a row: the source, the values of the setting, or both."""
    if len(matrices) == 1:
        return source
    values = " ".join(value for _, value in matrix.setting)
    return values if one_source else f"{source} {values}"


def _list_named(
    found: TransferMatrix, matrices: Sequence[Matrix], rows: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Return the lines of a table, each of which begins as its row of the heat map."""
    return tuple(
        (row, *line[1:])
        for matrix, place in zip(matrices, range(0, len(rows), len(found.sources)), strict=True)
        for row, line in zip(rows[place:], list_matrix_rows(found, matrix), strict=False)
    )


def _make_cell(
    found: TransferMatrix, matrix: Matrix, pair: tuple[str, str], row: str, column: str
) -> HeatCell:
    """Return the cell of a source and a target, which says why where it has no gain."""
    if (cell := matrix.cells.get(pair)) is not None:
        return _describe_gain(cell, row, column)
    text = found.find_status(*pair)
    return HeatCell(row, column, math.nan, text, f"{pair[0]} → {pair[1]}: {text}")


def _describe_gain(cell: MatrixCell, row: str, column: str) -> HeatCell:
    value = cell.gain.gain.value
    interval = format_cell_interval(cell).replace("-", "\u2212")
    about = f"{cell.source} → {cell.target}: {format_number(value, signed=True)}"
    about += f" ({interval}), n = {cell.gain.count}" if interval else f", n = {cell.gain.count}"
    mark = {POSITIVE: " +", NEGATIVE: " −"}.get(cell.mark, f" {cell.mark}")
    text = f"{format_number(value, signed=True)} [{mark.strip()}]"
    return HeatCell(row, column, value, text, about, detail=interval)


def _list(found: TransferMatrix, matrix: Matrix) -> Grid:
    heads, rows = list_matrix_heads(found, matrix), list_matrix_rows(found, matrix)
    return Grid(matrix.name or "Gains", tuple(heads), tuple(map(tuple, rows)))
