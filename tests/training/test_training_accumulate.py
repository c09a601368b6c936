"""Steps accumulated over small batches are the steps of one large batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from refusals import check_notes
from torch import nn

from mmx.balance.mixup import Mixup
from mmx.balance.smote_features import SmoteFeatures
from mmx.modalities import StepRows
from mmx.objectives.base import ModelOutput
from mmx.objectives.binary_cross_entropy import BinaryCrossEntropy
from mmx.objectives.cca import Cca
from mmx.objectives.combined import Combined
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.objectives.focal import Focal
from mmx.objectives.gradient_blending import GradientBlending
from mmx.objectives.info_nce import InfoNce
from mmx.objectives.mean_squared_error import MeanSquaredError
from mmx.objectives.triplet import Triplet
from mmx.objectives.unimodal import Unimodal
from mmx.stages.core.accumulated_steps import explain_accumulation
from mmx.training.loss import JointLoss
from mmx.training.many_heads import HeadTraining, train_heads
from mmx.training.optimizer import Sgd
from mmx.training.trainer import Trainer
from mmx.transfer.base import start_fresh
from mmx.transfer.heads.linear import LinearHead
from mmx.transfer.regularizers.bss import Bss
from mmx.transfer.weighting.fixed import Fixed

WEIGHTS = [0.3, 1.0, 4.0]
OBJECTIVES = {
    "plain": CrossEntropy(),
    "balanced": CrossEntropy(class_weights="balanced"),
    "given": CrossEntropy(class_weights=WEIGHTS),
    "smoothed": CrossEntropy(class_weights=WEIGHTS, label_smoothing=0.2, temperature=2.0),
    "focal": Focal(gamma=2.0),
    "focal with weights": Focal(gamma=1.5, class_weights=WEIGHTS),
    "unimodal": Combined(terms={"cross_entropy": 1.0, "unimodal": 0.7}),
    "two weightings": Combined(
        terms={"cross_entropy": 1.0, "focal": 0.5, "unimodal": 0.3},
        options={
            "cross_entropy": {"class_weights": WEIGHTS},
            "focal": {"class_weights": WEIGHTS[::-1]},
        },
    ),
    "blending": GradientBlending(),
}


def without_batch_norm(model: nn.Module) -> None:
    """Take batch norms away: their statistics are of the batch that they see."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, nn.Identity())


def trained(bench: Any, objective: Any, size: int, accumulate: int, **more: Any) -> dict:
    """Return the weights after three epochs of plain descent, and the last epoch's metrics."""
    run = bench(
        rows=more.pop("rows", 37),
        dropout=0.0,
        augment=False,
        change=without_batch_norm,
        optimizer=Sgd(lr=0.1, momentum=0.0, weight_decay=0.0),
        trainer={"batch_size": size, "accumulate": accumulate, "clip": None, **more},
    )
    train = run.data.target[torch.from_numpy(run.data.rows("train"))]
    torch.manual_seed(0)
    run.criterion = objective.bind(train, 3, run.model.encoded_widths)
    if run.criterion.state_dict():
        run.model.criterion = run.criterion
    run.fit()
    weights = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    (*_, (_, _, last)) = run.epochs()
    return {**weights, "train.loss": torch.tensor(last["train.loss"])}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_accumulated_steps_are_those_of_the_larger_batch(bench, name: str) -> None:
    """Over rows that lack modalities, and a last step that is not full: 37 of 16 rows each."""
    large = trained(bench, OBJECTIVES[name], 16, 1)
    small = trained(bench, OBJECTIVES[name], 4, 4)
    assert large.keys() == small.keys()
    for key, tensor in large.items():
        torch.testing.assert_close(small[key], tensor, rtol=1e-6, atol=1e-6, msg=f"{name}: {key}")


@pytest.mark.parametrize("rows", [33, 34, 36, 41])
def test_whatever_is_left_for_the_last_step(bench, rows: int) -> None:
    large = trained(bench, OBJECTIVES["given"], 16, 1, rows=rows)
    small = trained(bench, OBJECTIVES["given"], 4, 4, rows=rows)
    for key, tensor in large.items():
        torch.testing.assert_close(small[key], tensor, rtol=1e-6, atol=1e-6, msg=key)


def sample(kind: str, rows: int = 24) -> tuple[ModelOutput, torch.Tensor]:
    draw = torch.Generator().manual_seed(4)
    target = {
        "classes": torch.randint(0, 3, (rows,), generator=draw),
        "multilabel": (torch.rand(rows, 3, generator=draw) > 0.7).float(),
        "regression": torch.randn(rows, generator=draw),
    }[kind]
    outputs = torch.randn(rows, 1 if kind == "regression" else 3, generator=draw)
    present = {"a": torch.rand(rows, generator=draw) > 0.4, "b": torch.ones(rows) > 0}
    pooled = {name: torch.randn(rows, 5, generator=draw) for name in present}
    present["a"][:7] = False  # a batch in which no row has it
    return ModelOutput(outputs, pooled, present), target


PARTS = {
    **{name: ("classes", each) for name, each in OBJECTIVES.items()},
    "unimodal alone": ("classes", Unimodal()),
    "labels": ("multilabel", BinaryCrossEntropy(positive_weight="balanced")),
    "numbers": ("regression", MeanSquaredError()),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("sizes", [[24], [7, 9, 8], [1] * 24])
def test_the_parts_of_a_step_sum_to_the_loss_of_its_rows(name: str, sizes: list[int]) -> None:
    kind, objective = PARTS[name]
    said, target = sample(kind)
    bound = objective.bind(target, said.outputs.shape[1], {"a": 5, "b": 5}).eval()
    parts, task, step = [], [], StepRows(target, said.present)
    for at in torch.arange(len(target)).split(sizes):
        batch = ModelOutput(
            said.outputs[at],
            {name: x[at] for name, x in said.pooled.items()},
            {name: here[at] for name, here in said.present.items()},
        )
        parts.append(bound.part(batch, target[at], step))
        if objective.reads_outputs:
            task.append(bound.task_part(batch.outputs, target[at], target))
    torch.testing.assert_close(sum(parts), bound(said, target))
    if task:
        torch.testing.assert_close(sum(task), bound.task_loss(said.outputs, target))


def test_heads_that_train_together_take_the_steps_of_the_larger_batch() -> None:
    x, val = torch.randn(37, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    y = torch.arange(37) % 5 % 3
    bound = CrossEntropy(class_weights=WEIGHTS).bind(y, 3, {})
    found = []
    for size, accumulate in ((16, 1), (4, 4)):
        plan = HeadTraining(
            [Sgd(lr=0.1, momentum=0.0, weight_decay=0.0)],
            Trainer(epochs=3, batch_size=size, accumulate=accumulate, clip=None),
            bound.task_part,
            lambda outputs: [{"loss": 1.0} for _ in outputs],
            iter_of_better(),
        )
        torch.manual_seed(1)
        heads = [LinearHead(4, 3, normalize=False).double() for _ in range(2)]
        trained_heads = train_heads(heads, [x, x], y, [val, val], [3, 5], plan)
        found.append([each.state for row in trained_heads for each in row])
    for one, other in zip(*found, strict=True):
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=1e-12)


def iter_of_better() -> Callable[[dict[str, float]], tuple[float, ...]]:
    """Return a score that finds each look better than all before: the last weights are kept."""
    count = iter(range(10**6))
    return lambda metrics: (float(next(count)),)


def test_the_source_of_joint_training_takes_as_many_rows_as_the_larger_batch(bench) -> None:
    run = bench(rows=41)
    large = JointLoss(run.loss_of, Fixed(), 1, 16)
    small = JointLoss(run.loss_of, Fixed(), 1, 4, accumulate=4)
    for one, other in zip(large.rows(1, 5), small.rows(1, 5), strict=True):
        assert np.array_equal(one, other)
    run = bench(rows=41, dropout=0.0, augment=False, change=without_batch_norm)
    large = JointLoss(run.loss_of, Fixed(), 1, 16)
    small = JointLoss(run.loss_of, Fixed(), 1, 4, accumulate=4)
    for one, other in zip(large.losses(0, 4), small.losses(0, 4), strict=True):
        ((whole, _),) = one
        parts = [loss for loss, _ in other]
        assert len(parts) == 4
        torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("kind", [InfoNce, Triplet, Cca])
def test_objectives_that_compare_rows_say_so(kind: type) -> None:
    assert kind().compares_rows
    name = {InfoNce: "info_nce", Triplet: "triplet", Cca: "cca"}[kind]
    assert Combined(terms={"cross_entropy": 1.0, name: 0.1}).compares_rows


def test_objectives_that_are_means_over_rows_do_not() -> None:
    assert not any(each.compares_rows for each in OBJECTIVES.values())
    assert Mixup.compares_rows
    assert SmoteFeatures.compares_rows


def experiment(accumulate: int, **more: Any) -> Any:
    """Return what of an experiment says how its steps are made."""
    plain = SimpleNamespace(objective=CrossEntropy())
    parts = {"roles": {"target": plain}, "regularizer": None, "balance": None, **more}
    return SimpleNamespace(trainer=Trainer(batch_size=16, accumulate=accumulate), **parts)


def test_what_cannot_be_the_larger_batch_is_said(bench) -> None:
    plain, usual = bench(change=without_batch_norm).model, bench().model
    assert explain_accumulation(experiment(4), plain, start_fresh(plain), 37) == ()
    start = start_fresh(usual)
    modes = [part.training for part in usual.modules()]
    check_notes(
        explain_accumulation(experiment(4), usual, start, 37),
        ("trainer.accumulate=4", "64 rows", "16 rows", "step", "rows"),
    )
    assert [part.training for part in usual.modules()] == modes
    assert explain_accumulation(experiment(1), usual, start, 37) == ()
    assert explain_accumulation(experiment(4), usual, start, 16) == ()  # a step is one batch
    norms = [name for name, part in usual.named_modules() if isinstance(part, nn.BatchNorm2d)]
    assert (
        explain_accumulation(
            experiment(4), usual, replace(start, frozen_statistics=frozenset(norms)), 37
        )
        == ()
    )
    compared = SimpleNamespace(objective=InfoNce())
    roles = {"source": compared, "target": SimpleNamespace(objective=CrossEntropy())}
    more = {"roles": roles, "regularizer": Bss(), "balance": Mixup()}
    check_notes(
        explain_accumulation(experiment(2, **more), plain, start_fresh(plain), 37),
        ("trainer.accumulate=2", "32 rows", "16 rows", "step", "rows"),
    )


def test_a_run_says_it_once(once, overrides, tables) -> None:
    more = ["trainer.accumulate=2", "control=scratch", "trainer.epochs=1"]
    run = once(overrides(tables["one"], tables["two"], ("image", "tabular"), *more))
    notes = [note for note in run.summary()["notes"] if note.startswith("trainer.accumulate")]
    check_notes(notes, ("trainer.accumulate=2", "24 rows", "12 rows", "step", "rows"))
