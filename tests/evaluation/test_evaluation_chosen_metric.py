"""Intervals, tests and chance of a metric that is no sum over rows, and of one to be lowered."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from metric_cases import make_answers

from mmx.evaluation.chance import Chance, find_chance
from mmx.evaluation.gain_intervals import (
    FEWEST_RESAMPLES,
    RESAMPLES,
    WORK,
    Differences,
    count_draws,
    draw_counts,
    find_sample_interval,
    find_seed_interval,
    resample_pairs,
)
from mmx.evaluation.metric_chance import find_metric_chance
from mmx.evaluation.metrics import SelectionScore, make_score
from mmx.evaluation.permutation import swap_test
from mmx.evaluation.sample_metric import SampleScores, score_samples
from mmx.metrics import Answers, Metric
from mmx.metrics.accuracy import Accuracy
from mmx.metrics.auroc import Auroc
from mmx.metrics.ece import Ece
from mmx.metrics.log_loss import LogLoss
from mmx.metrics.mae import Mae
from mmx.metrics.spearman import Spearman
from mmx.tasks import Target


@dataclass(frozen=True, kw_only=True)
class MaxError(Metric):
    """A metric of one's own."""

    kinds = frozenset({"regression"})
    lower_is_better = True

    def measure(self, answers: Answers) -> float:
        return float(np.abs(answers.truth - answers.scores).max())


def make_scores(metric: Metric, kind: str, seed: int, *, rows: int | None = None) -> SampleScores:
    """Return scores of random answers; those of one kind have the same truth for every seed."""
    answers = make_answers(7, kind, classes=3)
    noise = np.random.default_rng(seed).normal(size=answers.scores.shape)
    scores = answers.scores + noise
    if kind == "classes":
        scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        decided = scores.argmax(1)
    else:
        decided = scores
    every = Answers(answers.kind, answers.truth, scores, decided, answers.classes)
    every = every.take(np.arange(rows or len(answers.truth)))
    kept = metric.keep(every)
    return SampleScores(metric.name, kept, np.arange(len(kept)), metric, answers.classes)


CASES = [
    (Auroc(), "classes"),
    (Spearman(), "regression"),
    (MaxError(), "regression"),
    (LogLoss(), "classes"),
]


@pytest.mark.parametrize(("metric", "kind"), CASES)
def test_resamples_are_differences_on_repeated_rows_that_are_positive_where_better(
    metric: Metric, kind: str
) -> None:
    one, two = make_scores(metric, kind, 1), make_scores(metric, kind, 2)
    found, counts = resample_pairs([(one, two)], 0), draw_counts(len(one.rows), 0)
    assert found.shape == (1, count_draws(one, RESAMPLES))
    for place in (0, 1, 2):
        values = [each.of_weights(counts[place : place + 1])[0] for each in (one, two)]
        assert found[0, place] == pytest.approx(metric.sign * (values[0] - values[1]), abs=1e-9)
    assert one.gain_over(two) == pytest.approx(metric.sign * (one.value - two.value))
    assert Differences.of([(one, two)]).values == pytest.approx([one.gain_over(two)])


@pytest.mark.parametrize(("metric", "kind"), CASES)
def test_the_swap_test_tries_every_swap_of_few_rows(metric: Metric, kind: str) -> None:
    one, two = make_scores(metric, kind, 1, rows=7), make_scores(metric, kind, 2, rows=7)
    observed, larger = abs(one.value - two.value), 0
    for swaps in itertools.product((False, True), repeat=7):
        mask = np.array(swaps)[:, None]
        first = np.where(mask, two.statistics, one.statistics)
        second = np.where(mask, one.statistics, two.statistics)
        once = np.ones((1, 7), dtype=np.int64)
        values = [metric.resample(each, once, one.classes)[0] for each in (first, second)]
        larger += abs(values[0] - values[1]) >= observed - 1e-12
    assert swap_test([(one, two)]) == pytest.approx(larger / 2**7)


@pytest.mark.parametrize(("metric", "kind"), CASES)
def test_an_interval_of_a_better_model_lies_above_0_and_its_mirror_below(
    metric: Metric, kind: str
) -> None:
    good, bad = make_scores(metric, kind, 1), make_scores(metric, kind, 2)
    if good.gain_over(bad) < 0:
        good, bad = bad, good
    low, high = find_sample_interval((good, bad))
    assert low <= good.gain_over(bad) <= high
    low, high = find_sample_interval((good, good))
    assert low <= 0 <= high
    pairs = [
        (make_scores(metric, kind, seed), make_scores(metric, kind, seed + 50)) for seed in (3, 4)
    ]
    low, high = find_seed_interval(pairs)
    assert low <= Differences.of(pairs).values.mean() <= high


def test_work_bounds_the_resamples_of_large_test_sets() -> None:
    wide = SampleScores("auroc", np.zeros((10_000, 200)), np.arange(10_000), Auroc())
    assert count_draws(wide, RESAMPLES) == max(FEWEST_RESAMPLES, WORK // 2_000_000)
    small = make_scores(Auroc(), "classes", 1)
    assert count_draws(small, RESAMPLES) == RESAMPLES
    assert count_draws(make_scores(MaxError(), "regression", 1), RESAMPLES) == 1000


def test_no_interval_where_most_resamples_have_no_metric() -> None:
    # One row of the second class of two: 37 % of resamples lack it; with labels in one row, all.
    truth = np.array([1] + [0] * 19)
    scores = np.full((20, 2), 0.5)
    scores[0] = 0.2, 0.8
    rare = Answers("classes", truth, scores, scores.argmax(1), ("a", "b"))
    one = SampleScores("auroc", Auroc().keep(rare), np.arange(20), Auroc())
    two = SampleScores("auroc", Auroc().keep(rare)[:, ::1] * [[0.5, 1.0]], np.arange(20), Auroc())
    assert np.isnan(resample_pairs([(one, two)], 0)).mean() == pytest.approx(0.36, abs=0.05)
    low, high = find_sample_interval((one, two))
    assert low <= 0 <= high
    nothing = np.zeros_like(one.statistics)
    alone = SampleScores("auroc", nothing, np.arange(20), Auroc())
    assert all(math.isnan(end) for end in find_sample_interval((alone, alone)))
    assert all(math.isnan(end) for end in find_seed_interval([(alone, alone)] * 2))


def test_selection_takes_the_smaller_of_a_metric_that_is_to_be_lowered() -> None:
    score = make_score("regression", Mae())
    assert score == SelectionScore("mae", lower_is_better=True)
    better, worse = {"loss": 1.0, "mae": 0.2}, {"loss": 0.5, "mae": 0.3}
    assert score(better) > score(worse)
    assert score({"loss": 0.1, "mae": 0.2}) > score(better)
    assert score({"loss": 0.1, "mae": math.nan}) < score(worse)
    assert make_score("classes") == SelectionScore("accuracy")


def test_an_undefined_metric_is_worse_than_every_number() -> None:
    score = make_score("regression")
    undefined = score({"loss": 0.1, "r2": math.nan})
    assert undefined < score({"loss": 5.0, "r2": -1e9})
    assert undefined > score({"loss": 0.2, "r2": math.nan})  # the loss decides among these


def test_chance_of_another_metric_is_that_of_one_answer_with_its_noise() -> None:
    target, random = Target("classes", ("a", "b")), np.random.default_rng(0)
    values = torch.from_numpy((random.random(200) < 0.1).astype(np.int64))
    signal = torch.stack([torch.zeros(200), 2.0 * values - 4], 1)  # ranks well, always says "a"
    rows = np.arange(200)
    accuracy = find_chance(values, target)
    assert accuracy == Chance(float((values == 0).double().mean()), 200)
    found = find_metric_chance(values, target, score_samples(signal, values, target, rows, Auroc()))
    assert found is not None
    assert (found.metric, found.value) == ("auroc", 0.5)
    assert found.is_beaten_by(1.0)
    assert not found.is_beaten_by(0.5)
    losses = score_samples(signal, values, target, rows, LogLoss())
    entropy = find_metric_chance(values, target, losses)
    assert entropy is not None
    assert entropy.value is not None
    assert entropy.bound is not None
    part = float(values.double().mean())
    wanted = -part * math.log(part) - (1 - part) * math.log(1 - part)
    assert entropy.value == pytest.approx(wanted, abs=1e-6)
    assert entropy.bound < entropy.value
    assert entropy.is_beaten_by(entropy.bound - 0.01)
    assert not entropy.is_beaten_by(entropy.value)
    for metric in (Ece(), Accuracy()):  # calibration says nothing of what was learned
        scores = score_samples(signal, values, target, rows, metric)
        assert find_metric_chance(values, target, scores) == accuracy
