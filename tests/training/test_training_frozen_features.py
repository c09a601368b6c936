"""Batches of like lengths, and features written in the order of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmx.modalities import Features
from mmx.training.frozen_features import (
    CPU_BYTES,
    FeatureTable,
    count_rows,
    is_pooled_token,
    measure_activations,
    plan_batches,
)

CPU = torch.device("cpu")


def test_rows_of_like_length_share_a_batch_and_no_batch_mixes_splits() -> None:
    lengths = np.array([3, 9, 1, 4, 9, 2, 7])
    groups = [np.array([6, 0, 1, 3]), np.array([5, 2, 4])]
    found = plan_batches(groups, lengths, 2)
    assert [part.tolist() for part in found] == [[1, 6], [3, 0], [4, 5], [2]]
    found = plan_batches(groups, lengths, 3, most_steps=14)
    # 14 steps hold one row of 9, two of 7, three of 4.
    assert [part.tolist() for part in found] == [[1], [6, 3], [0], [4], [5, 2]]
    assert [part.tolist() for part in plan_batches(groups, None, 3)] == [
        [0, 1, 3],
        [6],
        [2, 4, 5],
    ]
    assert [part.tolist() for part in plan_batches(groups[:1], lengths, 9, most_steps=1)] == [
        [1],
        [6],
        [3],
        [0],
    ]


@pytest.mark.parametrize(
    ("row_bytes", "rows"),
    [(0, 256), (CPU_BYTES / 100, 64), (CPU_BYTES / 64, 64), (CPU_BYTES, 1), (CPU_BYTES * 9, 1)],
)
def test_a_batch_has_a_power_of_two_of_rows(row_bytes: float, rows: int) -> None:
    assert count_rows(row_bytes, CPU, 256) == rows


def test_activations_are_those_of_the_widest_layer() -> None:
    net = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 3))
    x = torch.zeros(1, 2)
    assert measure_activations(net, lambda: net(x)) == 3 * 200 * 4
    assert not net[0]._forward_hooks


def test_features_come_in_the_order_of_the_table() -> None:
    torch.manual_seed(0)
    pooled, level = torch.randn(5, 3), torch.randn(5, 2)
    tokens = torch.randn(5, 4, 3)
    mask = torch.arange(4)[None] < torch.tensor([2, 4, 1, 2, 4])[:, None]
    tokens = tokens * mask[..., None]
    table = FeatureTable(5)
    for rows, steps in (([2, 0], 2), ([4, 1], 4), ([3], 2)):
        part = Features(tokens[rows, :steps], mask[rows, :steps], pooled[rows], (level[rows],))
        table.write(torch.tensor(rows), part)
    found = table.features()
    assert torch.equal(found.tokens, tokens)
    assert torch.equal(found.mask, mask)
    assert torch.equal(found.pooled, pooled)
    assert torch.equal(found.levels[0], level)
    assert not is_pooled_token(found)


def test_a_pooled_token_is_held_once() -> None:
    pooled = torch.randn(4, 3)
    table = FeatureTable(4)
    mask = torch.ones(4, 1, dtype=torch.bool)
    table.write(torch.arange(4), Features(pooled[:, None], mask, pooled))
    found = table.features()
    assert is_pooled_token(found)
    assert torch.equal(found.tokens[:, 0], pooled)
