"""Profiles of digits that move."""

from __future__ import annotations

import numpy as np

from mmx.tasks.digits import load_images
from mmx.tasks.moving_profiles import DIRECTIONS, STEPS, MovingProfiles, move_profiles


def test_steps_are_the_mean_rows_and_columns_of_the_moved_image() -> None:
    """The second implementation moves the image itself, and takes its means then."""
    images, _ = load_images()
    seen = set()
    for row in range(24):
        steps, direction = move_profiles(images[row], row, noise=0.0)
        seen.add(direction)
        random = np.random.default_rng(row)
        assert random.integers(8) == direction
        down, across = random.integers(0, 16, 2)
        frame = np.roll(np.pad(images[row] / 255, (0, 8)), (down, across), (0, 1))
        assert steps.shape == (8, 32)
        for step in steps:
            np.testing.assert_allclose(step[:16], frame.mean(axis=1), atol=1e-12)
            np.testing.assert_allclose(step[16:], frame.mean(axis=0), atol=1e-12)
            frame = np.roll(frame, STEPS[DIRECTIONS[direction]], (0, 1))
    assert seen == set(range(8))


def test_the_noise_has_the_deviation_that_is_asked_for() -> None:
    images, _ = load_images()
    differences = [
        move_profiles(images[row], row, 0.5)[0] - move_profiles(images[row], row, 0.0)[0]
        for row in range(40)
    ]
    assert abs(np.std(differences) - 0.5) < 0.02


def test_a_sequence_depends_on_its_row_alone_and_no_direction_is_rare() -> None:
    some, every = MovingProfiles(name="some", digits=[3, 8]), MovingProfiles(name="every")
    few, all_ = some.read(), every.read()
    _images, labels = load_images()
    rows = np.flatnonzero(np.isin(labels, [3, 8]))
    assert len(few.values) == len(rows)
    assert (all_.values[rows] == few.values).all()
    for place, row in enumerate(rows[:20]):
        np.testing.assert_array_equal(
            few.columns["sequence"].read(place), all_.columns["sequence"].read(int(row))
        )
    assert np.bincount(all_.values, minlength=8).min() > 0.1 * len(all_.values)


def test_directions_can_be_divided_between_source_and_target() -> None:
    data = MovingProfiles(name="some", digits=[5], classes=["up_left", "down_right"]).load()
    _images, labels = load_images()
    rows = np.flatnonzero(labels == 5)
    drawn = [int(np.random.default_rng(row).integers(8)) for row in rows]
    used = np.sort(np.concatenate([np.asarray(split) for split in data.splits.values()]))
    assert used.tolist() == [row for row, number in enumerate(drawn) if number in (4, 7)]
    assert [(4, 7)[value] for value in data.values[used].tolist()] == [drawn[row] for row in used]
