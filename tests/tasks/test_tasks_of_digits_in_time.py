"""Digits that move, and digits read column by column."""

from __future__ import annotations

import itertools

import numpy as np

from mmx.tasks.digit_columns import DigitColumns
from mmx.tasks.digits import load_images
from mmx.tasks.moving_digits import DIRECTIONS, STEPS, MovingDigits, move


def test_the_direction_moves_every_frame() -> None:
    images, _ = load_images()
    for row in range(12):
        clip, direction = move(images[row], row, noise=0.0)
        step = STEPS[DIRECTIONS[direction]]
        for before, after in itertools.pairwise(clip):
            assert (np.roll(before, step, (0, 1)) == after).all()
        assert clip[0].sum() == images[row].sum()


def test_a_clip_depends_on_its_row_alone_and_no_direction_is_rare() -> None:
    some, every = MovingDigits(name="some", digits=[3, 8]), MovingDigits(name="every")
    few, all_ = some.read(), every.read()
    _images, labels = load_images()
    rows = np.flatnonzero(np.isin(labels, [3, 8]))
    assert len(few.values) == len(rows)
    assert (all_.columns["video"].videos[rows] == few.columns["video"].videos).all()
    assert np.bincount(all_.values).min() > 0.2 * len(all_.values)


def test_steps_are_the_columns_of_the_image() -> None:
    data = DigitColumns(name="columns").load()
    images, labels = load_images()
    column = data.columns["sequence"]
    lengths = [column.shape(row)[0] for row in range(len(images))]
    assert min(lengths) < 6
    assert max(lengths) == 8
    for row in (0, 5, 9):
        steps = column.read(row)
        used = np.flatnonzero(images[row].any(axis=0))
        np.testing.assert_allclose(steps, images[row][:, used[0] : used[-1] + 1].T / 255)
        assert steps[0].any()
        assert steps[-1].any()
    assert (data.values.numpy() == labels).all()
