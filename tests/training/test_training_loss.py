"""A batch's way to its loss: modality dropout, balance, and a task that trains along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mmx.balance.mixup import Mixup
from mmx.balance.resample import Resample
from mmx.modalities import Batch
from mmx.training.loss import BatchLoss, JointLoss, drop_modalities
from mmx.transfer.weighting.fixed import Fixed


def batch(rows: int, **present: list[bool] | None) -> Batch:
    here = {
        name: torch.ones(rows, dtype=torch.bool) if given is None else torch.tensor(given)
        for name, given in present.items()
    }
    return Batch({}, {}, here, torch.zeros(rows, dtype=torch.int64))


def hidden(before: Batch, chance: float, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    after = drop_modalities(before.present, chance)
    return torch.stack([after[name] for name in sorted(after)], dim=1)


def test_modalities_are_dropped_sample_by_sample_with_the_given_chance() -> None:
    kept = hidden(batch(20_000, a=None, b=None), 0.3)
    assert kept.any(1).all()
    patterns = {tuple(row) for row in kept.tolist()}
    assert patterns == {(True, True), (True, False), (False, True)}  # not once a batch
    # a survives by its own draw (0.7), or as the one kept where both were drawn (0.09 / 2)
    assert kept.float().mean(0).tolist() == pytest.approx([0.745, 0.745], abs=0.01)


def test_a_sample_keeps_one_of_the_modalities_it_had() -> None:
    only = hidden(batch(4, a=[True, False, True, False], b=[False, True, True, True]), 0.999)
    assert only[0].tolist() == [True, False]
    assert only[1].tolist() == [False, True]
    assert only.sum(1).tolist() == [1, 1, 1, 1]


def test_no_chance_drops_nothing() -> None:
    assert hidden(batch(50, a=None, b=None), 0.0).all()


def test_dropped_modalities_are_hidden_from_the_fusion_in_training_alone(bench) -> None:
    run = bench(missing=False, trainer={"modality_dropout": 0.9}, dropout=0.0, augment=False)
    seen = []
    fused = run.model.fuse

    def spy(features, present):
        seen.append(torch.stack(list(present.values()), dim=1))
        return fused(features, present)

    run.model.fuse = spy
    run.fit()
    training = [each for each in seen if len(each) <= 8]
    validation = [each for each in seen if len(each) == run.validation]
    assert any(not each.all() for each in training)
    assert validation
    assert all(each.all() for each in validation)


def test_a_dropped_modality_is_still_encoded_so_that_statistics_do_not_depend_on_it(bench) -> None:
    found = []
    for chance in (0.0, 0.9):
        run = bench(missing=False, dropout=0.0, augment=False)
        rows = run.data.rows("train")[:8]
        ((_, stored),) = run.data.batches([rows])
        loss = replace(run.loss_of, modality_dropout=chance)
        run.model.train()
        loss(rows, stored)
        buffers = dict(run.model.encoders.named_buffers())
        found.append({name: buffer.clone() for name, buffer in buffers.items()})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_streaming_draws_nothing_from_the_generator_of_a_step(bench) -> None:
    run = bench()
    data = run.data
    streamed = type(data)(
        data.views, data.target, data.splits, device=data.device, resident=False, workers=0
    )
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    next(streamed.batches([data.rows("train")[:4]]))
    assert torch.equal(torch.rand(3), expected)


def test_an_epoch_is_drawn_by_the_balance_and_then_permuted(bench) -> None:
    run = bench()
    rows = run.data.rows("train")
    loss = BatchLoss(run.model, run.data, run.criterion, run.format, Resample())
    order = loss.order_rows(rows, 3, "target", 0)
    assert len(order) == len(rows)
    labels = run.data.target.numpy()[order]
    assert np.ptp(np.bincount(labels)) <= 1
    assert not np.array_equal(order, loss.order_rows(rows, 3, "target", 1))
    assert np.array_equal(order, loss.order_rows(rows, 3, "target", 0))


def test_mixup_weighs_both_labels(bench) -> None:
    run = bench(missing=False, dropout=0.0, augment=False)
    run.model.eval()
    rows = run.data.rows("train")[:6]
    ((_, stored),) = run.data.batches([rows])
    torch.manual_seed(5)
    loss = BatchLoss(run.model, run.data, run.criterion, run.format, Mixup(alpha=1.0))
    value, _ = loss(rows, stored)

    torch.manual_seed(5)
    mixed = BatchLoss(run.model, run.data, run.criterion, run.format, None, augment=False)
    run.data.assemble(rows, stored, augment=True)  # draws what the first call drew
    one = torch.tensor(1.0)
    share = float(torch.distributions.Beta(one, one).sample())
    partner = torch.randperm(len(rows))
    torch.manual_seed(5)
    batch = run.data.assemble(rows, stored, augment=True)
    features = run.model.encode(batch)
    blend = {
        name: share * each.pooled + (1 - share) * each.pooled[partner]
        for name, each in features.items()
    }
    outputs = run.model.head(torch.cat([blend[name] for name in sorted(blend)], dim=1))
    target = batch.target
    expected = share * run.criterion.task_loss(outputs, target)
    expected = expected + (1 - share) * run.criterion.task_loss(outputs, target[partner])
    assert mixed.balance is None
    torch.testing.assert_close(value, expected)


def test_the_source_of_joint_training_goes_through_all_its_rows_pass_after_pass(bench) -> None:
    run = bench()
    joint = JointLoss(run.loss_of, Fixed(), 1, 8)
    rows = run.data.rows("train")
    passes = len(rows) // 8
    first = np.concatenate(joint.rows(0, passes))
    again = np.concatenate(joint.rows(passes, passes))
    assert len(set(first.tolist())) == passes * 8
    assert not np.array_equal(first, again)
    late = joint.rows(2, 2 * passes)  # as after a resume in the middle of a pass
    assert np.array_equal(np.concatenate(late[: passes - 2]), first[2 * 8 :])
    assert np.array_equal(np.concatenate(late[passes - 2 : 2 * passes - 2]), again)


def test_the_source_of_joint_training_yields_the_loss_of_its_rows(bench) -> None:
    run = bench(dropout=0.0, augment=False)
    run.model.eval()
    joint = JointLoss(replace(run.loss_of, augment=False), Fixed(source_weight=0.25), 1, 8)
    for rows, losses in zip(joint.rows(3, 4), joint.losses(3, 4), strict=True):
        ((loss, batch),) = losses
        assert batch.target.equal(run.data.target[torch.from_numpy(rows)])
        expected = run.criterion.task_loss(run.model(batch), batch.target)
        torch.testing.assert_close(loss, expected)
