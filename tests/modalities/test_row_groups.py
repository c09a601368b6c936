"""One long row does not pad all others, and no row's features depend on it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import soundfile
import torch

from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.fusion.concat import Concat
from mmx.fusion.transformer import Transformer
from mmx.modalities import Batch, row_groups
from mmx.modalities.audio import Audio, AudioColumn, AudioSpec
from mmx.modalities.row_groups import group_by_length
from mmx.model import MultimodalModel

LENGTHS = torch.tensor([700, 0, 40_000, 900, 800])


def make_model(fusion: type) -> MultimodalModel:
    torch.manual_seed(0)
    make = functools.partial(LogmelCnn, width=16, mels=8)
    return MultimodalModel({"audio": AudioSpec(8000, 40_000)}, {"audio": make}, fusion, 3)


def make_batch(rows: list[int]) -> Batch:
    sounds = torch.randn(5, 40_000, generator=torch.Generator().manual_seed(1))[rows]
    lengths = LENGTHS[rows]
    sounds *= torch.arange(40_000) < lengths[:, None]
    sounds = sounds[:, : int(lengths.max())]
    here = {"audio": lengths > 0}
    complete = frozenset(here) if bool((lengths > 0).all()) else frozenset()
    target = torch.zeros(len(rows), dtype=torch.int64)
    return Batch({"audio": sounds}, {"audio": lengths}, here, target, complete=complete)


@pytest.fixture
def low_bound(monkeypatch):
    monkeypatch.setattr(row_groups, "WASTE", 100_000)


def test_a_long_row_is_a_group_of_its_own_where_padding_is_large(low_bound):
    x = torch.zeros(5, 40_000)
    groups = group_by_length(x, LENGTHS)
    assert groups is not None
    assert [(group.rows.tolist(), group.steps) for group in groups] == [
        ([0, 3, 4], 900), ([2], 40_000)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "lengths",
    [[8_000] * 64, [2_000] * 32 + [30_000] * 32, [4_000] * 63 + [60_000], [100] * 63 + [9_000]],
)
def test_rows_of_usual_lengths_are_one_batch(lengths):
    x = torch.zeros(64, max(lengths))
    assert group_by_length(x, torch.tensor(lengths)) is None


@pytest.mark.parametrize("fusion", [Concat, Transformer])
def test_answers_are_those_of_each_row_alone(low_bound, fusion):
    model = make_model(fusion).eval()
    rows = [0, 2, 3, 4]
    with torch.no_grad():
        together = model(make_batch(rows))
        apart = torch.cat([model(make_batch([row])) for row in rows])
        with_absent = model(make_batch([0, 1, 2, 3, 4]))
    assert torch.allclose(together, apart, atol=1e-5)
    assert torch.allclose(with_absent[[0, 2, 3, 4]], apart, atol=1e-5)
    assert with_absent[1].isfinite().all()


def test_in_training_the_short_rows_are_normalised_as_without_the_long_one(low_bound):
    model, other = make_model(Concat).train(), make_model(Concat).train()
    whole, short = model(make_batch([0, 2, 3, 4])), other(make_batch([0, 3, 4]))
    assert torch.equal(whole[[0, 2, 3]], short)
    for name, buffer in model.state_dict().items():
        assert torch.equal(buffer, other.state_dict()[name]), name
    whole.sum().backward()
    assert all(each.grad is not None for each in model.parameters())


def test_a_much_longer_sound_is_remarked(tmp_path):
    for name, count in (("a", 800), ("long", 160_000), ("empty", 0)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(count, 0.1), 8000)  # not silent
    column = AudioColumn([*[tmp_path / "a.wav"] * 5, None, tmp_path / "long.wav"])
    audio = Audio(sample_rate=8000)
    (note,) = audio.remarks(column, range(7), audio.fit(column, range(7)))
    assert "20.0 s" in note
    assert "0.10 s" in note
    assert "target.audio.max_seconds=0.20" in note
    cut = Audio(sample_rate=8000, max_seconds=0.2)
    assert cut.remarks(column, range(7), cut.fit(column, range(7))) == ()
    empty = AudioColumn([tmp_path / "a.wav", tmp_path / "empty.wav"])
    (note,) = audio.remarks(empty, range(2), audio.fit(empty, range(2)))
    assert "1 of 2 training sounds" in note
    assert "silence" in note
