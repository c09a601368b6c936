from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from mmx.evaluation.importance import (
    compute_shapley_values,
    measure_class_importance,
    measure_importance,
)
from mmx.evaluation.subsets import ORDERS, Subset, SubsetAnswers, SubsetOutputs, list_subsets
from mmx.tasks import Target

TARGET = Target("classes", ("a", "b", "never"))


def naive(value: dict[Subset, float]) -> dict[str, float]:
    """Return the mean, over all orders, of what each modality adds when its turn comes."""
    names = max(value, key=len)
    found = dict.fromkeys(names, 0.0)
    orders = list(permutations(names))
    for order in orders:
        for place, name in enumerate(order):
            before = tuple(sorted(order[:place]))
            after = tuple(sorted(order[: place + 1]))
            found[name] += (value[after] - value[before]) / len(orders)
    return found


def test_by_hand() -> None:
    assert compute_shapley_values({(): 0.25, ("a",): 0.75}) == {"a": 0.5}
    value = {(): 0.1, ("a",): 0.5, ("b",): 0.3, ("a", "b"): 0.9}
    found = compute_shapley_values(value)
    assert found["a"] == pytest.approx((0.4 + 0.6) / 2)
    assert found["b"] == pytest.approx((0.2 + 0.4) / 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_equals_the_mean_over_orders_and_is_efficient(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    every = list_subsets("abcde"[:count])
    numbers = torch.rand(len(every), generator=generator, dtype=torch.float64) * 2 - 1
    value = dict(zip(every, numbers.tolist(), strict=True))
    found = compute_shapley_values(value)
    assert found == pytest.approx(naive(value), abs=1e-12)
    assert abs(math.fsum(found.values()) - (value[every[-1]] - value[()])) < 1e-12


def test_a_modality_without_effect_has_none_and_equals_share_equally() -> None:
    value = {s: float(len(set(s) & {"a", "b"}) == 2) for s in list_subsets("abc")}
    assert compute_shapley_values(value) == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})


def answered() -> SubsetAnswers:
    torch.manual_seed(1)
    values = torch.tensor([0, 1, 1, 0, 0, 1, 0])
    outputs = {s: torch.randn(7, 3) for s in list_subsets(["x", "y", "z"])}
    return SubsetAnswers({s: SubsetOutputs(each, 0) for s, each in outputs.items()}, values)


def test_overall_importance_is_of_the_primary_metric() -> None:
    said = answered()
    found = measure_importance(
        said,
        lambda o, v: {"loss": 9.0, "r2": float(o.sum()), "accuracy": 1.0},
        "r2",
    )
    value = {s: float(each.outputs.sum()) for s, each in said.answers.items()}
    assert found.score == "r2"
    assert found.values == pytest.approx(naive(value))
    assert (found.empty, found.full) == (value[()], value["x", "y", "z"])
    assert abs(sum(found.values.values()) - (found.full - found.empty)) < 1e-12


def test_importance_of_a_class_is_of_its_recall() -> None:
    said = answered()
    found = measure_class_importance(said, TARGET)
    assert list(found) == ["a", "b"]  # a class that no row has has no recall
    for label, name in enumerate(found):
        value = {
            s: recall_score(said.values, each.outputs.argmax(1), labels=[label], average=None)[0]
            for s, each in said.answers.items()
        }
        assert found[name].score == "recall"
        assert found[name].values == pytest.approx(naive(value))
        assert (found[name].empty, found[name].full) == (value[()], value["x", "y", "z"])
        total = math.fsum(found[name].values.values())
        assert abs(total - (found[name].full - found[name].empty)) < 1e-12


@pytest.mark.parametrize("target", [Target("multilabel", ("a", "b")), Target("regression")])
def test_only_classes_have_importance_by_class(target: Target) -> None:
    assert measure_class_importance(answered(), target) == {}


def test_of_many_modalities_some_subsets_are_tried_and_pairs_count_exactly() -> None:
    names = [f"m{place:02}" for place in range(16)]
    tried = list_subsets(names)
    assert tried[0] == ()
    assert tried[-1] == tuple(names)
    assert len(tried) == len(set(tried)) <= 2 + 16 * ORDERS
    assert all(tuple(name for name in names if name != each) in set(tried) for each in names)

    def score(subset: tuple[str, ...]) -> float:
        own = sum(1.0 + names.index(name) for name in subset)
        return own + 10.0 * ({"m03", "m11"} <= set(subset)) + 0.5

    found = compute_shapley_values({subset: score(subset) for subset in tried})
    # An order and its reverse share what two modalities add together equally.
    wanted = {
        name: 1.0 + place + 5.0 * (name in ("m03", "m11")) for place, name in enumerate(names)
    }
    assert found == pytest.approx(wanted, rel=1e-12)
