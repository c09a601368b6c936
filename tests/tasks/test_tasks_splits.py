import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.splits import cut, divide_by_size, draw_per_class, draw_stratified

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(np.array)
SEEDS = st.integers(0, 5)
SHARES = st.floats(0.01, 0.99)


def counts(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=5)


@given(LABELS, SHARES, SEEDS)
def test_cut_divides_without_losing_a_class(labels, fraction, seed):
    rows = np.arange(len(labels)) * 3  # row numbers need not be consecutive
    rest, part = cut(rows, labels, fraction, seed=seed, purpose="val")
    assert sorted([*rest, *part]) == rows.tolist()
    assert (np.diff(rest) > 0).all()
    assert (np.diff(part) > 0).all()
    assert set(labels[rest // 3]) == set(labels)
    possible = (counts(labels) - 1).clip(0).sum()
    assert len(part) == min(max(1, round(fraction * len(labels))), possible)


@given(st.lists(st.integers(10, 30), min_size=2, max_size=5), st.floats(0.1, 0.8), SEEDS)
def test_cut_keeps_the_share_of_each_class(sizes, fraction, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    _, part = cut(np.arange(len(labels)), labels, fraction, seed=seed, purpose="val")
    for label, size in enumerate(sizes):
        assert abs((labels[part] == label).sum() - fraction * size) <= 1


@given(LABELS, SEEDS)
def test_same_seed_same_rows_and_purposes_differ(labels, seed):
    rows = np.arange(len(labels))
    again = [cut(rows, labels, 0.5, seed=seed, purpose="val")[1].tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_purposes_and_seeds_draw_differently():
    rows, labels = np.arange(200), np.zeros(200, dtype=np.int64)
    drawn = {
        tuple(cut(rows, labels, 0.5, seed=seed, purpose=purpose)[1])
        for seed in (0, 1)
        for purpose in ("val", "test")
    }
    assert len(drawn) == 4


@given(LABELS, st.integers(1, 100), SEEDS)
def test_few_of_all_keeps_every_class_and_the_total(labels, total, seed):
    rows = np.arange(len(labels))
    classes = len(set(labels))
    if total < min(classes, len(labels)):
        with pytest.raises(DataError) as error:
            draw_stratified(rows, labels, total, seed=seed)
        check_error(error.value, total, classes, types=["target.per_class=1"])
        return
    kept = draw_stratified(rows, labels, total, seed=seed)
    assert len(kept) == min(total, len(labels))
    assert set(labels[kept]) == set(labels)


@given(LABELS, st.integers(0, 100), SEEDS)
def test_few_of_all_may_lose_a_class_where_allowed(labels, total, seed):
    rows = np.arange(len(labels))
    kept = draw_stratified(rows, labels, total, seed=seed, purpose="cap", every_class=False)
    assert len(kept) == min(total, len(labels))


@given(st.integers(1, 9), SEEDS)
def test_few_of_each_is_nested(count, seed):
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    rows = np.random.default_rng(0).permutation(60)
    names = ["a", "b", "c"]
    few = draw_per_class(rows, labels, count, seed=seed, names=names)
    more = draw_per_class(rows, labels, count + 1, seed=seed, names=names)
    assert set(few) < set(more)
    chosen = labels[np.isin(rows, few)]
    assert counts(chosen)[:3].tolist() == [count] * 3


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=8), st.data()
)
def test_quotas_lie_within_their_bounds(pairs, data):
    sizes = np.array([size for size, _ in pairs])
    least = np.minimum(sizes, [low for _, low in pairs])
    total = data.draw(st.integers(int(least.sum()), int(sizes.sum())))
    found = divide_by_size(sizes, total, least=least)
    assert found.sum() == total
    assert (found >= least).all()
    assert (found <= sizes).all()


def test_quotas_by_hand():
    assert divide_by_size(np.array([6, 3, 1]), 5).tolist() == [3, 2, 0]
    assert divide_by_size(np.array([6, 3, 1]), 5, least=1).tolist() == [3, 1, 1]
    assert divide_by_size(np.array([6, 3, 1]), 9).tolist() == [5, 3, 1]


def test_a_class_too_small_is_named():
    with pytest.raises(DataError) as error:
        draw_per_class(np.arange(3), np.array([0, 0, 1]), 2, seed=0, names=["cat", "dog"])
    types = "target.per_class=1", "target.classes"
    check_error(error.value, "per_class=2", "'dog'", "1 training row", types=types)
    with pytest.raises(DataError) as error:
        draw_per_class(np.arange(2), np.array([0, 0]), 2, seed=0, names=["cat", "dog"])
    check_error(error.value, "per_class=2", "'dog'", "0 training rows", types=["target.classes"])
    assert "per_class" not in error.value.tip


def test_fewer_rows_than_classes():
    with pytest.raises(DataError) as error:
        draw_stratified(np.arange(3), np.array([0, 1, 2]), 2, seed=0)
    check_error(error.value, "2 training rows", "3 classes", types=["target.per_class=1"])
