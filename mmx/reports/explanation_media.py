"""Explanations as a page shows them: pictures with colours, words with colours, bars.

What speaks for an answer is blue, what speaks against it is orange: colours that nearly all
colour-blind readers tell apart. Bars and words say the sign in another way too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.explanations import Attribution
from mmx.explanations.explained_rows import ExplainedInput
from mmx.explanations.inputs import Named
from mmx.printable import printable, shorten
from mmx.reports.sample_media import FRAMES, encode_picture

Heat = npt.NDArray[np.float32]
FOR = np.array([0, 105, 168], np.float64)
AGAINST = np.array([214, 96, 10], np.float64)
PAPER = 245.0
"""Grey of a place that contributes nothing, where nothing lies under the colours."""
LIGHTEST, DARKEST = 250.0, 110.0
"""Greys that an input becomes under the colours, so that these stand out."""
OPACITY = 0.9
"""Of the colour of what contributes most."""
OUTLIERS = 99.5
"""Percentile of the absolute numbers that has the full colour."""
SIDE = 224  # pixels of the longer side
TALL = 80  # least pixels of the height of a map over time
BARS = 12
WORDS = 400
CELL = 60


@dataclass(frozen=True)
class Bar:
    """A part by name: what it holds, what it contributes, and how long its bar is, -1 to 1."""

    name: str
    text: str
    value: str
    length: float


@dataclass(frozen=True)
class Word:
    """A word of a text: what it contributes, and how strong its colour is, -1 to 1."""

    text: str
    value: str
    strength: float
    about: str = ""


@dataclass(frozen=True)
class ShownMap:
    """What one method found of one input.

    Attributes:
        method: Its name.
        title: What the page calls it.
        pictures: Addresses of pictures.
        small: Whether the pictures have so few pixels that they are enlarged without blur.
        words: Words in their order.
        bars: Parts that contribute most.
        left_out: How many parts have no bar.
        notes: What to know, such as that completeness does not hold.
    """

    method: str
    title: str
    pictures: tuple[str, ...] = ()
    small: bool = False
    words: tuple[Word, ...] = ()
    bars: tuple[Bar, ...] = ()
    left_out: int = 0
    notes: tuple[str, ...] = ()


def find_largest(inputs: Iterable[ExplainedInput], method: str) -> float:
    """Return the absolute number whose bar has full length: the largest of a row's named parts."""
    found = [
        float(np.abs(each.maps[method].values).max(initial=0.0))
        for each in inputs
        if _has_bars(each, method)
    ]
    return max(found, default=0.0) or 1.0


def _has_bars(given: ExplainedInput, method: str) -> bool:
    """Return whether a method's numbers for an input are shown as bars with names."""
    if method not in given.maps or given.names is None:
        return False
    values = given.maps[method].values
    in_words = given.in_order and len(given.names) == len(values)
    return not in_words and len(given.names) == values.size


def show_map(
    given: ExplainedInput, method: str, title: str, largest: float | None = None
) -> ShownMap:
    """Return what a page shows of one method for one input.

    Args:
        given: The input.
        method: One of its methods.
        title: What the page calls the method.
        largest: The absolute number whose bar has full length; None for that of this input.
    """
    found = given.maps[method]
    notes = tuple(filter(None, (describe_completeness(found), found.note)))
    if given.in_order and given.names is not None and len(given.names) == len(found.values):
        return ShownMap(method, title, words=_show_words(found, given.names), notes=notes)
    if given.names is not None and _has_bars(given, method):
        bars = _show_bars(found, given.names, largest or find_largest([given], method))
        left = found.values.size - len(bars)
        return ShownMap(method, title, bars=bars, left_out=left, notes=notes)
    pictures = _draw(given, found)
    small = max(found.values.shape, default=0) <= 64
    return ShownMap(method, title, pictures=pictures, small=small, notes=notes)


def describe_completeness(found: Attribution) -> str:
    """Return a sentence where the attributions do not sum to what they should; else ""."""
    complete = found.completeness
    if complete is None or complete.holds:
        return ""
    return (
        f"Completeness does not hold: after {complete.steps:,} steps the parts sum to "
        f"{complete.total + complete.gap:+.4g}, the output changes by {complete.total:+.4g}."
    )


def find_scale(values: Heat) -> float:
    """Return the absolute number that has the full colour; 1 where all are zero."""
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size:
        return 1.0
    return float(np.percentile(sizes, OUTLIERS)) or float(sizes.max()) or 1.0


def paint(values: Heat, under: Heat | None, scale: float) -> npt.NDArray[np.uint8]:
    """Return numbers ``(H, W)`` as colours over an input, ``(H, W, 3)``.

    Args:
        values: The numbers.
        under: ``(H, W)`` or ``(H, W, 3)`` in [0, 1]; None: nothing lies under the colours.
        scale: The absolute number that has the full colour.
    """
    if under is None:
        grey = np.full((*values.shape, 1), PAPER)
    else:
        light = under.mean(-1) if under.ndim == 3 else under
        grey = (DARKEST + (LIGHTEST - DARKEST) * light.clip(0, 1))[..., None]
    strength = OPACITY * (np.abs(np.nan_to_num(values)) / scale).clip(0, 1)[..., None]
    color = np.where(values[..., None] >= 0, FOR, AGAINST)
    pixels: npt.NDArray[np.uint8] = (grey * (1 - strength) + color * strength).astype(np.uint8)
    return pixels


def _draw(given: ExplainedInput, found: Attribution) -> tuple[str, ...]:
    """Return pictures of a map of one, two or three axes."""
    values, under = found.values, given.shown
    scale = find_scale(values)
    if values.ndim == 3:  # (T, H, W)
        places = ((np.arange(FRAMES) + 0.5) / FRAMES * len(values)).astype(np.int64)
        return tuple(
            _encode(paint(values[at], None if under is None else under[at], scale))
            for at in dict.fromkeys(places.tolist())
        )
    if given.modality == "image" and values.ndim == 2:
        return (_encode(paint(values, under, scale)),)
    if values.ndim == 1:  # (T,)
        values = values[:, None]
        if under is not None:
            under = under.mean(1) if under.ndim == 2 else under
            under = under[:, None] if under.ndim == 1 else under
    if under is not None and under.shape[:2] != values.shape[:2]:
        under = None
    # Time runs to the right; low bands, and the first features, are at the bottom.
    heat = np.flipud(values.T)
    picture = paint(heat, None if under is None else np.flipud(_scale(under).T), scale)
    return (_encode(_widen(picture)),)


def _scale(under: Heat) -> Heat:
    """Return an input of any numbers in [0, 1]."""
    low, high = np.percentile(under, [1, 99])
    scaled: Heat = ((under - low) / ((high - low) or 1.0)).clip(0, 1)
    return scaled


def _widen(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a picture of few rows or columns enlarged by whole factors."""
    height, width = pixels.shape[:2]
    tall, wide = max(1, math.ceil(TALL / height)), max(1, round(SIDE / width))
    return pixels.repeat(tall, axis=0).repeat(wide, axis=1)


def _encode(pixels: npt.NDArray[np.uint8]) -> str:
    return encode_picture(pixels, SIDE)


def _show_words(found: Attribution, names: Sequence[Named]) -> tuple[Word, ...]:
    scale = find_scale(found.values)
    return tuple(
        Word(
            printable(_join_sub_word(each.name)),
            _format(float(value), found),
            float(np.clip(value / scale, -1, 1)),
            each.text,
        )
        for each, value in zip(names[:WORDS], found.values[:WORDS], strict=True)
    )


def _join_sub_word(name: str) -> str:
    """Return a sub-word without the mark by which a tokenizer says that a word begins."""
    return name.replace("\u0120", "").replace("\u2581", "").replace("</w>", "")


def _show_bars(found: Attribution, names: Sequence[Named], largest: float) -> tuple[Bar, ...]:
    values = found.values.reshape(-1)
    order: Any = np.argsort(-np.abs(values), kind="stable")[:BARS]
    return tuple(
        Bar(
            shorten(printable(names[at].name), CELL),
            shorten(printable(names[at].text), CELL),
            _format(float(values[at]), found),
            float(values[at] / largest),
        )
        for at in sorted(order.tolist(), key=lambda at: -values[at])
    )


def _format(value: float, found: Attribution) -> str:
    """Return a number as text, with a real minus."""
    text = f"{value:+.3g}" if found.signed else f"{value:.3g}"
    return text.replace("-", "\u2212")
