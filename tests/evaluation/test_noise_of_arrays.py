"""Noise on vectors, sequences and videos."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from mmx.evaluation.noise import CORRUPTIONS, Corruption, corrupt
from mmx.evaluation.noise.base import add_noise
from mmx.evaluation.noise.image import add_gaussian_noise, occlude
from mmx.evaluation.noise.sequence import lose_features, lose_steps
from mmx.evaluation.noise.vector import lose_items
from mmx.evaluation.noise.video import corrupt_frames, freeze_frames
from mmx.modalities.sequence import SequenceColumn, Sequences
from mmx.modalities.vector import Vector, VectorColumn
from mmx.modalities.video import Video, VideoColumn
from mmx.training.data import ModalityReader

NAMES = {
    "vector": ["additive", "missing_items"],
    "sequence": ["additive", "lost_steps", "lost_features"],
    "video": ["gaussian", "blur", "occlusion", "frozen_frames"],
}
ROWS = np.arange(30)


def make(name: str) -> Corruption:
    draw = np.random.default_rng(0)
    if name == "vector":
        vectors = draw.normal(2, 3, (30, 5))
        vectors[4] = np.nan
        column: object = VectorColumn(vectors)
        modality: object = Vector()
    elif name == "video":
        clips = draw.integers(0, 256, (30, 6, 8, 8, 3)).astype(np.uint8)
        column = VideoColumn(clips)
        column.present[4] = False
        modality = Video(frames=6, size=8)
    else:
        column = SequenceColumn(
            [None if row == 4 else draw.normal(2, 3, (row % 7, 4)) for row in range(30)]
        )
        modality = Sequences(max_steps=5)
    view = ModalityReader(column, modality, modality.fit(column, ROWS))
    return CORRUPTIONS[name](view)


@pytest.mark.parametrize("name", NAMES)
def test_noises_of_a_modality(name: str) -> None:
    corruption = make(name)
    assert [noise.name for noise in corruption.noises] == NAMES[name]
    values = corruption.read(ROWS, None)
    kept = copy.deepcopy(values)
    clean = corruption.view.encode(ROWS)
    for noise in corruption.noises:
        assert len(noise.strengths) == 5
        assert noise.strengths[0] == 0
        nothing = corruption.encode(corrupt(corruption, noise, values, ROWS, 0.0, 0))
        assert torch.equal(nothing.values, clean.values)
        if clean.lengths is not None:
            assert torch.equal(nothing.lengths, clean.lengths)
        heavy = corrupt(corruption, noise, values, ROWS, noise.strengths[-1], 0)
        assert heavy[4] is None
        changed = corruption.encode(heavy).values
        assert (changed != clean.values).flatten(1).any(1).sum() >= 18
    for one, other in zip(values, kept, strict=True):
        np.testing.assert_array_equal(one, other)


def test_noise_has_the_stated_deviation() -> None:
    noise = add_noise(
        np.zeros(40_000), 0.5, np.random.default_rng(0), stds=np.array([2.0, 4.0] * 20_000)
    )
    assert noise[::2].std() == pytest.approx(1.0, rel=0.03)
    assert noise[1::2].std() == pytest.approx(2.0, rel=0.03)


def test_the_stated_part_is_lost() -> None:
    draw = np.random.default_rng(0)
    lost = lose_items(np.ones(10_000), 0.25, draw)
    assert np.isnan(lost).mean() == pytest.approx(0.25, abs=0.02)
    assert lose_items(np.ones(3), 1.0, draw) is None
    means = np.array([5.0, 6.0])
    steps = lose_steps(np.ones((10_000, 2)), 0.25, draw, means=means)
    assert (steps == means).all(1).mean() == pytest.approx(0.25, abs=0.02)
    assert set(map(tuple, steps.tolist())) == {(1, 1), (5, 6)}  # all features of a step
    features = lose_features(np.ones((3, 1000)), 0.25, draw, means=np.zeros(1000))
    assert (features == features[0]).all()  # in all steps
    assert (features[0] == 0).mean() == pytest.approx(0.25, abs=0.05)


def test_frozen_frames_are_those_before_them() -> None:
    clip = np.arange(2000, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    frozen = freeze_frames(clip, 0.25, np.random.default_rng(0))[:, 0, 0, 0].astype(int)
    same = frozen != clip[:, 0, 0, 0]
    assert same.mean() == pytest.approx(0.25, abs=0.03)
    assert not same[0]
    assert all(frozen[at] == frozen[at - 1] for at in np.flatnonzero(same))


def test_what_covers_a_lens_covers_all_frames_alike() -> None:
    clip = np.zeros((4, 20, 20, 3), np.uint8)
    draw = np.random.default_rng
    covered = corrupt_frames(clip, 0.25, draw(0), one=occlude, alike=True)
    assert (covered == covered[0]).all()
    grain = corrupt_frames(clip + 128, 0.1, draw(0), one=add_gaussian_noise, alike=False)
    assert not (grain == grain[0]).all()
