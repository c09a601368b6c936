"""Plots as numbers that a template draws as SVG: lines over [0, 1], and horizontal bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 46, 40
COLORS = ("#0b62a4", "#d1701f", "#2e7d4f", "#8a4fa3", "#8a8a8a")
LABEL, VALUE, BAR = 190, 80, 20
"""Widths of a bar's label and of its number, and the height of its line."""
LETTERS = 28
"""A longer label is cut."""


@dataclass(frozen=True)
class Line:
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
    lines: tuple[Line, ...]
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
class Bar:
    """One bar, in pixels."""

    label: str
    full_label: str
    text: str
    x: float
    y: float
    width: float
    color: str


@dataclass(frozen=True)
class Bars:
    """Horizontal bars from a common zero.

    Attributes:
        title: What is drawn.
        bars: From top to bottom.
        zero: x of zero.
        height: Of the whole picture.
    """

    title: str
    bars: tuple[Bar, ...]
    zero: float
    height: int
    kind: str = "bars"
    width: int = WIDTH
    label: int = LABEL


def lines(
    title: str,
    curves: Mapping[str, Sequence[tuple[float, float, str]]],
    *,
    caption: str,
    floor: tuple[float, str] | None = None,
) -> Lines:
    """Return curves of scores, of which 1 is the best, on an axis that shows 0 and 1.

    Args:
        title: What is drawn.
        curves: Name to ``(x in [0, 1], score, text)``; a score that is no number is left out.
        caption: What x is.
        floor: A score for reference, and what it is.
    """
    finite = {
        name: [each for each in points if each[1] == each[1]] for name, points in curves.items()
    }
    scores = [score for points in finite.values() for _, score, _ in points]
    low = min([0.0, *scores, *([floor[0]] if floor else [])])
    high = max([1.0, *scores])

    def x_of(part: float) -> float:
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    def y_of(score: float) -> float:
        return round(HEIGHT - BOTTOM - (score - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    drawn = []
    for index, (name, points) in enumerate(finite.items()):
        marks = tuple((x_of(x), y_of(score), text) for x, score, text in points)
        path = " ".join(f"{x},{y}" for x, y, _ in marks)
        drawn.append(Line(name, COLORS[index % len(COLORS)], path, marks))
    ticks = [low + part * (high - low) for part in (0, 0.25, 0.5, 0.75, 1)]
    return Lines(
        title=title,
        lines=tuple(drawn),
        ticks=tuple((y_of(tick), f"{tick:.3g}") for tick in ticks),
        floor=y_of(floor[0]) if floor and floor[0] == floor[0] else None,
        floor_label=floor[1] if floor else "",
        caption=caption,
    )


def bars(title: str, values: Mapping[str, float], *, signed: bool = False) -> Bars:
    """Return one bar a value; those below 0 go to the left of zero.

    Args:
        title: What is drawn.
        values: Label to number; a value that is no number has no bar.
        signed: Write the numbers with their sign.
    """
    known = [value for value in values.values() if value == value]
    low, high = min([0.0, *known]), max([0.0, *known])
    span = (high - low) or 1.0

    def x_of(value: float) -> float:
        return round(LABEL + (value - low) / span * (WIDTH - LABEL - VALUE), 1)

    zero, drawn = x_of(0.0), []
    for index, (label, value) in enumerate(values.items()):
        end = x_of(value) if value == value else zero
        drawn.append(
            Bar(
                label=label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…",
                full_label=label,
                text=f"{value:+.3f}" if signed else f"{value:.3f}",
                x=min(zero, end),
                y=TOP - 16 + index * BAR,
                width=round(abs(end - zero), 1),
                color=COLORS[0] if end >= zero else COLORS[1],
            )
        )
    return Bars(title, tuple(drawn), zero, TOP - 10 + len(drawn) * BAR)
