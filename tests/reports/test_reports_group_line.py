"""Means of groups with their intervals, as charts draw them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmx.metrics import find_bounds
from mmx.reports.group_line import GroupMean, describe_cut

LONG = GroupMean(0.9, 0.25, np.array([0.8, 0.9, 1.0]))
TWO = GroupMean(0.5, 3.0, np.array([0.25, 0.75]))


def test_an_interval_is_drawn_of_three_values_or_more() -> None:
    assert LONG.interval == (pytest.approx(0.65), pytest.approx(1.15))
    assert TWO.interval is None
    assert GroupMean(0.5, None, np.array([0.5])).interval is None


def test_an_interval_ends_where_the_metric_does() -> None:
    assert LONG.clip((0.0, 1.0)) == (pytest.approx(0.65), 1.0)
    assert LONG.clip((0.7, math.inf)) == (0.7, pytest.approx(1.15))
    assert TWO.clip((0.0, 1.0)) is None
    assert describe_cut([TWO, LONG], "accuracy") == (
        " Intervals are cut at 0 and 1, where accuracy ends."
    )
    assert describe_cut([LONG], "r2") == " Intervals are cut at 1, where r2 ends."
    assert describe_cut([LONG], "mse") == describe_cut([TWO], "accuracy") == ""


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("accuracy", (0.0, 1.0)),
        ("f1_macro", (0.0, 1.0)),
        ("top_5", (0.0, 1.0)),
        ("ece_10", (0.0, 1.0)),
        ("recall@1", (0.0, 1.0)),
        ("cohen_kappa", (-1.0, 1.0)),
        ("spearman", (-1.0, 1.0)),
        ("brier", (0.0, 2.0)),
        ("log_loss", (0.0, math.inf)),
        ("loss", (0.0, math.inf)),
        ("rmse", (0.0, math.inf)),
        ("r2", (-math.inf, 1.0)),
        ("my_own", (-math.inf, math.inf)),
    ],
)
def test_a_metric_has_a_least_and_a_largest_value(name: str, bounds: tuple[float, float]) -> None:
    assert find_bounds(name) == bounds
