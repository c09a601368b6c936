"""Triplets, InfoNCE and canonical correlations: by hand, by brute force, at their edges."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, log, sin, sqrt
from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor, nn

from mmx.objectives import Criterion, ModelOutput
from mmx.objectives.cca import Cca, sum_correlations
from mmx.objectives.info_nce import InfoNce
from mmx.objectives.triplet import Triplet, find_semi_hard

TWO = {"audio": 2, "image": 2}


def as_they_are(criterion: Criterion) -> Criterion:
    """Let the embeddings be the features."""
    assert isinstance(criterion.projections, nn.ModuleDict)
    for projection in criterion.projections.values():
        nn.init.eye_(projection.weight)
        nn.init.zeros_(projection.bias)
    return criterion


def said(
    present: dict[str, Tensor] | None = None, **pooled: list[list[float]] | Tensor
) -> ModelOutput:
    features = {name: torch.as_tensor(x, dtype=torch.float32) for name, x in pooled.items()}
    rows = len(next(iter(features.values())))
    everyone = dict.fromkeys(features, torch.ones(rows, dtype=torch.bool))
    return ModelOutput(torch.zeros(rows, 3), features, present or everyone)


def at(*angles: float) -> Tensor:
    """Return unit vectors: their squared distance is 2 - 2 cos of the angle between them."""
    return torch.tensor([[cos(a), sin(a)] for a in angles])


def test_triplet_by_hand() -> None:
    criterion = as_they_are(Triplet(width=2, margin=0.2).bind(torch.tensor([0, 1]), 2, TWO))
    batch = said(audio=at(0.0, 2.0), image=at(0.3, 0.5))
    loss = criterion(batch, torch.tensor([0, 1]))

    def d(angle: float) -> float:
        return 2 - 2 * cos(angle)

    audio = [max(d(0.3) - d(0.5) + 0.2, 0), max(d(1.5) - d(1.7) + 0.2, 0)]
    image = [max(d(0.3) - d(1.7) + 0.2, 0), max(d(1.5) - d(0.5) + 0.2, 0)]
    assert image[0] == 0  # the negative is far enough
    assert audio[0] > 0 < image[1]
    assert loss.item() == pytest.approx(sum(audio + image) / 4)


def test_the_other_rows_of_a_class_are_positives() -> None:
    target = torch.tensor([0, 0, 1])
    criterion = as_they_are(Triplet(width=2, margin=0.5).bind(target, 2, TWO))
    alone = {
        "audio": torch.tensor([True, False, False]),
        "image": torch.tensor([False, True, True]),
    }
    loss = criterion(said(alone, audio=at(0.0, 9.0, 9.0), image=at(9.0, 1.0, 1.2)), target)
    # one anchor in audio with one positive and one negative; images find no negative in audio
    assert loss.item() == pytest.approx((2 - 2 * cos(1.0)) - (2 - 2 * cos(1.2)) + 0.5)


@pytest.mark.parametrize(
    ("positive", "chosen"),
    [(0.05, 3), (0.35, 2), (0.4, 1), (0.5, 1), (0.6, 1), (0.9, 1)],
)
def test_semi_hard_by_hand(positive: float, chosen: int) -> None:
    """Negatives at 0.1, 0.4 and 0.6; at 0.2 is a row of the class; 0.4 is not beyond 0.4."""
    distances = torch.tensor([[positive, 0.6, 0.4, 0.1, 0.2]]).expand(5, 5)
    negatives = torch.tensor([[False, True, True, True, False]]).expand(5, 5)
    assert find_semi_hard(distances, negatives)[0, 0] == chosen


@pytest.mark.parametrize("seed", range(20))
def test_semi_hard_by_brute_force(seed: int) -> None:
    torch.manual_seed(seed)
    rows = int(torch.randint(1, 9, ()))
    distances = torch.rand(rows, rows)
    if seed % 2:
        distances = (distances * 4).round()  # ties
    negatives = torch.rand(rows, rows) < 0.5
    found = find_semi_hard(distances.T.contiguous().T, negatives)
    for i in range(rows):
        of_i = [n for n in range(rows) if negatives[i, n]]
        for j in range(rows) if of_i else ():
            farther = [n for n in of_i if distances[i, n] > distances[i, j]]
            best = (
                min(distances[i, n] for n in farther)
                if farther
                else max(distances[i, n] for n in of_i)
            )
            assert negatives[i, found[i, j]]
            assert distances[i, found[i, j]] == best


@pytest.mark.parametrize("target", [[0, 0, 0], [1, 2, 1]])
def test_no_triplet_no_loss(target: list[int]) -> None:
    """All of one class; or nobody has both a partner in the other modality and a stranger."""
    labels = torch.tensor(target)
    criterion = Triplet(width=4).bind(labels, 3, {"audio": 2, "image": 2})
    present = None
    if target[1] == 2:
        present = {"audio": labels == 1, "image": labels == 2}
    loss = criterion(said(present, audio=at(0, 1, 2), image=at(3, 4, 5)), labels)
    assert loss.item() == 0.0
    loss.backward()
    for parameter in criterion.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_info_nce_by_hand() -> None:
    criterion = as_they_are(InfoNce(width=2).bind(torch.zeros(2), 2, TWO))
    assert criterion.log_scale.item() == pytest.approx(log(1 / 0.07))
    criterion.log_scale.data.fill_(log(3))
    loss = criterion(said(audio=at(0.0, 2.0), image=at(0.4, 1.0)), torch.zeros(2))
    right, wrong = [3 * cos(0.4), 3 * cos(1.0)], {(0, 1): 3 * cos(1.0), (1, 0): 3 * cos(1.6)}
    parts = [
        log(1 + exp(wrong[0, 1] - right[0])),  # audio 0 looks for its image
        log(1 + exp(wrong[1, 0] - right[1])),
        log(1 + exp(wrong[1, 0] - right[0])),  # image 0 looks for its audio
        log(1 + exp(wrong[0, 1] - right[1])),
    ]
    assert loss.item() == pytest.approx(sum(parts) / 4)


def test_info_nce_that_has_learned_nothing_is_ln_n() -> None:
    criterion = as_they_are(InfoNce(width=2).bind(torch.zeros(5), 2, TWO))
    same = at(1.0, 1.0, 1.0, 1.0, 1.0)
    assert criterion(said(audio=same, image=same), torch.zeros(5)).item() == pytest.approx(log(5))


@pytest.mark.parametrize(("given", "kept"), [(9.0, log(100)), (-3.0, 0.0), (1.0, 1.0)])
def test_the_log_scale_stays_in_its_range_and_can_come_back(given: float, kept: float) -> None:
    torch.manual_seed(0)
    criterion = InfoNce(width=2).bind(torch.zeros(4), 2, TWO)
    criterion.log_scale.data.fill_(given)
    criterion(said(audio=at(0, 1, 2, 3), image=at(5, 2, 4, 1)), torch.zeros(4)).backward()
    assert criterion.log_scale.item() == pytest.approx(kept)
    assert criterion.log_scale.grad != 0


def test_pairs_without_two_rows_take_no_part() -> None:
    widths = {"audio": 2, "image": 2, "text": 2}
    criterion = as_they_are(InfoNce(width=2).bind(torch.zeros(3), 2, widths))
    angles = {"audio": at(0, 1, 2), "image": at(2, 0, 1), "text": at(1, 5, 0)}
    everyone, first = torch.ones(3) > 0, torch.tensor([True, False, False])
    two = {name: angles[name] for name in ("audio", "image")}
    alone = as_they_are(InfoNce(width=2).bind(torch.zeros(3), 2, TWO))
    expected = alone(said(**two), torch.zeros(3))
    present = {"audio": everyone, "image": everyone, "text": first}
    assert criterion(said(present, **angles), torch.zeros(3)).item() == pytest.approx(
        expected.item()
    )


def test_info_nce_reads_neither_labels_nor_outputs() -> None:
    assert InfoNce.label_free
    batch, found = said(audio=at(0, 1, 2), image=at(2, 0, 1)), []
    for outputs in (batch.outputs, torch.zeros(3, 0)):
        torch.manual_seed(0)
        criterion = InfoNce(width=4).bind(torch.zeros(3), outputs.shape[1], TWO)
        each = ModelOutput(outputs, batch.pooled, batch.present)
        found.append(criterion(each, torch.full((3,), torch.nan)))
    assert torch.equal(*found)
    with pytest.raises(NotImplementedError) as error:
        criterion.task_loss(torch.zeros(3, 0), torch.zeros(3))
    check_error(error.value, "InfoNceLoss", "outputs")


@pytest.mark.parametrize("objective", [InfoNce(width=4), Triplet(width=4)])
def test_features_of_zero_have_a_direction(objective: Any) -> None:
    """As after a ReLU that is off everywhere: the gradient stays of the usual size."""
    torch.manual_seed(0)
    target = torch.tensor([0, 1, 0])
    criterion = objective.bind(target, 2, TWO)
    x = torch.zeros(3, 2, requires_grad=True)
    loss = criterion(said(audio=at(0, 1, 2), image=x), target)
    loss.backward()
    assert x.grad is not None
    assert 0 < x.grad.abs().max() < 100


def test_correlation_by_hand() -> None:
    """Orthogonal columns of variance 1: ρ = r_k / (1 + ridge)."""
    one = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)
    two = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)
    three = torch.tensor([1.0, -1, -1, 1], dtype=torch.float64)
    x = torch.stack([one, two], 1)
    y = torch.stack([0.6 * two + 0.8 * three, -one], 1) + 7  # the mean does not count
    found = sum_correlations(x, y, torch.ones(4) > 0)
    assert found.item() == pytest.approx((0.6 + 1.0) / 1.001, abs=1e-12)
    found = sum_correlations(x, torch.stack([three, three], 1), torch.ones(4) > 0)
    assert found.item() == pytest.approx(0.0, abs=1e-12)


def test_correlation_does_not_depend_on_scale_or_basis() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 3, dtype=torch.float64)
    y = x + torch.randn(40, 3, dtype=torch.float64)
    everyone = torch.ones(40) > 0
    mixing = torch.randn(3, 3, dtype=torch.float64)
    one = sum_correlations(x * 100, y * 100, everyone)
    two = sum_correlations(x @ mixing * 1e4, y * 1e3 + 5, everyone)
    assert 1 < one < 3
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def cca_of(rows: int, width: int = 3, scale: float = 1.0) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(rows)
    widths = {"audio": 4, "image": 5}
    criterion = Cca(width=width).bind(torch.zeros(100), 2, widths)
    x, y = torch.randn(rows, 4) * scale, torch.randn(rows, 5) * scale
    loss = criterion(said(audio=x, image=y), torch.zeros(rows))
    loss.backward()
    gradients = [parameter.grad for parameter in criterion.parameters()]
    assert all(gradient is not None for gradient in gradients)
    return loss, [gradient for gradient in gradients if gradient is not None]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_cca_needs_more_rows_than_width(rows: int) -> None:
    loss, gradients = cca_of(rows)
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("rows", [4, 5, 50])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
def test_cca_is_finite(rows: int, scale: float) -> None:
    loss, gradients = cca_of(rows, scale=scale)
    assert -3.0 - 1e-5 <= loss.item() <= 0.0
    assert all(gradient.isfinite().all() for gradient in gradients)
    if scale == 1.0:
        assert loss < -0.1
        assert all(gradient.any() for gradient in gradients)


def test_cca_of_features_that_are_not_finite() -> None:
    """The loss says so, for the training loop to stop; it does not fail inside."""
    loss, _ = cca_of(8, scale=float("inf"))
    assert not loss.isfinite()


def test_cca_learns_what_two_modalities_share(sample: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    shared = torch.randn(200, 1)
    x = torch.cat([torch.randn(200, 3), shared], 1)
    y = torch.cat([shared, torch.randn(200, 3)], 1)
    criterion = Cca(width=1).bind(torch.zeros(200), 2, {"audio": 4, "image": 4})
    optimizer = torch.optim.Adam(criterion.parameters(), lr=0.05)
    for _ in range(60):
        loss = criterion(said(audio=x, image=y), torch.zeros(200))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < -0.98
    weight = criterion.projections["audio"].weight.detach()[0]
    assert weight[3].abs() / weight.norm() > sqrt(0.95)


def test_cca_refuses() -> None:
    with pytest.raises(ValueError, match="training rows") as error:
        Cca(width=4).bind(torch.zeros(4), 2, {"audio": 4, "image": 4})
    check_error(error.value, "width", "4", "training", "rows")
    with pytest.raises(ValueError, match="at most") as error:
        Cca(width=4).bind(torch.zeros(9), 2, {"audio": 4, "image": 3})
    check_error(error.value, "width", "4", "3", "image")


@pytest.mark.parametrize("kind", [Triplet, InfoNce, Cca])
def test_one_modality(kind: Any) -> None:
    with pytest.raises(ValueError, match="compares modalities") as error:
        kind().bind(torch.zeros(99), 2, {"image": 64})
    check_error(error.value, kind.__module__.rpartition(".")[2], "two", "only image")


@pytest.mark.parametrize("kind", [Triplet, InfoNce])
def test_embeddings_are_float32_whatever_the_model_runs_in(kind: Any) -> None:
    criterion = kind(width=4).bind(torch.tensor([0, 1]), 2, TWO)
    pooled = {name: x.bfloat16() for name, x in said(audio=at(0, 1), image=at(2, 3)).pooled.items()}
    expected = criterion.embed({name: x.float() for name, x in pooled.items()})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = criterion.embed(pooled)
    for name, x in found.items():
        assert torch.equal(x, expected[name])
