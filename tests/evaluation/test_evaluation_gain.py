from __future__ import annotations

import pytest

from mmx.evaluation.verdict import Gain


@pytest.mark.parametrize(
    ("interval", "of_scratch", "of_another"),
    [
        (None, "one run, no interval", "one run, no interval"),
        (
            (float("nan"), float("nan")),
            "no verdict: a metric is no number",
            "no verdict: a metric is no number",
        ),
        ((-0.2, -0.1), "negative transfer: the source hurts", "worse than the majority control"),
        ((0.1, 0.2), "positive transfer", "better than the majority control"),
        ((-0.1, 0.1), "no clear difference", "no clear difference"),
        ((0.0, 0.0), "no clear difference", "no clear difference"),
        ((0.0, 0.2), "no clear difference", "no clear difference"),
        ((-0.2, 0.0), "no clear difference", "no clear difference"),
    ],
)
def test_verdicts(interval: tuple[float, float] | None, of_scratch: str, of_another: str) -> None:
    over_scratch = Gain("accuracy", 0.0, interval)
    assert over_scratch.verdict == of_scratch
    assert over_scratch.negative == (of_scratch == "negative transfer: the source hurts")
    over_another = Gain("accuracy", 0.0, interval, "majority")
    assert over_another.verdict == of_another
    assert not over_another.negative  # nothing is transferred where no source is left out


@pytest.mark.parametrize("interval", [None, (-0.2, -0.1), (0.1, 0.2), (-0.1, 0.1)])
def test_models_that_learned_nothing_give_no_verdict(interval: tuple[float, float] | None) -> None:
    gain = Gain("accuracy", -0.15, interval, learned=False)
    assert gain.verdict == "no answer: neither is better than chance"
    assert not gain.negative
