from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mmx.evaluation.friedman import rank_methods


def values(targets: int, methods: int, *, ties: bool = False) -> np.ndarray:
    found = np.random.default_rng(targets * 10 + methods).normal(size=(targets, methods))
    return np.round(found, 0) if ties else found


def find_least_p(ranks: np.ndarray) -> float:
    """Return the share of cases that are those of all methods in one order, by counting them."""
    orders = [len(set(itertools.permutations(row))) for row in ranks.tolist()]
    return max(orders) / math.prod(orders)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("targets", "methods"), [(3, 3), (14, 4), (8, 5)])
def test_the_statistic_is_scipys_in_the_form_of_iman_and_davenport(targets, methods, ties):
    given = values(targets, methods, ties=ties)
    chi2 = stats.friedmanchisquare(*given.T).statistic
    expected = (targets - 1) * chi2 / (targets * (methods - 1) - chi2)
    p = stats.f.sf(expected, methods - 1, (methods - 1) * (targets - 1))
    p = max(p, find_least_p(stats.rankdata(-given, axis=1)))
    found = rank_methods(given)
    assert found.p == pytest.approx(p, rel=1e-9)
    assert found.means == pytest.approx(stats.rankdata(-given, axis=1).mean(0))


def test_the_critical_difference_is_that_of_the_papers_example():
    # Demšar 2006, section 3.2.2: four classifiers on 14 data sets, q = 2.569 at 95 %.
    assert rank_methods(values(14, 4)).critical_difference == pytest.approx(1.25, abs=0.005)
    assert rank_methods(values(14, 4), level=0.9).critical_difference == pytest.approx(
        2.291 * np.sqrt(4 * 5 / (6 * 14)), abs=0.005
    )


def test_one_order_on_all_targets_and_equal_values():
    same = rank_methods(np.array([[3.0, 2.0, 1.0]] * 4))
    assert same.means == (1.0, 2.0, 3.0)
    assert same.p == pytest.approx(1 / 6**3)  # of 6⁴ orders, 6 are the same on all targets
    equal = rank_methods(np.ones((4, 3)))
    assert (equal.means, equal.p) == ((2.0, 2.0, 2.0), 1.0)


def test_two_methods_on_three_targets_cannot_differ_clearly():
    # As a sign test: all three signs are the same in 2 of 8 cases.
    assert rank_methods(np.array([[2.0, 1.0]] * 3)).p == pytest.approx(0.25)
