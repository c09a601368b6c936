from __future__ import annotations

import pytest

from mmx.evaluation.faster import Faster, compare_speed

CONTROL = [(10, 1.0, 0.3), (20, 2.0, 0.7), (30, 3.0, 0.6), (40, 4.0, 0.7)]


@pytest.mark.parametrize(
    ("target", "steps", "seconds"),
    [
        ([(10, 1.5, 0.5), (20, 3.0, 0.7), (30, 4.5, 0.9)], 20, 3.0),  # as good is enough
        ([(10, 1.5, 0.8), (20, 3.0, 0.6)], 10, 1.5),  # the first time counts
        ([(10, 1.5, 0.69), (20, 3.0, 0.5)], None, None),
        ([], None, None),
    ],
)
def test_the_first_epoch_that_is_as_good_as_the_controls_best(
    target: list[tuple[int, float, float]], steps: int | None, seconds: float | None
) -> None:
    assert compare_speed("accuracy", "scratch", target, CONTROL) == Faster(
        metric="accuracy",
        value=0.7,
        control="scratch",
        control_steps=20,
        control_s=2.0,
        target_steps=steps,
        target_s=seconds,
    )


def test_a_control_that_was_not_observed_is_no_measure() -> None:
    assert compare_speed("accuracy", "scratch", CONTROL, []) is None
