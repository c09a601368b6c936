"""Charts of one look as Vega-Lite specifications: curves, intervals, bars.

Axes start where they must, lines are named at their ends, and colours are tokens of ``page.css``.
Values that are not numbers are left out. Names of fields are fixed here and never come from data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mmx.json_object import Json
from mmx.reports.spread_labels import spread_labels

COLOURS = tuple(f"var(--c{place})" for place in range(1, 7))
"""Of series, in their order; charts with more of them repeat the colours with other dashes."""
PLAIN, INK, SOFT, LINE = "var(--plain)", "var(--ink)", "var(--soft)", "var(--line)"
MORE, LESS = "var(--more)", "var(--less)"
"""Colours of what is above and below zero."""
GROUND = "var(--ground)"
AT_END = {"value": {"expr": "width"}}
"""The right end of an axis."""
CURVES_HEIGHT = 190
FEW_STEPS = 6
"""Whole numbers up to which each has its tick."""
ROW_HEIGHT, TALL_ROW_HEIGHT = 24, 40
LONG_NAME = 14
"""Letters of a name that has room before its row also on a narrow screen."""
INTERVAL_LIMIT = 10
"""An interval is cut at this multiple of the largest value, and ends in an arrow there."""
LETTER = 6.6
"""Pixels of a letter, to leave room for names."""
UNSIGNED = "format(datum.value, '~g')"
SIGNED = "datum.value === 0 ? '0' : format(datum.value, '+~g')"
"""Numbers of an axis, as Vega expressions."""
DASHES = ([1, 0], [6, 3], [2, 3])


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: Written at its end.
        points: ``(x, y)``, in the order of x.
        colour: A token, such as ``var(--c1)``.
        dash: Lengths of dashes and gaps; () for a whole line.
        marked: x of the point that stands out.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = COLOURS[0]
    dash: tuple[int, ...] = ()
    marked: float | None = None


@dataclass(frozen=True)
class MeasuredRow:
    """One row of a chart of values with their intervals.

    Attributes:
        name: Written in front of it.
        value: The value.
        interval: Where its interval begins and ends.
        text: What is written behind it.
        stands_out: Whether it is drawn in the first colour, and not in grey.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    text: str = ""
    stands_out: bool = True


def draw_curves(
    series: Sequence[Series],
    *,
    x: str,
    marked: str = "",
    reference: tuple[float, str] | None = None,
    whole: bool = True,
    within: tuple[float, float] | None = None,
    diagonal: bool = False,
) -> Json:
    """Return lines with their names at their ends.

    Args:
        series: The lines.
        x: What the horizontal axis is.
        marked: What the points that stand out are, such as ``best epoch``.
        reference: A value for comparison, and what it is.
        whole: Whether x has whole numbers alone.
        within: Ends of the vertical axis; None for those of the values.
        diagonal: Whether x = y is drawn.
    """
    finite = [replace(each, points=_keep_finite(each.points)) for each in series]
    drawn = [each for each in finite if each.points]
    across, values = _split_points(drawn)
    levels = [reference] if reference and math.isfinite(reference[0]) else []
    heights = within or find_ends([*values, *(level for level, _ in levels)])
    ends = [each.points[-1][1] for each in drawn] + [level for level, _ in levels]
    places = spread_labels(ends, heights, CURVES_HEIGHT)
    layers = [
        layer
        for (level, name), place in zip(levels, places[len(drawn) :], strict=True)
        for layer in _draw_reference(level, place, name)
    ]
    layers += [_draw_diagonal()] if diagonal else []
    for each, place in zip(drawn, places, strict=False):
        layers += _draw_line(each, place, x, marked)
    return {
        **make_frame(CURVES_HEIGHT),
        "encoding": {
            "x": _make_horizontal(across, x, whole=whole),
            "y": _make_vertical(*heights),
        },
        "layer": layers,
    }


def _split_points(series: Sequence[Series]) -> tuple[list[float], list[float]]:
    """Return x and y of all points of some lines."""
    points = [point for each in series for point in each.points]
    return [x for x, _ in points], [y for _, y in points]


def _make_horizontal(across: Sequence[float], title: str, *, whole: bool) -> Json:
    first, last = min(across, default=0.0), max(across, default=1.0)
    axis: Json = {"tickCount": 6, "format": "d" if whole else choose_number_format(first, last)}
    if whole and last - first < FEW_STEPS:  # with so few, Vega would put ticks between them
        axis["values"] = list(range(math.ceil(first), math.floor(last) + 1))
    return {
        "field": "x",
        "type": "quantitative",
        "title": title,
        "scale": {"domain": [first, last if last > first else first + 1], "nice": False},
        "axis": axis if "values" in axis else {**axis, "tickMinStep": 1 if whole else 0},
    }


def _make_vertical(low: float, high: float) -> Json:
    return {
        "field": "y",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [low, high], "nice": False, "zero": False},
        "axis": {"tickCount": 5, "format": choose_number_format(low, high)},
    }


def choose_number_format(low: float, high: float) -> str:
    """Return the format of an axis's numbers: 1.5k and 160, instead of 1.5e+3 and 1.6e+2."""
    largest = max(-low, high)
    return "~s" if largest >= 1000 else "~f" if largest >= 10 else "~g"


def _draw_line(series: Series, label: float, x: str, marked: str) -> list[Json]:
    """Return a line, its name at the height ``label``, and the point that stands out."""
    rows = [{"x": x, "y": y} for x, y in series.points]
    tooltip = [
        {"field": "x", "type": "quantitative", "title": x},
        {"field": "y", "type": "quantitative", "title": series.name, "format": ".4~g"},
    ]
    line: Json = {"type": "line", "color": series.colour, "clip": True}
    if series.dash:
        line["strokeDash"] = list(series.dash)
    point = {"type": "point", "filled": True, "size": 60, "opacity": 0, "color": series.colour}
    name = {"type": "text", "align": "left", "dx": 8, "text": series.name, "color": series.colour}
    layers: list[Json] = [
        {"data": {"values": rows}, "mark": line},
        {"data": {"values": rows}, "mark": point, "encoding": {"tooltip": tooltip}},
        {"data": {"values": [{"x": series.points[-1][0], "y": label}]}, "mark": name},
    ]
    best = [(at, y) for at, y in series.points if at == series.marked]
    if len(series.points) == 1 or best:
        ring = {"type": "point", "filled": True, "size": 55, "opacity": 1, "color": series.colour}
        found = {"x": (best or series.points)[0][0], "y": (best or series.points)[0][1]}
        about: Json = {"tooltip": tooltip}
        if best and marked:
            about["description"] = {"value": f"{marked} of {series.name}: {best[0][0]:g}"}
        layers.append(
            {
                "data": {"values": [found]},
                "mark": {**ring, "stroke": GROUND, "strokeWidth": 1.5},
                "encoding": about,
            }
        )
    return layers


def _draw_reference(value: float, label: float, name: str) -> list[Json]:
    """Return a dotted line from side to side, with its name at the height ``label``."""
    # Without an x of their own they reach from side to side.
    rule = {"type": "rule", "color": PLAIN, "strokeDash": [2, 3]}
    text = {"type": "text", "text": name, "color": SOFT, "align": "left", "dx": 8}
    return [
        {"data": {"values": [{"y": value}]}, "mark": rule, "encoding": {"x": None}},
        {"data": {"values": [{"y": label}]}, "mark": text, "encoding": {"x": AT_END}},
    ]


def _draw_diagonal() -> Json:
    return {
        "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
        "mark": {"type": "line", "color": PLAIN, "strokeDash": [2, 3], "strokeWidth": 1},
    }


def draw_measured(
    rows: Sequence[MeasuredRow], *, x: str, from_zero: bool = True, signed: bool = False
) -> Json:
    """Return one dot with its interval for each row, from top to bottom.

    An interval far longer than all values ends in an arrow, so that values can still be read.

    Args:
        rows: The rows; those of one name would fall on one line.
        x: What the horizontal axis is.
        from_zero: Whether zero is on the axis, with a line.
        signed: Whether numbers are written with their sign.
    """
    shown = [each for each in rows if math.isfinite(each.value)]
    axis = _MeasuredAxis.of(shown, x, from_zero=from_zero, signed=signed)
    colour = {"condition": {"test": "datum.out", "value": COLOURS[0]}, "value": PLAIN}
    point = {"type": "point", "filled": True, "size": 60, "opacity": 1}
    about = _about("row", "about")
    interval = {
        "mark": {"type": "rule", "strokeWidth": 2, "strokeCap": "round"},
        "encoding": {**axis.ends, "color": colour},
    }
    has_interval = any(each["low"] is not None for each in axis.values)  # else Vega complains
    layers: list[Json] = [
        *([interval] if has_interval else []),
        {"mark": point, "encoding": {"x": axis.place, "color": colour, "tooltip": about}},
        *axis.draw_arrows(),
        axis.draw_numbers(),
    ]
    return axis.frame([*([_draw_zero()] if from_zero else []), *layers])


def draw_bars(rows: Sequence[MeasuredRow], *, x: str, signed: bool = False) -> Json:
    """Return one horizontal bar from zero for each row, its number behind it."""
    shown = [each for each in rows if math.isfinite(each.value)]
    axis = _MeasuredAxis.of(shown, x, from_zero=True, signed=signed)
    colour = {"condition": {"test": "datum.x < 0", "value": LESS}, "value": MORE}
    about = _about("row", "about")
    bar = {
        "mark": {"type": "bar", "height": {"band": 0.62}},
        "encoding": {"x": axis.place, "color": colour, "tooltip": about},
    }
    whisker = {
        "mark": {"type": "rule", "color": INK, "strokeWidth": 1.2},
        "encoding": axis.ends,
    }
    has_interval = any(each.interval for each in shown)
    whiskers = [whisker, *axis.draw_arrows()] if has_interval else []
    return axis.frame([bar, *whiskers, _draw_zero(), axis.draw_numbers()])


@dataclass(frozen=True)
class _MeasuredAxis:
    """Rows of values with their intervals on a common axis.

    Attributes:
        values: The data: a mapping for each row.
        place: How x is encoded.
        longest: Letters of the longest number.
    """

    values: list[Json]
    place: Json
    longest: int

    @classmethod
    def of(
        cls, rows: Sequence[MeasuredRow], x: str, *, from_zero: bool, signed: bool
    ) -> _MeasuredAxis:
        """Return the axis of rows; parameters as those of :func:`draw_measured`."""
        values: list[Json] = []
        most = _find_most(rows)
        for each in rows:
            text = each.text or format_number(each.value, signed=signed)
            low, high = _find_whole(each.interval)
            values.append(
                {
                    "row": each.name,
                    "x": each.value,
                    "low": None if low is None else max(low, -most),
                    "high": None if high is None else min(high, most),
                    "goes_on": [low is not None and low < -most, high is not None and high > most],
                    "text": text,
                    "about": text if low is None else f"{text} ({low:+.3f} … {high:+.3f})",
                    "out": each.stands_out,
                }
            )
        place: Json = {"field": "x", "type": "quantitative", "title": x}
        place["scale"] = {"zero": from_zero, "nice": True}
        place["axis"] = {"grid": True, "tickCount": 5, "labelExpr": SIGNED if signed else UNSIGNED}
        return cls(values, place, max((len(each["text"]) for each in values), default=0))

    @property
    def ends(self) -> Json:
        """How intervals are encoded."""
        return {"x": {**self.place, "field": "low"}, "x2": {"field": "high"}}

    def draw_arrows(self) -> list[Json]:
        """Return the arrows of intervals that go on."""
        found = []
        for side, (end, shape) in enumerate((("low", "triangle-left"), ("high", "triangle-right"))):
            rows = [each for each in self.values if each["goes_on"][side]]
            if rows:
                mark = {"type": "point", "shape": shape, "size": 70, "filled": True, "opacity": 1}
                place = {**self.place, "field": end}
                layer = {"data": {"values": rows}, "mark": {**mark, "color": SOFT}}
                found.append({**layer, "encoding": {"x": place}})
        return found

    def draw_numbers(self) -> Json:
        """Return the numbers behind the rows."""
        behind = {"expr": f"width + {round(LETTER * self.longest) + 12}"}
        mark = {"type": "text", "align": "right", "color": INK}
        return {"mark": mark, "encoding": {"x": {"value": behind}, "text": {"field": "text"}}}

    def frame(self, layers: list[Json]) -> Json:
        """Return the whole chart; on a narrow screen, long names stand above their rows."""
        names = [each["row"] for each in self.values]
        spec = {
            **make_frame(ROW_HEIGHT * len(names)),
            "data": {"values": self.values},
            "encoding": {"y": make_rows(names)},
            "layer": layers,
        }
        if max(map(len, names), default=0) > LONG_NAME:
            spec["usermeta"] = {"narrow": _put_names_above(names, layers)}
        return spec


def _put_names_above(names: Sequence[str], layers: Sequence[Json]) -> Json:
    """Return what differs in a chart of rows where names stand above their rows."""
    lower = [
        each
        if each["encoding"].get("y", True) is None
        else {**each, "mark": {**each["mark"], "yOffset": 7}}
        for each in layers
    ]
    limit = {"expr": "width"}
    name = {"type": "text", "align": "left", "color": SOFT, "fontSize": 11, "yOffset": -11}
    text: Json = {"x": {"value": 0}, "text": {"field": "row"}}
    above = {"mark": {**name, "limit": limit}, "encoding": text}
    return {
        "height": TALL_ROW_HEIGHT * len(names),
        "encoding": {"y": {**make_rows(names), "axis": None}},
        "layer": [*lower, above],
    }


def _find_whole(interval: tuple[float, float] | None) -> tuple[float | None, float | None]:
    """Return the ends of an interval; None for one that is not there, or is no number."""
    if interval is None or not all(map(math.isfinite, interval)):
        return None, None
    return interval


def _find_most(rows: Sequence[MeasuredRow]) -> float:
    """Return where intervals are cut: so many times the largest value."""
    largest = max((abs(each.value) for each in rows), default=0.0)
    return INTERVAL_LIMIT * largest if largest else math.inf


def explain_arrows(rows: Sequence[MeasuredRow]) -> str:
    """Return a sentence, after a space, if an interval is so long that it ends in an arrow."""
    shown = [each for each in rows if math.isfinite(each.value)]
    most = _find_most(shown)
    ends = [end for each in shown for end in _find_whole(each.interval) if end is not None]
    return " An arrow: the interval goes on." if any(abs(end) > most for end in ends) else ""


def _draw_zero() -> Json:
    return {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": SOFT, "strokeWidth": 1},
        "encoding": {"x": {"datum": 0, "type": "quantitative"}, "y": None},
    }


def pick_colour(place: int) -> tuple[str, tuple[int, ...]]:
    """Return the colour and the dashes of the series at a place."""
    dash = DASHES[place // len(COLOURS) % len(DASHES)]
    return COLOURS[place % len(COLOURS)], tuple(dash) if place >= len(COLOURS) else ()


def format_number(value: float, *, signed: bool = False) -> str:
    """Return a number with three decimals and a real minus, as axes have it."""
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    if float(text) == 0:  # of -0.0001 too
        return "0.000"
    return text.replace("-", "\u2212")


def format_short(value: float) -> str:
    """Return a number with four digits, and thousands apart."""
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return text.replace("-", "\u2212")


def _keep_finite(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def find_ends(values: Sequence[float]) -> tuple[float, float]:
    """Return round numbers around all values: where an axis ends."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power / part for part in (5, 4, 2, 1) if span / (power / part) <= 10)
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return (bottom, top) if bottom < top else (bottom - step, top + step)


def make_rows(names: Sequence[str]) -> Json:
    """Return the vertical axis of named rows, in their order."""
    return {
        "field": "row",
        "type": "nominal",
        "title": None,
        "sort": list(names),
        "scale": {"type": "band", "domain": list(names)},
    }


def _about(*fields: str) -> list[Json]:
    return [{"field": each, "title": " " if each == "row" else "value"} for each in fields]


def make_frame(height: int) -> Json:
    """Return what all charts share: as wide as their place, and so many pixels high."""
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 2, "top": 10, "right": 4, "bottom": 2},
    }
