"""Heads trained together against one head at a time, in a loop of torch's own parts."""

from __future__ import annotations

import copy
import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import check_error
from torch import Tensor, nn

from mmx.errors import Interrupted, TransferError
from mmx.training.events import StopRequest
from mmx.training.many_heads import HeadTraining, TrainableHead, TrainedHead, train_heads
from mmx.training.optimizer import AdamW, Optimizer, Sgd
from mmx.training.randomness import permute, seed_torch
from mmx.training.trainer import Trainer
from mmx.transfer.heads.linear import LinearHead
from mmx.transfer.heads.mlp import MlpHead

ROWS, VAL, CLASSES = 21, 9, 3
SEEDS = (3, 8)
OPTIMIZERS = [AdamW(lr=0.02, weight_decay=0.0), AdamW(lr=0.02, weight_decay=0.3), AdamW(lr=0.1)]
TRAINER = Trainer(epochs=4, batch_size=6, clip=0.5, warmup=0.2)
Metrics = dict[str, float]


def linear(width: int, normalize: bool = False) -> LinearHead:
    return LinearHead(width, CLASSES, normalize=normalize)


def mlp(width: int, normalize: bool = False) -> MlpHead:
    return MlpHead(width, CLASSES, hidden=7, dropout=0.4, normalize=normalize)


def drawn(make: Callable[..., TrainableHead], widths: Sequence[int], **options: bool) -> list:
    heads = []
    for seed, width in zip(SEEDS, widths, strict=True):
        seed_torch(seed, "target", "weights")
        heads.append(make(width, **options).double())
    return heads


def rows(widths: Sequence[int], count: int, seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(count, w, dtype=torch.float64, generator=random) for w in widths]


def labels(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


def look(outputs: Tensor) -> Metrics:
    y = labels(len(outputs))
    return {
        "accuracy": (outputs.argmax(1) == y).double().mean().item(),
        "loss": F.cross_entropy(outputs, y).item(),
    }


def part_of(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return a batch's part of a mean over the rows of a step."""
    return lambda outputs, target, step: loss(outputs, target) * (len(target) / len(step))


def plan(optimizers: Sequence[Optimizer] = OPTIMIZERS, trainer: Trainer = TRAINER) -> HeadTraining:
    return HeadTraining(
        optimizers,
        trainer,
        part_of(F.cross_entropy),
        lambda outputs: [look(each) for each in outputs],
        lambda metrics: (metrics["accuracy"], -metrics["loss"]),
    )


def torchs_own(head: nn.Module, recipe: Optimizer) -> torch.optim.Optimizer:
    """Return torch's optimiser, biases without decay."""
    groups = [
        {"params": [p for p in head.parameters() if p.ndim > 1]},
        {"params": [p for p in head.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    if isinstance(recipe, AdamW):
        return torch.optim.AdamW(
            groups, lr=recipe.lr, weight_decay=recipe.weight_decay, betas=recipe.betas
        )
    assert isinstance(recipe, Sgd)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )


def alone(
    head: nn.Module, x: Tensor, val: Tensor, seed: int, recipe: Optimizer, trainer: Trainer
) -> TrainedHead:
    """Train one head as the run's loop does, said again in plain words."""
    head, found, step = copy.deepcopy(head), TrainedHead(), 0
    optimizer, y = torchs_own(head, recipe), labels(len(x))
    per_epoch = math.ceil(len(x) / trainer.batch_size)
    left = len(x) % trainer.batch_size == 1
    per_epoch -= left
    joins = left and per_epoch % trainer.accumulate > 0  # the last batch of its own step
    total = trainer.epochs * math.ceil(per_epoch / trainer.accumulate)
    rising = max(1, round(total * trainer.warmup)) if trainer.warmup else 0
    for epoch in range(trainer.epochs):
        order = permute(np.arange(len(x)), seed, "target", "order", epoch)
        batches = [order[i * trainer.batch_size :][: trainer.batch_size] for i in range(per_epoch)]
        batches[-1] = np.append(batches[-1], order[-1:]) if joins else batches[-1]
        head.train()
        losses = []
        for first in range(0, per_epoch, trainer.accumulate):
            group = batches[first : first + trainer.accumulate]
            seed_torch(seed, "target", "step", step)
            part = (
                (step + 1) / rising
                if step < rising
                else 0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising)))
            )
            for settings in optimizer.param_groups:
                settings["lr"] = recipe.lr * part
            optimizer.zero_grad()
            count = sum(map(len, group))
            loss = sum(
                F.cross_entropy(head(x[batch]), y[batch]) * len(batch) / count for batch in group
            )
            loss.backward()
            if trainer.clip is not None:
                nn.utils.clip_grad_norm_(head.parameters(), trainer.clip)
            optimizer.step()
            losses.append(loss.item())
            step += 1
        head.eval()
        with torch.no_grad():
            said = look(head(val))
        found.curve.append(
            {"train.loss": np.mean(losses), **{f"val.{k}": v for k, v in said.items()}}
        )
        better = (said["accuracy"], -said["loss"])
        if not found.val or better > (found.val["accuracy"], -found.val["loss"]):
            found.val, found.best_epoch = said, epoch + 1
            found.state = {k: v.clone() for k, v in head.state_dict().items()}
        if trainer.patience is not None and epoch + 1 - found.best_epoch >= trainer.patience:
            break
    return found


def compare(
    heads: list,
    widths: Sequence[int],
    chosen: HeadTraining,
    tolerance: float = 1e-12,
    **dtype: torch.dtype,
) -> list[list[TrainedHead]]:
    kept = [copy.deepcopy(head.state_dict()) for head in heads]
    x, val = rows(widths, ROWS, 1), rows(widths, VAL, 2)
    if dtype:
        x, val = [each.to(**dtype) for each in x], [each.to(**dtype) for each in val]
    found = train_heads(heads, x, labels(ROWS), val, SEEDS, chosen)
    for s, head in enumerate(heads):
        assert all(torch.equal(kept[s][k], v) for k, v in head.state_dict().items())
        for i, recipe in enumerate(chosen.optimizers):
            one = alone(head, x[s], val[s], SEEDS[s], recipe, chosen.trainer)
            mine = found[s][i]
            assert mine.best_epoch == one.best_epoch
            assert mine.state.keys() == one.state.keys() == head.state_dict().keys()
            for name, tensor in one.state.items():
                scale = tensor.abs().max().clamp(min=1e-30)
                assert ((mine.state[name] - tensor).abs().max() / scale) <= tolerance, name
                assert mine.state[name].dtype == tensor.dtype
            assert len(mine.curve) == len(one.curve)
            for ours, theirs in zip(mine.curve, one.curve, strict=True):
                assert ours == pytest.approx(theirs, rel=100 * tolerance)
            assert mine.val == pytest.approx(one.val, rel=100 * tolerance)
            fresh = copy.deepcopy(head)
            fresh.load_state_dict(mine.state)
    return found


@pytest.mark.parametrize("make", [linear, mlp])
@pytest.mark.parametrize("normalize", [False, True])
def test_the_numbers_of_one_by_one(make: Callable[..., TrainableHead], normalize: bool) -> None:
    widths = (5, 5)
    found = compare(drawn(make, widths, normalize=normalize), widths, plan())
    weights = [one.state[next(iter(one.state))] for row in found for one in row]
    assert all(not torch.allclose(weights[a], weights[b]) for a in range(6) for b in range(a)), (
        "each of them is a head of its own"
    )


@pytest.mark.parametrize("make", [linear, mlp])
def test_in_single_precision(make: Callable[..., TrainableHead]) -> None:
    widths = (5, 5)
    heads = [head.float() for head in drawn(make, widths)]
    compare(heads, widths, plan(), 1e-6, dtype=torch.float32)


@pytest.mark.parametrize("make", [linear, mlp])
def test_sources_of_different_width(make: Callable[..., TrainableHead]) -> None:
    widths = (5, 2)
    compare(drawn(make, widths, normalize=True), widths, plan())


@pytest.mark.parametrize(
    "trainer",
    [
        replace(TRAINER, clip=None, warmup=0.0),
        replace(TRAINER, warmup=0.01),
        replace(TRAINER, batch_size=5),  # 21 rows: the last batch would have one row
        replace(TRAINER, batch_size=4, accumulate=2),
        replace(TRAINER, epochs=12, patience=2),
    ],
)
def test_whatever_the_trainer(trainer: Trainer) -> None:
    widths = (5, 5)
    found = compare(drawn(mlp, widths), widths, plan(trainer=trainer))
    lengths = {len(one.curve) for row in found for one in row}
    assert lengths == {trainer.epochs} if trainer.patience is None else len(lengths) > 1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum: float) -> None:
    widths = (5, 5)
    recipes = [Sgd(lr=lr, weight_decay=d, momentum=momentum) for lr, d in ((0.1, 0.0), (0.3, 0.1))]
    compare(drawn(mlp, widths), widths, plan(recipes), 1e-11)


def test_one_table_of_features_is_held_once() -> None:
    heads = drawn(linear, (5, 5))
    (x, _), (val, _) = rows((5, 5), ROWS, 1), rows((5, 5), VAL, 2)
    once = train_heads(heads, [x, x], labels(ROWS), [val, val], SEEDS, plan())
    twice = train_heads(heads, [x, x.clone()], labels(ROWS), [val, val.clone()], SEEDS, plan())
    for one, other in zip(once, twice, strict=True):
        for a, b in zip(one, other, strict=True):
            assert all(torch.equal(a.state[name], b.state[name]) for name in a.state)


def test_numbers_and_several_labels() -> None:
    head = LinearHead(4, 2, normalize=False).double()
    x, val = rows((4,), 12, 1), rows((4,), 6, 2)
    y = (x[0][:, :2] > 0).double()
    chosen = replace(
        plan(OPTIMIZERS[:1], replace(TRAINER, epochs=30)),
        loss=part_of(F.binary_cross_entropy_with_logits),
        validate=lambda outputs: [
            {"loss": F.binary_cross_entropy_with_logits(each, (val[0][:, :2] > 0).double()).item()}
            for each in outputs
        ],
        score=lambda metrics: (-metrics["loss"],),
    )
    ((found,),) = train_heads([head], x, y, val, [0], chosen)
    assert found.curve[-1]["train.loss"] < 0.8 * found.curve[0]["train.loss"]
    assert found.val["loss"] == min(each["val.loss"] for each in found.curve)


def test_a_head_that_diverges_harms_no_other() -> None:
    heads = drawn(linear, (5, 5))
    wild = [Sgd(lr=1e200), Sgd(lr=0.1)]
    trainer = replace(TRAINER, clip=None)
    x, val = rows((5, 5), ROWS, 1), rows((5, 5), VAL, 2)
    found = train_heads(heads, x, labels(ROWS), val, SEEDS, plan(wild, trainer))
    calm = train_heads(heads, x, labels(ROWS), val, SEEDS, plan(wild[1:], trainer))
    for both, (one,) in zip(found, calm, strict=True):
        assert (both[0].diverged, both[1].diverged) == (True, False)
        assert both[1].curve == one.curve
        assert both[0].best_epoch == len(both[0].curve) == 0


class Stop(StopRequest):
    @property
    def signal_number(self) -> int | None:  # type: ignore[override]
        self.asked = getattr(self, "asked", 0) + 1
        return signal.SIGTERM if self.asked > 6 else None

    @signal_number.setter
    def signal_number(self, value: int | None) -> None:
        pass


def test_a_signal_stops_between_two_steps() -> None:
    heads = drawn(linear, (5, 5))
    x, val = rows((5, 5), ROWS, 1), rows((5, 5), VAL, 2)
    with pytest.raises(Interrupted) as caught:
        train_heads(heads, x, labels(ROWS), val, SEEDS, plan(), Stop())
    check_error(caught.value, "2", "of 4", "epoch")
    assert caught.value.signal_number == signal.SIGTERM


class Own(Optimizer):
    lr, weight_decay = 0.1, 0.0

    def make(self, groups: list, device: torch.device) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(groups, lr=self.lr)


@pytest.mark.parametrize(
    ("optimizers", "message"),
    [
        (
            [AdamW(), Sgd()],
            "heads trained together differ in lr and weight_decay alone",
        ),
        (
            [AdamW(), AdamW(betas=(0.8, 0.999))],
            "heads trained together differ in lr and weight_decay alone",
        ),
        (
            [Own()],
            "Own cannot train many heads at once: it is not elementwise\n"
            "  tip: optimizer=adamw or optimizer=sgd, or leave out transfer.decays and "
            "transfer.head_seeds",
        ),
    ],
)
def test_refuses_optimizers_that_cannot_train_many_heads(
    optimizers: list[Optimizer], message: str
) -> None:
    heads = drawn(linear, (5, 5))
    x, val = rows((5, 5), ROWS, 1), rows((5, 5), VAL, 2)
    with pytest.raises(TransferError) as caught:
        train_heads(heads, x, labels(ROWS), val, SEEDS, plan(optimizers))
    assert str(caught.value) == message
