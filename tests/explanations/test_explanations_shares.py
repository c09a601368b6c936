"""Shares equal a brute-force second implementation, sum to what they must, and have intervals."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats

from mmx.errors import DataError
from mmx.evaluation.subsets import Subset, SubsetAnswers, SubsetOutputs, list_subsets
from mmx.explanations.shares import (
    find_percentiles,
    find_probability,
    make_weights,
    measure_row_shares,
    measure_shares,
    pool_shares,
)
from mmx.metrics.mse import Mse
from mmx.metrics.pearson import Pearson
from mmx.tasks import Target

CLASSES = Target("classes", ("a", "b", "c"))
ROWS = np.arange(40)


def answers(names: str, seed: int = 0, rows: int = 40) -> SubsetAnswers:
    """Return answers that get better with each input that is shown, ``a`` most of all."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 3, (rows,), generator=generator)
    truth = torch.nn.functional.one_hot(values, 3).double()
    found = {}
    for subset in list_subsets(names):
        noise = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
        strength = sum(2.0 if name == "a" else 0.4 for name in subset)
        found[subset] = SubsetOutputs((strength * truth + noise).float(), 0)
    return SubsetAnswers(found, values)


def brute_force(value: dict[Subset, float]) -> dict[str, float]:
    """Return the mean over all orders of what an input adds when its turn comes."""
    names = max(value, key=len)
    orders = list(permutations(names))
    found = dict.fromkeys(names, 0.0)
    for order in orders:
        for place, name in enumerate(order):
            with_it, without = (tuple(sorted(order[:end])) for end in (place + 1, place))
            found[name] += (value[with_it] - value[without]) / len(orders)
    return found


def accuracy(given: SubsetAnswers, rows: np.ndarray) -> dict[Subset, float]:
    return {
        subset: float((each.outputs.argmax(1) == given.values)[rows].double().mean())
        for subset, each in given.answers.items()
    }


@pytest.mark.parametrize("names", ["a", "ab", "abcd", "abcdef"])
def test_they_equal_brute_force_and_sum_to_the_whole(names):
    given = answers(names)
    found = measure_shares(given, ROWS, CLASSES)
    value = accuracy(given, ROWS)
    assert {name: each.value for name, each in found.values.items()} == pytest.approx(
        brute_force(value), abs=1e-9
    )
    assert found.full == pytest.approx(value[tuple(names)])
    assert found.empty == pytest.approx(value[()])
    total = math.fsum(each.value for each in found.values.values())
    assert abs(total - (found.full - found.empty)) < 1e-6
    assert found.exact
    values = [each.value for each in found.values.values()]
    assert values == sorted(values, reverse=True)


def test_intervals_are_those_of_resampled_rows():
    given = answers("ab", rows=60)
    found = measure_shares(given, np.arange(60), CLASSES)
    random = np.random.default_rng(5)
    draws = [brute_force(accuracy(given, random.integers(0, 60, 60)))["a"] for _ in range(600)]
    low, high = np.quantile(draws, [0.025, 0.975])
    share = found.values["a"]
    assert share.low < share.value < share.high
    assert share.low == pytest.approx(low, abs=0.03)
    assert share.high == pytest.approx(high, abs=0.03)
    # Each resample sums to the whole of that resample.
    assert found.resampled.shape == (2, 4000)


def test_many_inputs_are_estimated_and_still_sum_to_the_whole():
    given = answers("abcdefghij")
    found = measure_shares(given, ROWS, CLASSES)
    assert not found.exact
    total = math.fsum(each.value for each in found.values.values())
    assert abs(total - (found.full - found.empty)) < 1e-6
    assert next(iter(found.values)) == "a"


def test_weights_are_those_of_the_formula():
    names, weights = make_weights(list_subsets("xyz"))
    assert names == ("x", "y", "z")
    at = list_subsets("xyz").index(("x",))
    assert weights[:, at] == pytest.approx([1 / 3, -1 / 6, -1 / 6])


def test_of_an_error_the_input_that_lowers_it_most_is_first():
    number = Target("regression", mean=0.0, std=1.0)
    values = torch.linspace(-2, 2, 30).double()
    outputs = {
        (): torch.zeros(30, 1),
        ("a",): 0.9 * values[:, None].float(),
        ("b",): 0.1 * values[:, None].float(),
        ("a", "b"): values[:, None].float(),
    }
    given = SubsetAnswers({s: SubsetOutputs(each, 0) for s, each in outputs.items()}, values)
    found = measure_shares(given, np.arange(30), number, Mse())
    assert found.lower_is_better
    assert list(found.values) == ["a", "b"]
    assert all(each.value < 0 for each in found.values.values())
    with pytest.raises(DataError, match="pearson has no value"):
        measure_shares(given, np.arange(30), number, Pearson())


def test_over_seeds_the_interval_has_both_errors():
    runs = [measure_shares(answers("ab", seed), ROWS, CLASSES) for seed in range(4)]
    found = pool_shares(runs)
    values = np.array([each.values["a"].value for each in runs])
    assert found.values["a"].value == pytest.approx(values.mean())
    of_seeds = values.std(ddof=1) / 2 * stats.t.ppf(0.975, 3)
    rows = np.mean([each.resampled[list(each.values).index("a")] for each in runs], axis=0)
    reach = math.hypot(of_seeds, 1.959964 * rows.std())
    assert found.values["a"].high == pytest.approx(values.mean() + reach, rel=1e-6)
    assert found.values["a"].low == pytest.approx(values.mean() - reach, rel=1e-6)
    # Measured on different rows, only the spread over runs counts.
    other = [replace(each, rows=ROWS + at) for at, each in enumerate(runs)]
    assert pool_shares(other).values["a"].high == pytest.approx(values.mean() + of_seeds)
    assert pool_shares(runs[:1]) is runs[0]


def test_of_one_answer_they_sum_to_its_probability_less_the_priors():
    given = answers("abc")
    found, empty, full = measure_row_shares(given, 7, 2, CLASSES)
    value = {s: float(each.outputs[7].double().softmax(0)[2]) for s, each in given.answers.items()}
    assert found == pytest.approx(brute_force(value), abs=1e-12)
    assert (empty, full) == (value[()], value["a", "b", "c"])
    assert abs(math.fsum(found.values()) - (full - empty)) < 1e-6


def test_what_an_answer_is():
    outputs = torch.tensor([0.0, math.log(3)])
    assert find_probability(outputs, 1, Target("classes", ("a", "b"))) == pytest.approx(0.75)
    assert find_probability(outputs, 1, Target("multilabel", ("a", "b"))) == pytest.approx(0.75)
    number = Target("regression", mean=10.0, std=2.0)
    assert find_probability(torch.tensor([1.5]), 0, number) == pytest.approx(13.0)


def test_an_interval_of_mostly_undefined_values_is_none():
    values = np.array([0.0, 1.0, math.nan, math.nan, math.nan])
    assert np.isnan(find_percentiles(values)).all()
    assert find_percentiles(np.arange(101.0)) == pytest.approx((2.5, 97.5))
