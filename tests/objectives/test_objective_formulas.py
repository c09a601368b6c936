"""Every objective that looks at features or mines a batch, written again with loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from mmx.objectives.cca import Cca
from mmx.objectives.combined import Combined
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.objectives.focal import Focal
from mmx.objectives.gradient_blending import GradientBlending
from mmx.objectives.info_nce import InfoNce
from mmx.objectives.triplet import Triplet
from mmx.objectives.unimodal import Unimodal

ZERO = torch.tensor(0.0, dtype=torch.float64)
P = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def mean(losses: list[Tensor]) -> Tensor:
    return sum(losses, ZERO) / len(losses) if losses else ZERO


def surprise(logits: Tensor, label: Tensor) -> Tensor:
    """-ln of the softmax's entry."""
    return logits.exp().sum().log() - logits[label]


def embedding(p: P, batch: Any, name: str, i: int) -> Tensor:
    x = batch.said.pooled[name][i]
    e = p[f"projections.{name}.weight"] @ x + p[f"projections.{name}.bias"]
    return e / e.square().sum().sqrt()


def rows_with(batch: Any, *names: str) -> list[int]:
    present = batch.said.present
    return [i for i in range(len(batch.target)) if all(present[name][i] for name in names)]


def cross_entropy(p: P, batch: Any) -> Tensor:
    outputs, target = batch.said.outputs, batch.target
    n, c = outputs.shape
    losses, weights = ZERO, ZERO
    for i in range(n):
        weight = n / (c * (target == target[i]).sum())
        losses = losses + weight * surprise(outputs[i] / 2.5, target[i])
        weights = weights + weight
    return losses / weights


def focal(p: P, batch: Any) -> Tensor:
    outputs, target = batch.said.outputs, batch.target
    losses, weights = ZERO, ZERO
    for i in range(len(target)):
        weight = [1.0, 3.0, 0.5][target[i]]
        probability = outputs[i].exp()[target[i]] / outputs[i].exp().sum()
        losses = losses + weight * (1 - probability) ** 1.5 * -probability.log()
        weights = weights + weight
    return losses / weights


def info_nce(p: P, batch: Any) -> Tensor:
    losses = []
    for a, b in combinations(sorted(batch.widths), 2):
        rows = rows_with(batch, a, b)
        if len(rows) < 2:
            continue
        found = []
        for i in rows:
            for one, other in ((a, b), (b, a)):
                mine = embedding(p, batch, one, i)
                to = [p["log_scale"].exp() * mine @ embedding(p, batch, other, j) for j in rows]
                found.append(surprise(torch.stack(to), torch.tensor(rows.index(i))))
        losses.append(mean(found))
    return mean(losses)


def triplet(p: P, batch: Any) -> Tensor:
    losses = []
    for a, b in permutations(sorted(batch.widths), 2):
        found = []
        for i in rows_with(batch, a):
            anchor = embedding(p, batch, a, i)
            distance = {
                j: (anchor - embedding(p, batch, b, j)).square().sum() for j in rows_with(batch, b)
            }
            same = {j for j in distance if batch.target[j] == batch.target[i]}
            negatives = [distance[j] for j in distance if j not in same]
            for j in same if negatives else ():
                farther = [d for d in negatives if d > distance[j]]
                negative = min(farther) if farther else max(negatives)
                found.append((distance[j] - negative + 0.4).clamp(min=0))
        if found:
            losses.append(mean(found))
    return mean(losses)


def inverse_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values**-0.5) @ vectors.T


def cca(p: P, batch: Any) -> Tensor:
    losses = []
    for a, b in combinations(sorted(batch.widths), 2):
        rows = rows_with(batch, a, b)
        if len(rows) <= 2:
            continue
        h = {}
        for name in (a, b):
            x = torch.stack(
                [p[f"projections.{name}.weight"] @ batch.said.pooled[name][i] for i in rows]
            )
            h[name] = x - x.mean(0)
        auto = {name: x.T @ x / len(rows) + 1e-3 * torch.eye(2) for name, x in h.items()}
        cross = h[a].T @ h[b] / len(rows)
        t = inverse_root(auto[a]) @ cross @ inverse_root(auto[b])
        losses.append(-torch.linalg.eigvalsh(t.T @ t).sqrt().sum())
    return mean(losses)


def unimodal_terms(p: P, batch: Any) -> list[Tensor | None]:
    found: list[Tensor | None] = []
    for name in sorted(batch.widths):
        weight, bias = p[f"heads.{name}.weight"], p[f"heads.{name}.bias"]
        losses = [
            surprise(weight @ batch.said.pooled[name][i] + bias, batch.target[i])
            for i in rows_with(batch, name)
        ]
        found.append(mean(losses) if losses else None)
    return found


def unimodal(p: P, batch: Any) -> Tensor:
    return mean([loss for loss in unimodal_terms(p, batch) if loss is not None])


def plain(batch: Any) -> Tensor:
    return mean([surprise(z, y) for z, y in zip(batch.said.outputs, batch.target, strict=True)])


def gradient_blending(p: P, batch: Any) -> Tensor:
    terms = [ZERO if loss is None else loss for loss in unimodal_terms(p, batch)]
    return mean([*terms, plain(batch)])  # the weights before the first estimate


def combined(p: P, batch: Any) -> Tensor:
    def of(term: str) -> P:
        start = f"terms.{term}."
        return {k.removeprefix(start): v for k, v in p.items() if k.startswith(start)}

    aligned, alone = info_nce(of("info_nce"), batch), unimodal(of("unimodal"), batch)
    return plain(batch) + 0.1 * aligned + 0.5 * alone


CASES: dict[str, tuple[Any, Callable[[P, Any], Tensor]]] = {
    "cross_entropy": (CrossEntropy(temperature=2.5, class_weights="balanced"), cross_entropy),
    "focal": (Focal(gamma=1.5, class_weights=[1.0, 3.0, 0.5]), focal),
    "info_nce": (InfoNce(width=4), info_nce),
    "triplet": (Triplet(width=4, margin=0.4), triplet),
    "cca": (Cca(width=2), cca),
    "unimodal": (Unimodal(), unimodal),
    "gradient_blending": (GradientBlending(), gradient_blending),
    "combined": (
        Combined(
            terms={"cross_entropy": 1.0, "info_nce": 0.1, "unimodal": 0.5},
            options={"info_nce": {"width": 5}},
        ),
        combined,
    ),
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, seed: int, sample: Callable[..., Any]) -> None:
    """Values within 1e-10 and gradients within 1e-8, over modalities, rows and what is missing."""
    objective, naive = CASES[case]
    presence = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)[seed]
    batch = sample(seed, modalities=2 + seed % 3, rows=9 + seed, presence=presence)
    torch.manual_seed(seed)
    criterion = objective.bind(batch.target, 3, batch.widths)
    for name, parameter in criterion.named_parameters():
        if not name.endswith("log_scale"):
            parameter.data.normal_(0, 0.7)
    p = dict(criterion.named_parameters())
    loss, expected = criterion(batch.said, batch.target), naive(p, batch)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)

    leaves = [*p.values(), *batch.leaves]
    got = torch.autograd.grad(loss, leaves, allow_unused=True)
    if expected.requires_grad:
        want = torch.autograd.grad(expected, leaves, allow_unused=True)
    else:
        want = (None,) * len(leaves)
    for leaf, mine, theirs in zip(leaves, got, want, strict=True):
        mine = torch.zeros_like(leaf) if mine is None else mine
        theirs = torch.zeros_like(leaf) if theirs is None else theirs
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-8)


def test_the_samples_are_worth_their_while(sample: Callable[..., Any]) -> None:
    """Most losses above are neither zero nor alike."""
    for case, (objective, _) in CASES.items():
        losses = set()
        for seed, presence in enumerate((1.0, 0.8, 0.6)):
            batch = sample(seed, modalities=2 + seed % 3, rows=9 + seed, presence=presence)
            torch.manual_seed(seed)
            criterion = objective.bind(batch.target, 3, batch.widths)
            losses.add(criterion(batch.said, batch.target).item())
        assert len(losses - {0.0}) == 3, case
