"""Heat maps as Vega-Lite specifications, of the look of :mod:`mmx.reports.chart_specs`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmx.json_object import Json
from mmx.reports.chart_specs import GROUND, INK, LESS, MORE, make_frame, make_rows

MOST_LETTERS = 48
"""Letters above the columns of half a page."""


@dataclass(frozen=True)
class HeatCell:
    """One cell of a heat map.

    Attributes:
        row, column: Its place.
        value: What its colour shows.
        text: What is written in it.
        about: What it says when it is pointed at.
        detail: What is written below the text, where there is room.
    """

    row: str
    column: str
    value: float
    text: str
    about: str = ""
    detail: str = ""


def draw_heat_map(
    cells: Sequence[HeatCell],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    x: str = "",
    y: str = "",
    most: float | None = None,
) -> Json:
    """Return a grid of cells, the stronger in colour the further their value is from zero.

    Args:
        cells: The cells; places without one stay empty.
        rows: Names of the rows, from top to bottom.
        columns: Names of the columns.
        x: What columns are.
        y: What rows are.
        most: The value of the strongest colour; None for the largest.
    """
    known = [abs(cell.value) for cell in cells if math.isfinite(cell.value)]
    top = most or max(known, default=0.0) or 1.0
    values = [_describe_cell(cell, top) for cell in cells]
    colour = {"condition": [{"test": "datum.sign < 0", "value": LESS}], "value": MORE}
    opacity = {"field": "part", "type": "quantitative", "legend": None,
               "scale": {"domain": [0, 1], "range": [0.0, 0.75]}}  # fmt: skip
    across: Json = {"field": "column", "type": "nominal", "sort": list(columns), "title": x or None}
    across["axis"] = {"orient": "top", "labelAngle": -40 if _are_long(columns) else 0}
    longest = max((len(cell.text) for cell in cells), default=1)
    size = 11 if longest > 4 else 12
    text: Json = {"type": "text", "fontSize": size, "color": INK}
    rectangle = {
        "mark": {"type": "rect", "stroke": GROUND, "strokeWidth": 1.5},
        "encoding": {
            "fill": colour,
            "fillOpacity": opacity,
            "tooltip": {"field": "about", "title": ""},
        },
    }
    words = {"mark": text, "encoding": {"text": {"field": "text"}}}
    spec = {
        **make_frame((30 if longest > 4 else 26) * len(rows)),
        "data": {"values": values},
        "encoding": {
            "x": {**across, "scale": {"type": "band", "domain": list(columns)}},
            "y": {**make_rows(rows), "title": y or None},
        },
        "layer": [rectangle, words],
    }
    return _add_details(spec, text, len(rows)) if any(cell.detail for cell in cells) else spec


def _add_details(spec: Json, text: Json, rows: int) -> Json:
    """Return a chart with a second line in its cells; on a narrow screen it is as it was."""
    rectangle, words = spec["layer"]
    below = {**text, "fontSize": 10, "dy": 9, "opacity": 0.8}
    raised = {**words, "mark": {**text, "fontSize": 12, "dy": -6, "fontWeight": 600}}
    detail = {"mark": below, "encoding": {"text": {"field": "detail"}}}
    narrow = {"height": spec["height"], "layer": spec["layer"]}
    higher = {"height": 46 * rows, "layer": [rectangle, raised, detail]}
    return {**spec, "usermeta": {"narrow": narrow}, **higher}


def _describe_cell(cell: HeatCell, top: float) -> Json:
    """Return a cell as a row of the chart's data; ``top`` has the strongest colour."""
    known = math.isfinite(cell.value)
    return {
        "row": cell.row,
        "column": cell.column,
        "text": cell.text,
        "about": cell.about or cell.text,
        "detail": cell.detail,
        "part": min(1.0, abs(cell.value) / top) if known else 0.0,
        "sign": (cell.value > 0) - (cell.value < 0) if known else 0,
    }


def _are_long(names: Sequence[str]) -> bool:
    """Return whether names of columns, which are of one width, would cover each other."""
    return len(names) * (max(map(len, names), default=0) + 1) > MOST_LETTERS
