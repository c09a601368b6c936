"""Batches of like lengths, and features written in the order of the rows."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmx.fusion.concat import Concat
from mmx.modalities import Features
from mmx.modalities.text import TextColumn, Tokens
from mmx.model import MultimodalModel
from mmx.stages import extract_features
from mmx.training import frozen_features, precision
from mmx.training.data import Data, ModalityReader
from mmx.training.frozen_features import (
    CPU_BYTES,
    FeatureTable,
    count_rows,
    is_pooled_token,
    measure_activations,
    plan_batches,
    release_memory,
)
from mmx.training.precision import Precision

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


class Recorded(nn.Module):
    """An encoder of token ids that records its batches and their number format."""

    width, level_widths = 4, ()

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 4)
        self.shapes: list[tuple[int, int]] = []
        self.longest: list[int] = []
        self.formats: set[torch.dtype] = set()

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Features:
        found = self.layer(x[..., None].float())
        self.shapes.append(tuple(x.shape))
        self.longest.append(int(lengths.max()))
        self.formats.add(found.dtype)
        pooled = found.mean(1)
        return Features(pooled[:, None], torch.ones(len(x), 1, dtype=torch.bool), pooled)


@pytest.fixture
def recorded() -> tuple[MultimodalModel, Data]:
    """Return a model whose encoder records what it reads, and 40 texts of 1 to 40 words."""
    order = np.random.default_rng(0).permutation(40)
    column = TextColumn([" ".join(["a"] * (n + 1)) for n in order])
    modality = Tokens(max_tokens=40)
    view = ModalityReader(column, modality, modality.fit(column, np.arange(40)))
    splits = {"train": np.arange(30), "test": np.arange(30, 40)}
    data = Data({"text": view}, torch.zeros(40, dtype=torch.int64), splits, device=CPU)
    model = MultimodalModel({"text": view.spec}, {"text": lambda spec: Recorded()}, Concat, 2)
    return model, data


def test_features_are_read_in_bf16_where_it_is_asked_for_and_kept_in_float32(
    recorded: tuple[MultimodalModel, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = recorded
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: True)
    fast = Precision.choose("auto", CPU)
    found = extract_features(data, model, "text", fast).features("text")
    assert model.encoders["text"].formats == {torch.bfloat16}
    assert found.pooled.dtype == torch.float32
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: False)
    extract_features(data, model, "text", Precision.choose("auto", CPU))
    assert model.encoders["text"].formats == {torch.bfloat16, torch.float32}


def test_texts_are_read_from_the_longest_on_in_batches_that_fit(
    recorded: tuple[MultimodalModel, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = recorded
    # A row of 40 words: the layer reads 40 and returns 160 numbers, counted three times.
    longest = max(data.lengths("text")[:30])
    monkeypatch.setattr(frozen_features, "CPU_BYTES", 8 * 3 * (longest + 4 * longest) * 4)
    extract_features(data, model, "text", Precision("fp32", CPU))
    encoder = model.encoders["text"]
    probe, *shapes = encoder.shapes
    assert probe == (1, longest)  # whose memory is measured
    assert sum(rows for rows, _ in shapes) == 40
    assert all(rows == 1 or rows * steps <= 8 * longest for rows, steps in shapes)
    assert max(rows for rows, _ in shapes) > 8  # short texts share larger batches
    assert encoder.longest[1:] == [steps for _, steps in shapes]  # nothing is padded further
    ends = next(i for i in range(1, len(shapes)) if shapes[i][1] > shapes[i - 1][1])
    for part in (shapes[:ends], shapes[ends:]):  # train, then test
        assert [steps for _, steps in part] == sorted((s for _, s in part), reverse=True)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library")
def test_memory_between_blocks_that_are_in_use_is_given_back():
    def read_resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    blocks = [bytearray(100_000) for _ in range(1000)]  # of a size that the heap itself keeps
    full = read_resident()
    kept = blocks[::10]
    del blocks
    release_memory()
    assert full - read_resident() > 70_000_000
    assert len(kept) == 100
