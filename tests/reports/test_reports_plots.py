"""Bars with intervals, as numbers."""

from __future__ import annotations

import math

import pytest

from mmx.reports import plots

SCALE = plots.WIDTH - plots.LABEL - plots.VALUE
"""Pixels of the whole axis."""


def test_whiskers_stand_on_the_axis_of_the_bars() -> None:
    drawn = plots.draw_bars(
        "t", {"a": 0.2, "b": -0.1}, intervals={"a": (0.1, 0.3), "b": (-0.2, 0.0)}
    )
    (a, b), unit = drawn.bars, SCALE / 0.5  # the axis is widened to -0.2 … 0.3
    assert drawn.zero == pytest.approx(plots.LABEL + 0.2 * unit, abs=0.1)
    assert a.width == pytest.approx(0.2 * unit, abs=0.1)
    for bar, (low, high) in ((a, (0.1, 0.3)), (b, (-0.2, 0.0))):
        assert bar.whisker is not None
        assert bar.whisker.low == pytest.approx(drawn.zero + low * unit, abs=0.11)
        assert bar.whisker.high == pytest.approx(drawn.zero + high * unit, abs=0.11)
        assert not bar.whisker.low_goes_on
        assert not bar.whisker.high_goes_on
    assert a.whisker is not None
    assert a.whisker.text == "+0.100 … +0.300"


@pytest.mark.parametrize(
    ("interval", "low", "high", "goes_on"),
    [
        ((-9.0, 9.0), -1.0, 1.0, (True, True)),
        ((0.05, 9.0), 0.05, 1.0, (False, True)),
        ((-9.0, 0.2), -1.0, 0.2, (True, False)),
        ((-1.0, 1.0), -1.0, 1.0, (False, False)),
    ],
)
def test_a_very_wide_interval_is_clipped_and_its_bar_stays_visible(
    interval: tuple[float, float], low: float, high: float, goes_on: tuple[bool, bool]
) -> None:
    drawn = plots.draw_bars("t", {"a": 0.1, "b": 0.05}, intervals={"a": interval})
    a, b = drawn.bars
    assert b.whisker is None
    assert a.whisker is not None
    assert (a.whisker.low_goes_on, a.whisker.high_goes_on) == goes_on
    unit = SCALE / (max(high, 0.1) - min(low, 0))
    assert a.whisker.low == pytest.approx(drawn.zero + low * unit, abs=0.11)
    assert a.whisker.high == pytest.approx(drawn.zero + high * unit, abs=0.11)
    assert plots.LABEL <= a.whisker.low <= a.whisker.high <= plots.WIDTH - plots.VALUE
    assert a.width >= SCALE / 20 - 0.1


def test_bars_without_length_have_whiskers_and_those_of_no_numbers_have_none() -> None:
    drawn = plots.draw_bars(
        "t", {"a": 0.0, "b": 0.0}, intervals={"a": (-0.5, 0.25), "b": (math.nan,) * 2}
    )
    a, b = drawn.bars
    assert (a.width, b.whisker) == (0, None)
    assert a.whisker is not None
    assert a.whisker.high - a.whisker.low == pytest.approx(SCALE, abs=0.1)
    assert plots.draw_bars("t", {}).bars == ()


def test_labels_have_the_room_they_need() -> None:
    label = "source=digits transfer=parameter target.fraction=0.05 over scratch"
    drawn = plots.draw_bars("t", {label: 0.1, "b": 0.2})
    assert drawn.bars[0].label == label
    assert drawn.label >= plots.LETTER * len(label)
    assert drawn.width - drawn.label == plots.WIDTH - plots.LABEL
    assert all(bar.x >= drawn.label for bar in drawn.bars)
    assert max(bar.x + bar.width for bar in drawn.bars) <= drawn.width - plots.VALUE + 0.1
