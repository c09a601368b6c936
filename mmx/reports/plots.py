"""Plots as numbers for an SVG template: lines over [0, 1], and horizontal bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 46, 40
COLORS = ("#0b62a4", "#d1701f", "#2e7d4f", "#8a4fa3", "#8a8a8a")
LABEL, VALUE, BAR = 190, 80, 20
"""Pixels: width of a bar's label, width of its number, height of its line."""
LETTER = 6.5
"""Pixels of a letter, to make the column of labels as wide as the longest."""
INTERVAL_LIMIT = 10
"""An interval is cut at this multiple of the longest bar, and ends in an arrow there."""


@dataclass(frozen=True)
class Curve:
    """One curve, in pixels.

    Attributes:
        label: Its name.
        color: Of the line and its label.
        points: ``x,y`` pairs.
        marks: ``(x, y, text)`` of each point.
    """

    label: str
    color: str
    points: str
    marks: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Lines:
    """Curves on common axes.

    Attributes:
        title: What is drawn.
        lines: The curves.
        ticks: ``(y, text)`` of the vertical axis.
        floor: y of a score for reference, if there is one.
        floor_label: What it is.
        caption: Of the horizontal axis.
    """

    title: str
    lines: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]
    floor: float | None
    floor_label: str
    caption: str
    kind: str = "lines"
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Whisker:
    """An interval around a bar's end, in pixels.

    Attributes:
        low, high: Where it begins and ends.
        low_goes_on, high_goes_on: Whether the interval extends beyond the chart.
        text: Its numbers.
    """

    low: float
    high: float
    low_goes_on: bool
    high_goes_on: bool
    text: str


@dataclass(frozen=True)
class _Axis:
    """The horizontal axis of bars: the values at its ends, and its left end in pixels."""

    low: float
    high: float
    left: int

    def find_x(self, value: float) -> float:
        """Return the x of a value, in pixels; one beyond an end is drawn at that end."""
        inside = min(max(value, self.low), self.high)
        part = (inside - self.low) / ((self.high - self.low) or 1.0)  # all values may be 0
        return round(self.left + part * (WIDTH - LABEL - VALUE), 1)

    def draw_whisker(self, ends: tuple[float, float]) -> Whisker:
        """Return an interval, which may go on beyond the ends of the axis."""
        low, high = ends
        text = f"{low:+.3f} … {high:+.3f}"
        x_low, x_high = self.find_x(low), self.find_x(high)
        return Whisker(x_low, x_high, low < self.low, high > self.high, text)


@dataclass(frozen=True)
class Bar:
    """One bar, in pixels.

    Attributes:
        label: Its name.
        text: Its value.
        x, y, width, color: Of the bar.
        whisker: Its interval, if it has one.
    """

    label: str
    text: str
    x: float
    y: float
    width: float
    color: str
    whisker: Whisker | None = None


@dataclass(frozen=True)
class Bars:
    """Horizontal bars from a common zero.

    Attributes:
        title: What is drawn.
        bars: From top to bottom.
        zero: x of zero.
        height, width: Size of the whole chart.
        label: Width of the column of labels.
    """

    title: str
    bars: tuple[Bar, ...]
    zero: float
    height: int
    kind: str = "bars"
    width: int = WIDTH
    label: int = LABEL


def draw_lines(
    title: str,
    curves: Mapping[str, Sequence[tuple[float, float, str]]],
    *,
    caption: str,
    floor: tuple[float, str] | None = None,
) -> Lines:
    """Return curves of scores, where 1 is the best, on an axis that includes 0 and 1.

    Args:
        title: What is drawn.
        curves: Name to ``(x in [0, 1], score, text)``; a score that is no number is left out.
        caption: What x is.
        floor: A score for reference, and what it is.
    """
    finite = {  # NaN does not equal itself
        name: [each for each in points if each[1] == each[1]] for name, points in curves.items()
    }
    scores = [score for points in finite.values() for _, score, _ in points]
    low = min([0.0, *scores, *([floor[0]] if floor else [])])
    high = max([1.0, *scores])

    def find_x(part: float) -> float:
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    def find_y(score: float) -> float:
        return round(HEIGHT - BOTTOM - (score - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    drawn = []
    for index, (name, points) in enumerate(finite.items()):
        marks = tuple((find_x(x), find_y(score), text) for x, score, text in points)
        path = " ".join(f"{x},{y}" for x, y, _ in marks)
        drawn.append(Curve(name, COLORS[index % len(COLORS)], path, marks))
    ticks = [low + part * (high - low) for part in (0, 0.25, 0.5, 0.75, 1)]
    return Lines(
        title=title,
        lines=tuple(drawn),
        ticks=tuple((find_y(tick), f"{tick:.3g}") for tick in ticks),
        floor=find_y(floor[0]) if floor and floor[0] == floor[0] else None,
        floor_label=floor[1] if floor else "",
        caption=caption,
    )


def draw_bars(
    title: str,
    values: Mapping[str, float],
    *,
    signed: bool = False,
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Bars:
    """Return one bar for each value; bars of values below 0 extend to the left of zero.

    Args:
        title: What is drawn.
        values: Label to number; a value that is no number has no bar.
        signed: Write the numbers with their sign.
        intervals: Label to the interval of its value; one with NaN is left out.
    """
    # NaN <= NaN is false, so an interval that is not a number is left out here.
    whole = {label: ends for label, ends in (intervals or {}).items() if ends[0] <= ends[1]}
    label_width = max(LABEL, round(LETTER * max(map(len, values), default=0)) + 16)
    axis = _find_axis([v for v in values.values() if v == v], list(whole.values()), label_width)
    zero, drawn = axis.find_x(0.0), []
    for index, (label, value) in enumerate(values.items()):
        end = axis.find_x(value) if value == value else zero
        drawn.append(
            Bar(
                label=label,
                text=f"{value:+.3f}" if signed else f"{value:.3f}",
                x=min(zero, end),
                y=TOP - 16 + index * BAR,
                width=round(abs(end - zero), 1),
                color=COLORS[0] if end >= zero else COLORS[1],
                whisker=axis.draw_whisker(whole[label]) if label in whole else None,
            )
        )
    height, width = TOP - 10 + len(drawn) * BAR, WIDTH + label_width - LABEL
    return Bars(title, tuple(drawn), zero, height, width=width, label=label_width)


def _find_axis(
    values: Sequence[float], intervals: Sequence[tuple[float, float]], left: int
) -> _Axis:
    """Return the axis that includes zero, all values, and their intervals as far as shown."""
    ends = [end for each in intervals for end in each]
    longest = max((abs(value) for value in values), default=0.0)
    most = INTERVAL_LIMIT * longest or max((abs(end) for end in ends), default=0.0)
    shown = [min(max(end, -most), most) for end in ends]
    return _Axis(min([0.0, *values, *shown]), max([0.0, *values, *shown]), left)
