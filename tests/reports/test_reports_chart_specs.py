"""Charts as Vega-Lite specifications: what is drawn of which values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmx.json_object import Json
from mmx.reports import chart_specs
from mmx.reports.chart_specs import MeasuredRow, Series
from mmx.reports.heat_map import HeatCell, draw_heat_map
from mmx.reports.spread_labels import spread_labels


def layers(spec: Json, mark: str) -> list[Json]:
    return [each for each in spec["layer"] if each["mark"]["type"] == mark]


def values(layer: Json) -> list[Json]:
    found: list[Json] = layer["data"]["values"]
    return found


def test_a_line_has_its_finite_points_its_name_at_its_end_and_its_best_point() -> None:
    points = [(1, 0.25), (2, math.nan), (3, 0.75), (4, math.inf), (5, 0.5)]
    spec = chart_specs.draw_curves(
        [Series("target", points, marked=3), Series("empty", [(1, math.nan)])],
        x="epoch",
        marked="best epoch",
    )
    (line,), (name,) = layers(spec, "line"), layers(spec, "text")
    assert values(line) == [{"x": 1, "y": 0.25}, {"x": 3, "y": 0.75}, {"x": 5, "y": 0.5}]
    assert (name["mark"]["text"], values(name)) == ("target", [{"x": 5, "y": 0.5}])
    hidden, best = layers(spec, "point")
    assert (hidden["mark"]["opacity"], best["mark"]["opacity"]) == (0, 1)
    assert values(best) == [{"x": 3, "y": 0.75}]
    assert spec["encoding"]["x"]["scale"]["domain"] == [1, 5]
    low, high = spec["encoding"]["y"]["scale"]["domain"]
    assert low <= 0.25 < 0.75 <= high


def test_a_line_of_one_point_is_seen() -> None:
    spec = chart_specs.draw_curves([Series("target", [(1, 0.5)])], x="epoch")
    assert [values(each) for each in layers(spec, "point") if each["mark"]["opacity"]] == [
        [{"x": 1, "y": 0.5}]
    ]
    first, last = spec["encoding"]["x"]["scale"]["domain"]
    assert first < last


@pytest.mark.parametrize(
    ("last", "whole", "ticks"),
    [(1, True, [1]), (2, True, [1, 2]), (6, True, [1, 2, 3, 4, 5, 6]), (9, True, None),
     (2, False, None)],
)  # fmt: skip
def test_few_epochs_have_a_tick_each_and_none_between(
    last: int, whole: bool, ticks: list[int] | None
) -> None:
    line = Series("target", [(x, 0.5) for x in range(1, last + 1)])
    axis = chart_specs.draw_curves([line], x="epoch", whole=whole)["encoding"]["x"]["axis"]
    assert axis.get("values") == ticks


def test_an_arrow_is_explained_where_an_interval_is_cut() -> None:
    far, near = MeasuredRow("a", 0.1, (-0.5, 3.0)), MeasuredRow("b", 0.1, (-0.5, 0.9))
    assert chart_specs.explain_arrows([far, near]) == " An arrow: the interval goes on."
    assert chart_specs.explain_arrows([near, MeasuredRow("c", math.nan, (0.0, 99.0))]) == ""


@pytest.mark.parametrize(
    ("columns", "angle"),
    [
        ([str(digit) for digit in range(10)], 0),
        (["left", "right", "up", "down", "up_left", "up_right", "down_left", "down_right"], -40),
        (["audio", "image"], 0),
    ],
)
def test_names_of_columns_do_not_cover_each_other(columns: list[str], angle: int) -> None:
    cells = [HeatCell("a", name, 1.0, "1") for name in columns]
    spec = draw_heat_map(cells, rows=["a"], columns=columns)
    assert spec["encoding"]["x"]["axis"]["labelAngle"] == angle


@pytest.mark.parametrize(
    ("last", "form"), [(0.2, "~g"), (9.0, "~g"), (160.0, "~f"), (900.0, "~f"), (1500.0, "~s")]
)
def test_large_values_have_no_exponents_on_their_axis(last: float, form: str) -> None:
    lines = [chart_specs.Series("target", [(1, 0.1), (2, last)], "blue")]
    spec = chart_specs.draw_curves(lines, x="epoch")
    assert spec["encoding"]["y"]["axis"]["format"] == form


def test_the_name_of_a_reference_keeps_clear_of_the_names_of_lines() -> None:
    lines = [chart_specs.Series("control", [(1, 0.12), (2, 0.11)], "black")]
    lines.append(chart_specs.Series("target", [(1, 0.5), (2, 0.9)], "blue"))
    spec = chart_specs.draw_curves(lines, x="epoch", reference=(0.1, "chance"))
    texts = {
        layer["mark"]["text"]: layer["data"]["values"][0]["y"]
        for layer in spec["layer"]
        if layer["mark"]["type"] == "text"
    }
    assert set(texts) == {"control", "target", "chance"}
    low, high = spec["encoding"]["y"]["scale"]["domain"]
    pixels = chart_specs.CURVES_HEIGHT / (high - low)
    assert (texts["control"] - texts["chance"]) * pixels > 11
    rules = [x["data"]["values"] for x in spec["layer"] if x["mark"]["type"] == "rule"]
    assert rules == [[{"y": 0.1}]]


def test_a_chart_without_a_value_is_a_chart() -> None:
    spec = chart_specs.draw_curves([], x="epoch", reference=(math.nan, "chance"))
    assert spec["layer"] == []
    assert chart_specs.draw_measured([], x="gain")["data"]["values"] == []


@pytest.mark.parametrize(
    ("found", "low", "high"),
    [
        ([0.05, 0.93], 0.0, 1.0),
        ([0.5, 0.5], 0.5, 0.5),
        ([1234.0, 5678.0], 1000.0, 6000.0),
        ([-3.0, -3.0], -3.0, -3.0),
        ([0.0], 0.0, 0.0),
    ],
)
def test_an_axis_ends_at_round_numbers_around_its_values(
    found: list[float], low: float, high: float
) -> None:
    bottom, top = chart_specs.find_ends(found)
    assert bottom <= low
    assert high <= top
    assert bottom < top
    assert top - bottom <= 2 * max(high - low, abs(high), 1)


@given(
    st.lists(st.floats(0, 1), max_size=12),
    st.sampled_from([190, 400]),
)
def test_names_of_lines_do_not_cover_each_other(ends: list[float], height: int) -> None:
    found = spread_labels(ends, (0.0, 1.0), height, 15)
    pixels = sorted(each * height for each in found)
    assert all(b - a >= 15 - 1e-6 for a, b in itertools.pairwise(pixels))
    assert all(each <= height + 1e-6 for each in pixels)
    order = sorted(range(len(ends)), key=lambda place: ends[place])
    assert [found[place] for place in order] == sorted(found)
    if len(ends) == 1:
        assert found == ends


def test_a_row_has_its_interval_and_a_value_that_is_no_number_no_row() -> None:
    rows = [
        MeasuredRow("a", 0.25, (0.125, 0.5)),
        MeasuredRow("b", math.nan),
        MeasuredRow("c", -0.5, stands_out=False),
    ]
    spec = chart_specs.draw_measured(rows, x="gain", signed=True)
    keys = ("row", "x", "low", "high", "text", "about", "out")
    assert [[each[key] for key in keys] for each in spec["data"]["values"]] == [
        ["a", 0.25, 0.125, 0.5, "+0.250", "+0.250 (+0.125 … +0.500)", True],
        ["c", -0.5, None, None, "−0.500", "−0.500", False],
    ]
    zero, interval = layers(spec, "rule")
    assert zero["encoding"]["x"]["datum"] == 0
    assert [interval["encoding"][end]["field"] for end in ("x", "x2")] == ["low", "high"]
    assert len(layers(chart_specs.draw_bars(rows, x="gain"), "bar")) == 1


@pytest.mark.parametrize(
    ("interval", "low", "high", "goes_on"),
    [
        ((-9.0, 9.0), -1.0, 1.0, [True, True]),
        ((0.05, 9.0), 0.05, 1.0, [False, True]),
        ((-9.0, 0.2), -1.0, 0.2, [True, False]),
        ((-1.0, 1.0), -1.0, 1.0, [False, False]),
    ],
)
@pytest.mark.parametrize("draw", [chart_specs.draw_measured, chart_specs.draw_bars])
def test_a_very_wide_interval_is_cut_and_ends_in_arrows(
    interval: tuple[float, float],
    low: float,
    high: float,
    goes_on: list[bool],
    draw: Callable[..., Json],
) -> None:
    spec = draw([MeasuredRow("a", 0.1, interval), MeasuredRow("b", 0.05)], x="gain")
    first, second = spec["data"]["values"]
    assert (first["low"], first["high"]) == pytest.approx((low, high))
    assert first["goes_on"] == goes_on
    assert (second["low"], second["high"]) == (None, None)
    arrows = [each for each in layers(spec, "point") if "shape" in each["mark"]]
    shapes = ["triangle-left", "triangle-right"]
    assert [each["mark"]["shape"] for each in arrows] == [
        shape for shape, there in zip(shapes, goes_on, strict=True) if there
    ]
    assert all(values(each) == [first] for each in arrows)


def test_values_of_zero_keep_their_intervals_and_those_of_no_numbers_have_none() -> None:
    rows = [MeasuredRow("a", 0.0, (-0.5, 0.25)), MeasuredRow("b", 0.0, (math.nan, math.nan))]
    first, second = chart_specs.draw_bars(rows, x="gain")["data"]["values"]
    assert (first["low"], first["high"], first["goes_on"]) == (-0.5, 0.25, [False, False])
    assert (second["low"], second["high"]) == (None, None)


def test_long_names_stand_above_their_rows_on_a_narrow_screen() -> None:
    label = "source=digits transfer=parameter target.fraction=0.05 over scratch"
    spec = chart_specs.draw_measured([MeasuredRow(label, 0.1), MeasuredRow("b", 0.2)], x="gain")
    assert spec["encoding"]["y"]["scale"]["domain"] == [label, "b"]
    narrow = spec["usermeta"]["narrow"]
    assert narrow["height"] > spec["height"]
    assert narrow["encoding"]["y"]["axis"] is None
    assert {"field": "row"} in [each["encoding"].get("text") for each in narrow["layer"]]
    assert "usermeta" not in chart_specs.draw_bars([MeasuredRow("b", 0.2)], x="gain")


def test_heat_is_the_part_of_the_strongest_cell() -> None:
    cells = [
        HeatCell("a", "x", 0.5, "+0.5"),
        HeatCell("a", "y", -0.25, "-0.2", "tells more"),
        HeatCell("b", "x", math.nan, "?"),
    ]
    spec = draw_heat_map(cells, rows=["a", "b"], columns=["x", "y"])
    facts = [(each["part"], each["sign"], each["about"]) for each in spec["data"]["values"]]
    assert facts == [(1.0, 1, "+0.5"), (0.5, -1, "tells more"), (0.0, 0, "?")]
    assert spec["encoding"]["x"]["scale"]["domain"] == ["x", "y"]


def test_series_keep_apart_where_colours_are_used_up() -> None:
    found: list[Any] = [chart_specs.pick_colour(place) for place in range(18)]
    assert len(set(found)) == 18
