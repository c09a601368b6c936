"""How well modalities find each other's rows, without labels."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from refusals import check_error
from torch import Tensor

from mmx.errors import DataError
from mmx.evaluation.alignment import measure_alignment
from mmx.evaluation.retrieval import measure_retrieval
from mmx.modalities import Encoded, Features
from mmx.objectives.base import FeatureLoss
from mmx.objectives.info_nce import InfoNce

METRICS = ["recall@1", "recall@5", "recall@10", "median_rank"]


class AsGiven(FeatureLoss):
    """Features are their own embeddings; the loss counts the rows that have each modality."""

    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        assert torch.is_grad_enabled() is False
        assert len(target) == len(next(iter(present.values())))
        return sum(here.sum() for here in present.values()).float()

    def embed(self, pooled: dict[str, Tensor]) -> dict[str, Tensor]:
        return pooled


def encoded(x: dict[str, Tensor], present: dict[str, Tensor] | None = None) -> Encoded:
    here = present or {name: torch.ones(len(each)) > 0 for name, each in x.items()}
    rows = len(next(iter(x.values())))
    return Encoded(
        {name: Features(each[:, None], here[name][:, None], each) for name, each in x.items()},
        here,
        torch.full((rows,), -1),  # labels that nothing may read
    )


def as_given(*names: str) -> AsGiven:
    return AsGiven(dict.fromkeys(names, 8))


def test_perfectly_aligned() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 8)
    found = measure_alignment(as_given("a", "b"), encoded({"b": 3 * x, "a": x}))
    assert list(found) == ["loss", *METRICS]
    assert found == {
        "loss": 100.0,
        "recall@1": 1,
        "recall@5": 1,
        "recall@10": 1,
        "median_rank": 1,
    }


def test_random_embeddings_find_what_chance_finds() -> None:
    torch.manual_seed(0)
    found = measure_alignment(
        as_given("a", "b", "c"), encoded({name: torch.randn(600, 8) for name in "abc"})
    )
    for cutoff in (1, 5, 10):
        assert found[f"recall@{cutoff}"] == pytest.approx(cutoff / 600, abs=0.006)
    assert found["median_rank"] == pytest.approx(300, abs=25)


def test_rows_that_lack_a_modality_take_no_part() -> None:
    torch.manual_seed(1)
    x = {name: torch.randn(60, 8) for name in ("text", "image")}
    x["image"] += x["text"]
    present = {name: torch.rand(60) < 0.7 for name in x}
    both = present["text"] & present["image"]
    dirty = {name: torch.where(present[name][:, None], each, math.nan) for name, each in x.items()}
    found = measure_alignment(as_given(*x), encoded(dirty, present))
    expected = measure_retrieval(x["image"][both], x["text"][both])["mean"]
    assert {name: found[name] for name in METRICS} == expected
    everywhere = measure_alignment(as_given(*x), encoded(x))
    assert found != everywhere
    assert found["loss"] == float(present["text"].sum() + present["image"].sum())


def test_metrics_are_a_mean_over_the_pairs_that_occur() -> None:
    torch.manual_seed(2)
    x = {name: torch.randn(40, 8) for name in "dacb"}
    x["b"] = x["a"] + 0.3 * x["b"]
    first = torch.arange(40) < 20
    # d is never where a or b is: two pairs have no rows, and are left out
    present = {"a": first, "b": first, "c": torch.ones(40) > 0, "d": ~first}
    pairs = []
    for one, other in combinations("abcd", 2):
        both = present[one] & present[other]
        if both.any():
            pairs.append(measure_retrieval(x[one][both], x[other][both])["mean"])
    assert len(pairs) == 4
    for given in (encoded(x, present), encoded(dict(sorted(x.items())), present)):
        found = measure_alignment(as_given(*"abcd"), given)
        for name in METRICS:
            assert found[name] == pytest.approx(sum(each[name] for each in pairs) / 4)


def test_no_row_with_two_modalities() -> None:
    present = {"a": torch.tensor([True, False]), "b": torch.tensor([False, True])}
    x = {name: torch.randn(2, 8) for name in "ab"}
    with pytest.raises(DataError) as error:
        measure_alignment(as_given("a", "b"), encoded(x, present))
    check_error(error.value, "no row", "two modalities")


def test_embeddings_and_loss_are_the_objectives() -> None:
    torch.manual_seed(3)
    criterion = InfoNce(width=8).bind(torch.zeros(4), 2, {"text": 5, "image": 3})
    x = {"text": torch.randn(30, 5), "image": torch.randn(30, 3)}
    present = {"text": torch.rand(30) < 0.8, "image": torch.rand(30) < 0.8}
    both = present["text"] & present["image"]
    dirty = {name: torch.where(present[name][:, None], each, math.nan) for name, each in x.items()}
    found = measure_alignment(criterion, encoded(dirty, present))
    e = {
        name: torch.nn.functional.normalize(criterion.projections[name](each[both]), dim=1)
        for name, each in x.items()
    }
    logits = e["image"] @ e["text"].T / 0.07
    own = torch.arange(int(both.sum()))
    cross = torch.nn.functional.cross_entropy
    expected = (cross(logits, own) + cross(logits.T, own)) / 2
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-5)
    ranks = measure_retrieval(e["image"].detach(), e["text"].detach())["mean"]
    assert {name: found[name] for name in METRICS} == ranks
    assert all(each.grad is None for each in criterion.parameters())


def test_learning_to_align_shows() -> None:
    torch.manual_seed(4)
    criterion = InfoNce(width=8).bind(torch.zeros(4), 2, {"text": 6, "image": 6})
    z = torch.randn(40, 6)
    x = {"text": z @ torch.randn(6, 6), "image": z @ torch.randn(6, 6)}
    rows = encoded(x)
    before = measure_alignment(criterion, rows)
    optimizer = torch.optim.Adam(criterion.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        e = criterion.embed(x)
        logits = e["image"] @ e["text"].T * criterion.log_scale.exp()
        torch.nn.functional.cross_entropy(logits, torch.arange(40)).backward()
        optimizer.step()
    after = measure_alignment(criterion, rows)
    assert after["recall@1"] > before["recall@1"] + 0.4
    assert after["loss"] < before["loss"]
