"""Gradient blending on numbers worked out by hand, and what a resumed run needs."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from mmx.modalities import Encoded, Features
from mmx.objectives import ModelOutput
from mmx.objectives.gradient_blending import BlendedLoss, GradientBlending, blend_weights

WIDTHS = {"image": 1, "audio": 1}


def odds_to_logit(p: float) -> float:
    """Return the logit of class 0 against a zero for class 1."""
    return log(p / (1 - p))


def criterion_of(**options: Any) -> BlendedLoss:
    criterion = GradientBlending(**options).bind(torch.zeros(4), 2, WIDTHS)
    assert isinstance(criterion, BlendedLoss)
    for head in criterion.heads.values():  # logits (x, 0): the feature decides the loss
        head.weight.data = torch.tensor([[1.0], [0.0]])
        head.bias.data.zero_()
    return criterion


def batch_of(audio: float, image: float, fused: float, rows: int = 4) -> ModelOutput:
    """Return rows of class 0 whose probabilities are as given, hence losses of -ln p."""
    pooled = {
        "image": torch.full((rows, 1), odds_to_logit(image)),
        "audio": torch.full((rows, 1), odds_to_logit(audio)),
    }
    outputs = torch.tensor([[odds_to_logit(fused), 0.0]]).expand(rows, 2)
    return ModelOutput(outputs, pooled, dict.fromkeys(pooled, torch.ones(rows) > 0))


def zeros(rows: int = 4) -> Tensor:
    return torch.zeros(rows, dtype=torch.int64)


def epoch(criterion: BlendedLoss, train: tuple[float, ...], val: tuple[float, ...]) -> None:
    criterion.train()
    criterion(batch_of(*train), zeros())
    criterion.eval()
    said = batch_of(*val, rows=3)
    features = {n: Features(x[:, None], torch.ones(3, 1) > 0, x) for n, x in said.pooled.items()}
    criterion.after_epoch(Encoded(features, said.present, zeros(3)), said.outputs)


def test_a_worked_example() -> None:
    criterion = criterion_of(floor=0.2)
    assert criterion.weights.tolist() == [1 / 3] * 3
    epoch(criterion, train=(0.4, 0.4, 0.4), val=(0.3, 0.3, 0.3))
    assert criterion.weights.tolist() == [1 / 3] * 3  # nothing to compare with
    epoch(criterion, train=(0.8, 0.6, 0.8), val=(0.6, 0.45, 0.2))
    # audio: G = ln 2, O = ln(0.8/0.6) - ln(0.4/0.3) = 0, taken for 0.01
    # image: G = ln 1.5, O = the same difference: 0 again; fused got worse
    worth = [log(2) / 0.01**2, log(1.5) / 0.01**2, 0.0]
    expected = [0.8 * q / sum(worth) + 0.2 / 3 for q in worth]
    assert criterion.weights.tolist() == pytest.approx(expected, rel=1e-4)
    epoch(criterion, train=(0.9, 0.9, 0.9), val=(0.7, 0.5, 0.4))
    generalised = [log(0.7 / 0.6), log(0.5 / 0.45), log(0.4 / 0.2)]
    gaps = [log(0.8 / 0.6), log(0.6 / 0.45), log(0.8 / 0.2)]
    now = [log(0.9 / 0.7), log(0.9 / 0.5), log(0.9 / 0.4)]
    worth = [
        g / max(abs(after - before), 0.01) ** 2
        for g, before, after in zip(generalised, gaps, now, strict=True)
    ]
    expected = [0.8 * q / sum(worth) + 0.2 / 3 for q in worth]
    assert criterion.weights.tolist() == pytest.approx(expected, rel=1e-4)
    assert criterion.weights.sum().item() == pytest.approx(1.0)
    loss = criterion(batch_of(0.5, 0.25, 0.1), zeros())
    losses = [log(2), log(4), log(10)]
    blended = sum(w * each for w, each in zip(expected, losses, strict=True))
    assert loss.item() == pytest.approx(blended, rel=1e-4)


def test_blend_by_hand() -> None:
    before = torch.tensor([0.25, 0.25, 0.5])
    generalised = torch.tensor([0.4, 0.1, -0.3])
    overfitted = torch.tensor([0.2, -0.1, 0.05])  # 0.4 / 0.04 = 10, 0.1 / 0.01 = 10
    found = blend_weights(generalised, overfitted, before, floor=0.1)
    torch.testing.assert_close(found, torch.tensor([0.45, 0.45, 0.0]) + 0.1 / 3)
    nothing = torch.tensor([0.0, -0.1, -torch.inf])
    assert torch.equal(blend_weights(nothing, overfitted, before, floor=0.1), before)


def test_training_losses_are_means_over_rows_and_only_of_training() -> None:
    criterion = criterion_of()
    criterion.train()
    criterion(batch_of(0.5, 0.5, 0.5, rows=6), zeros(6))
    one = batch_of(0.25, 0.25, 0.25, rows=2)
    one.present["image"] = torch.tensor([True, False])
    one.pooled["image"][1] = torch.nan
    criterion(one, zeros(2))
    criterion.eval()
    criterion(batch_of(0.9, 0.9, 0.9), zeros())
    assert criterion.train_rows.tolist() == [8, 7, 8]  # audio, image, outputs
    found = criterion.train_sum / criterion.train_rows
    image, others = (6 * log(2) + log(4)) / 7, (6 * log(2) + 2 * log(4)) / 8
    assert found.tolist() == pytest.approx([others, image, others])


def test_a_super_epoch_takes_all_of_its_epochs() -> None:
    criterion = criterion_of(every=2)
    epoch(criterion, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert criterion.val_before.tolist() == [-torch.inf] * 3
    assert criterion.train_rows.tolist() == [4, 4, 4]
    epoch(criterion, (0.25, 0.5, 0.5), (0.5, 0.25, 0.5))
    assert criterion.val_before.tolist() == pytest.approx([log(2), log(4), log(2)])
    gap = [log(2) - (log(2) + log(4)) / 2, log(4) - log(2), 0.0]
    assert criterion.gap_before.tolist() == pytest.approx(gap, abs=1e-6)
    assert criterion.train_rows.tolist() == [0, 0, 0]
    assert criterion.epochs.item() == 0


def test_a_resumed_run_continues_exactly() -> None:
    """From the middle of a super-epoch, from what a state_dict holds and no more."""
    days = [((0.4, 0.3, 0.5), (0.4, 0.4, 0.3)), ((0.6, 0.7, 0.6), (0.5, 0.6, 0.5))] * 2
    days += [((0.8, 0.9, 0.7), (0.6, 0.7, 0.8)), ((0.9, 0.9, 0.8), (0.7, 0.7, 0.9))]
    whole = criterion_of(every=2)
    for train, val in days:
        epoch(whole, train, val)
    assert len(set(whole.weights.tolist())) == 3
    for stop in range(len(days)):
        first, second = criterion_of(every=2), criterion_of(every=2)
        for train, val in days[:stop]:
            epoch(first, train, val)
        second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
        for train, val in days[stop:]:
            epoch(second, train, val)
        for name, tensor in whole.state_dict().items():
            assert torch.equal(second.state_dict()[name], tensor), name


def test_the_loss_among_the_metrics_is_that_of_the_outputs() -> None:
    criterion = criterion_of()
    said = batch_of(0.9, 0.9, 0.25)
    assert criterion.task_loss(said.outputs, zeros()).item() == pytest.approx(log(4))
    assert criterion.observes


def test_a_modality_that_nobody_has_is_no_term() -> None:
    criterion = criterion_of()
    said = batch_of(0.5, 0.5, 0.5)
    said.present["audio"] = torch.zeros(4) > 0
    assert criterion(said, zeros()).item() == pytest.approx(2 / 3 * log(2))
