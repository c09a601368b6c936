from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor

from mmx.evaluation import retrieval as module
from mmx.evaluation.retrieval import measure_retrieval


def ranks(a: Tensor, b: Tensor) -> list[int]:
    """Return each row's rank: others at least as similar as the partner come before it."""
    found = []
    for i in range(len(a)):
        similar = [
            sum(x * y for x, y in zip(a[i].tolist(), b[j].tolist(), strict=True))
            / (math.hypot(*a[i].tolist()) * math.hypot(*b[j].tolist()))
            for j in range(len(b))
        ]
        others = similar[:i] + similar[i + 1 :]
        found.append(1 + sum(other >= similar[i] - 1e-9 for other in others))
    return found


def expected(a: Tensor, b: Tensor) -> dict[str, float]:
    numbers = ranks(a, b)
    recalls = {f"recall@{k}": sum(r <= k for r in numbers) / len(numbers) for k in (1, 5, 10)}
    return {**recalls, "median_rank": statistics.median(numbers)}


@pytest.mark.parametrize("chunk", [512, 7])
@pytest.mark.parametrize("rows", [1, 2, 40, 41])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_a_naive_count(
    monkeypatch: pytest.MonkeyPatch, chunk: int, rows: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", chunk)
    torch.manual_seed(rows)
    a = torch.randn(rows, 6).to(dtype)
    b = (a + 1.2 * torch.randn(rows, 6) * torch.rand(rows, 1) * 3).to(dtype)
    b[rows // 2 :: 3] = b[rows // 2].clone()  # several partners are the same
    found = measure_retrieval(a, b)
    assert list(found) == ["a_to_b", "b_to_a", "mean"]
    assert found["a_to_b"] == pytest.approx(expected(a, b))
    assert found["b_to_a"] == pytest.approx(expected(b, a))
    for key, value in found["mean"].items():
        assert value == pytest.approx((found["a_to_b"][key] + found["b_to_a"][key]) / 2)


def test_directions_differ() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    b = torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, 1.1]])
    found = measure_retrieval(a, b)
    assert found["a_to_b"]["median_rank"] == 1  # ranks 1, 2, 1
    assert found["a_to_b"]["recall@1"] == pytest.approx(2 / 3)
    assert found["b_to_a"]["recall@1"] == pytest.approx(2 / 3)
    assert found["b_to_a"]["recall@5"] == 1


def test_perfect_pairs_whatever_their_length() -> None:
    a = torch.randn(30, 8)
    found = measure_retrieval(a, 5 * a)["mean"]
    assert found == {"recall@1": 1, "recall@5": 1, "recall@10": 1, "median_rank": 1}


@pytest.mark.parametrize("value", [1.0, 0.0, math.nan])
def test_collapsed_embeddings_find_nothing(value: float) -> None:
    same = torch.full((20, 4), value)
    found = measure_retrieval(same, torch.randn(20, 4) if math.isnan(value) else same)
    for direction in found.values():
        assert direction == {"recall@1": 0, "recall@5": 0, "recall@10": 0, "median_rank": 20}


def test_duplicates_share_the_worst_rank() -> None:
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = measure_retrieval(a, a)["a_to_b"]
    assert found["recall@1"] == pytest.approx(1 / 3)  # ranks 2, 2, 1
    assert found["median_rank"] == 2


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ((3, 2), (4, 2), "`a` (3, 2) and `b` (4, 2) must both be (N, D), N at least 1"),
        ((0, 2), (0, 2), "`a` (0, 2) and `b` (0, 2) must both be (N, D), N at least 1"),
        ((3,), (3,), "`a` (3,) and `b` (3,) must both be (N, D), N at least 1"),
    ],
)
def test_shapes(a: tuple[int, ...], b: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        measure_retrieval(torch.zeros(a), torch.zeros(b))
    assert str(error.value) == said
