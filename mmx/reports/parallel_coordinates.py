"""Parallel coordinates: each run a line over axes of settings and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmx.json_object import Json
from mmx.printable import shorten
from mmx.reports import chart_specs
from mmx.reports.chart_specs import COLOURS, INK, LINE, PLAIN, SOFT, format_short
from mmx.reports.page import Chart, Grid

HEIGHT, ROW = 260, 58
"""Pixels: height of the chart, and between two axes where they lie, on a narrow screen."""
NAME = 18
"""Most letters of a value beside an axis."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        name: What it shows.
        values: The value of each line: numbers, or texts.
    """

    name: str
    values: Sequence[Any]

    @cached_property
    def is_number(self) -> bool:
        """Whether values are numbers rather than texts."""
        return all(isinstance(each, int | float) for each in self.values)

    @cached_property
    def choices(self) -> list[str]:
        """The texts, from bottom to top."""
        return list(dict.fromkeys(map(str, self.values)))[::-1]

    def place(self, line: int) -> float:
        """Return where a line crosses the axis, from 0 to 1."""
        if self.is_number:
            low, high = min(self.values), max(self.values)
            return (float(self.values[line]) - low) / (high - low) if high > low else 0.5
        return self._find_height(self.choices.index(str(self.values[line])))

    def _find_height(self, choice: int) -> float:
        return (choice + 0.5) / len(self.choices)

    def list_ticks(self) -> list[tuple[float, str]]:
        """Return what is written at the axis, and where."""
        if self.is_number:
            low, high = min(self.values), max(self.values)
            ends = [(0.0, low), (1.0, high)] if high > low else [(0.5, low)]
            return [(place, format_short(value)) for place, value in ends]
        texts = [shorten(each, NAME) for each in self.choices]
        return [(self._find_height(place), text) for place, text in enumerate(texts)]


def draw_parallel(axes: Sequence[Axis], lead: Sequence[bool], note: str) -> Chart:
    """Return the chart; on a narrow screen its axes lie, one below the other.

    Args:
        axes: From left to right; all have a value for each line.
        lead: Whether each line stands out.
        note: How to read it.
    """
    values = [
        {
            **{"line": line, "at": place, "value": axis.place(line), "lead": lead[line]},
            **{"axis": axis.name, "text": _format_value(axis, line)},
        }
        for line in range(len(lead))
        for place, axis in enumerate(axes)
    ]
    upright = _draw(axes, values, lies=False)
    lying = _draw(axes, values, lies=True)
    rows = tuple(tuple(_format_value(axis, line) for axis in axes) for line in range(len(lead)))
    spec = {
        **chart_specs.make_frame(HEIGHT),
        **upright,
        "usermeta": {"narrow": {"height": ROW * len(axes), **lying}},
    }
    grid = Grid("All runs", tuple(axis.name for axis in axes), rows)
    return Chart("All runs: settings and results", spec, grid, note=note)


def _format_value(axis: Axis, line: int) -> str:
    value = axis.values[line]
    return format_short(value) if axis.is_number else str(value)


def _draw(axes: Sequence[Axis], values: list[Json], *, lies: bool) -> Json:
    """Return data and layers; ``lies`` exchanges the two directions."""
    along, shared = _make_encoding(len(axes), lies=lies)
    about = [{"field": "axis", "title": " "}, {"field": "text", "title": "value"}]
    ends = [{"at": place, "value": 0, "to": 1} for place in range(len(axes))]
    others = [each for each in values if not each["lead"]]
    leading = [each for each in values if each["lead"]]
    point = {"type": "point", "size": 40, "opacity": 0, "filled": True}
    return {
        "layer": [
            {
                "data": {"values": ends},
                "mark": {"type": "rule", "color": LINE, "strokeWidth": 1.5},
                "encoding": {**shared, f"{along}2": {"field": "to"}},
            },
            _draw_lines(shared, others, PLAIN, 1, 0.35),
            _draw_lines(shared, leading, COLOURS[0], 2, 0.9),
            {
                "data": {"values": values},
                "mark": point,
                "encoding": {**shared, "tooltip": about},
            },
            *_write_names(axes, shared, lies=lies),
        ]
    }


def _make_encoding(count: int, *, lies: bool) -> tuple[str, Json]:
    """Return the direction of an axis, and where a point of one of ``count`` axes is."""
    across, along = ("y", "x") if lies else ("x", "y")
    span = [-0.12, count - 1 + 0.12] if not lies else [count - 0.5, -0.5]
    places: Json = {"field": "at", "type": "quantitative", "axis": None}
    places["scale"] = {"domain": span, "nice": False, "zero": False}
    heights: Json = {"field": "value", "type": "quantitative", "axis": None}
    heights["scale"] = {"domain": [0, 1], "nice": False}
    return along, {across: places, along: heights}


def _draw_lines(shared: Json, rows: list[Json], colour: str, width: float, opacity: float) -> Json:
    """Return a layer with a line for each run."""
    mark = {"type": "line", "color": colour, "strokeWidth": width, "opacity": opacity}
    encoding = {**shared, "detail": {"field": "line"}, "order": {"field": "at"}}
    return {"data": {"values": rows}, "mark": mark, "encoding": encoding}


def _write_names(axes: Sequence[Axis], shared: Json, *, lies: bool) -> Iterator[Json]:
    """Yield layers with the ticks and the names of the axes, on a ground of their own."""
    ticks = [
        {"at": place, "value": value, "text": text}
        for place, axis in enumerate(axes)
        for value, text in axis.list_ticks()
    ]
    top = 0 if lies else 1
    names = [{"at": at, "value": top, "text": axis.name} for at, axis in enumerate(axes)]

    def write(rows: list[Json], **style: Any) -> Json:
        encoding = {**shared, "text": {"field": "text"}}
        return {"data": {"values": rows}, "mark": {"type": "text", **style}, "encoding": encoding}

    halo = {"stroke": "var(--ground)", "strokeWidth": 4, "strokeJoin": "round", "fontSize": 11}
    beside = {"align": "center", "dy": 12} if lies else {"align": "left", "dx": 6}
    above = {"align": "left", "dy": -12} if lies else {"align": "center", "dy": -14}
    yield write(ticks, **beside, **halo)
    yield write(ticks, **beside, fontSize=11, color=SOFT)
    yield write(names, **above, **halo)
    yield write(names, **above, fontSize=11, color=INK, fontWeight=600)
