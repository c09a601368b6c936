"""How the budget of a search is divided over its rungs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmx.stages.selection.rungs import (
    Rung,
    compute_sizes,
    find_least_steps,
    fit_rung,
    plan_by_seconds,
    plan_by_steps,
)

COUNTS, ETAS = st.integers(1, 40), st.integers(2, 5)


def naive_sizes(count: int, eta: int) -> list[int]:
    found = []
    while count >= 2:
        found.append(count)
        whole, rest = divmod(count, eta)
        count = whole + (1 if rest else 0)
    return found


def naive_plan(count: int, eta: int, budget: int, steps: int, epochs: int) -> list[tuple[int, int]]:
    """Spend the budget epoch by epoch: of each rung's share as long as a whole round fits."""
    for entering in range(count, 1, -1):
        rungs = naive_sizes(entering, eta)
        plan = []
        for size in rungs:
            left, length = budget // len(rungs), 0
            while length < epochs and left >= size * steps:
                left -= size * steps
                length += 1
            plan.append((size, length))
        if plan[0][1] >= 1:
            return plan
    return []


@given(COUNTS, ETAS, st.integers(1, 3000), st.integers(1, 20), st.integers(1, 30))
def test_rungs_of_a_budget_of_steps(
    count: int, eta: int, budget: int, steps: int, epochs: int
) -> None:
    rungs = plan_by_steps(count, eta, budget, steps, epochs)
    assert [(rung.candidates, rung.epochs) for rung in rungs] == naive_plan(
        count, eta, budget, steps, epochs
    )
    assert sum(rung.candidates * rung.epochs * steps for rung in rungs) <= budget
    lengths = [rung.epochs for rung in rungs]
    assert lengths == sorted(lengths)
    if count > 1:
        assert bool(rungs) == (budget >= find_least_steps(steps))


@given(COUNTS, ETAS, st.integers(1, 60))
def test_rungs_of_a_budget_of_seconds(count: int, eta: int, epochs: int) -> None:
    rungs = plan_by_seconds(count, eta, epochs)
    assert [rung.candidates for rung in rungs] == naive_sizes(count, eta)
    expected: list[int] = []
    for place in range(len(rungs)):
        expected.insert(0, max(1, epochs // eta**place))
    assert [rung.epochs for rung in rungs] == expected
    assert not rungs or rungs[-1].epochs == epochs


def test_rungs_by_hand() -> None:
    assert compute_sizes(11, 3) == (11, 4, 2)
    assert compute_sizes(9, 3) == (9, 3)
    assert compute_sizes(1, 3) == ()
    plan = plan_by_steps(11, 3, 4 * 40 * 2, 2, 40)
    assert [(rung.candidates, rung.epochs) for rung in plan] == [(11, 4), (4, 13), (2, 26)]
    short = plan_by_steps(11, 3, 60, 5, 15)  # 60 // 2 allows 6 candidates an epoch of 5 steps each
    assert [(rung.candidates, rung.epochs) for rung in short] == [(6, 1), (2, 3)]


@pytest.mark.parametrize(
    ("epochs", "before", "seconds", "left", "expected"),
    [
        (4, 2, [1.0, 1.0], 8.0, Rung(2, 4)),  # just enough
        (4, 2, [1.0, 1.0], 7.9, Rung(2, 3)),  # shorter, still longer than before
        (4, 2, [1.0, 1.0, 1.0], 7.9, Rung(2, 3)),  # 3 of them would train for 2 epochs, as before
        (4, 2, [1.0, 1.0], 5.9, Rung(0, 4)),
        (4, 4, [1.0, 1.0], 8.0, Rung(2, 4)),  # no longer than planned is asked for
        (4, 2, [0.0, 0.0], -1.0, Rung(2, 4)),  # fitted heads cost nothing
        (4, 2, [0.0, 1.0], -1.0, Rung(0, 4)),
        (4, 2, [1.0], 100.0, Rung(0, 4)),
        (3, 1, [0.125, 0.125], 0.5, Rung(2, 2)),  # less than a second is left
        (3, 0, [0.125, 0.125], -1.0, Rung(0, 3)),  # none is: the time is up
    ],
)
def test_a_rung_fits_the_seconds(epochs, before, seconds, left, expected):
    assert fit_rung(epochs, before, seconds, left) == expected


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.lists(st.integers(1, 9), min_size=2, max_size=6),
    st.integers(0, 400),
)
def test_a_fitted_rung_takes_no_longer_than_there_is_time(epochs, before, seconds, left):
    found = fit_rung(epochs, before, [float(each) for each in seconds], float(left))
    cost = found.epochs * sum(seconds[: found.candidates])
    assert cost <= left
    assert found.epochs <= epochs
    if found.candidates:
        assert found.epochs > before or found.epochs == epochs
