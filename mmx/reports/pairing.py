"""Paired comparison of two runs, or groups of runs, on the same test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmx.errors import DataError
from mmx.evaluation.gain_intervals import Differences, GainInterval, bonferroni_level
from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.sample_metric import Pair, SampleScores
from mmx.runs import sample_scores
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw, count_folds
from mmx.stage_id import Role


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a run, or the seeds of a group.

    Attributes:
        name: Its name in sentences.
        runs: Finished runs that differ in nothing but their seed and fold.
    """

    name: str
    runs: Sequence[RunDirectory]


def compare_sides(sides: Sequence[Side], *, independent: int | None = None) -> list[str]:
    """Compare every side with every earlier one, in one sentence each.

    Args:
        sides: Two or more, with equal numbers of runs.
        independent: How many independent groups the comparisons count for, since a side takes part
            in several; None for the number of sides minus one.

    Raises:
        DataError: Two sides were not tested on the same rows, or no scores of them are kept.
    """
    couples = [(one, two) for place, one in enumerate(sides) for two in sides[place + 1 :]]
    found = [pair_sides(one, two) for one, two in couples]
    level = bonferroni_level(len(couples))
    sure = GainInterval.of(found, level=level, independent=independent or len(sides) - 1)
    texts = [
        _describe(one, two, each, how, level)
        for (one, two), each, how in zip(couples, found, sure, strict=True)
    ]
    if len(couples) > 1:
        texts.insert(
            0,
            f"{len(couples)} comparisons on the same test rows, {100 * level:.4g} % intervals, "
            "which all hold together in 95 % of cases (Bonferroni):",
        )
    return texts


def pair_sides(before: Side, after: Side) -> Differences:
    """Return the differences of two sides, over seeds or over folds."""
    draws = sorted(_read_draw(run) for run in after.runs)
    pairs = _make_pairs(before, after)
    return Differences.of(pairs, count_folds(draws), [draw.part for draw in draws])


def _make_pairs(before: Side, after: Side) -> list[Pair]:
    """Return pairs of scores, after and before, with runs matched in the order of their draws."""
    if len(before.runs) != len(after.runs):
        raise DataError(
            f"{before.name} is {len(before.runs)} runs, {after.name} {len(after.runs)}: "
            "only as many can be compared run by run",
            tip="name as many runs on both sides of --with",
        )
    old, new = (sorted(side.runs, key=_read_draw) for side in (before, after))
    return [_make_pair(one, two) for one, two in zip(old, new, strict=True)]


def _read_draw(run: RunDirectory) -> Draw:
    return Draw.of(run.read_summary())


def _make_pair(before: RunDirectory, after: RunDirectory) -> Pair:
    new, old = _read_scores(after), _read_scores(before)
    why = _explain_mismatch(before, after, old, new)
    if why:
        raise DataError(
            f"no paired comparison of {before.path} and {after.path}: {why}",
            tip="compare runs that were tested on the same rows",
        )
    return new, old


def _read_scores(run: RunDirectory) -> SampleScores:
    found = sample_scores.read_scores(run)
    if found is None:
        what = "no scores of its test rows"
        if (run.path / sample_scores.FILE).exists():
            what = "scores of a metric of one's own, whose class is not run here"
        raise DataError(
            f"no paired comparison: {run.path} keeps {what}",
            tip=f"mmx reproduce {run.path}",
        )
    return found[0]


def _explain_mismatch(
    before: RunDirectory, after: RunDirectory, old: SampleScores, new: SampleScores
) -> str:
    """Return why two runs cannot be paired by test rows; empty where they can."""
    if old.metric != new.metric or old.chosen != new.chosen:
        return f"one is measured by {old.metric}, the other by {new.metric}"
    if len(old.rows) != len(new.rows) or old.statistics.shape != new.statistics.shape:
        return f"one has {len(old.rows):,} test rows, the other {len(new.rows):,}"
    if not np.array_equal(old.rows, new.rows):
        return "they were tested on different rows of the data"
    theirs, ours = sample_scores.read_contents(before), sample_scores.read_contents(after)
    common = sorted(theirs.keys() & ours.keys())
    other = [key for key in common if theirs[key] != ours[key]]
    if other:
        return f"their test rows differ in {', '.join(other)}"
    if old.metric == "r2" and not _have_same_truths(old, new):
        return "their test rows have other numbers to predict"
    if not common and _read_data_fingerprint(before) != _read_data_fingerprint(after):
        return "their data differs, and it is not known whether the test rows do"
    return ""


def _have_same_truths(old: SampleScores, new: SampleScores) -> bool:
    """Return whether the true values of two regressions are the same up to their unit."""
    # a/|a| = b/|b|, written without a division by zero.
    one, two = (each.statistics[:, 1] for each in (old, new))
    lengths = np.linalg.norm(one), np.linalg.norm(two)
    return bool(np.allclose(one * lengths[1], two * lengths[0], rtol=1e-4, atol=1e-4))


def _read_data_fingerprint(run: RunDirectory) -> str | None:
    return run.manifest().data.get(Role.TARGET)


def _describe(
    before: Side, after: Side, found: Differences, sure: GainInterval, level: float
) -> str:
    """Return one comparison as a sentence."""
    low, high = sure.interval
    difference = float(found.values.mean())
    rows = len(np.unique(np.concatenate([pair[0].rows for pair in found.pairs])))
    new, old = (np.mean([pair[which].value for pair in found.pairs]) for which in (0, 1))
    verdict = "no clear difference"
    if low > 0 or high < 0:
        verdict = f"{after.name} is {'better' if low > 0 else 'worse'}"
    count = len(found.values)
    metric = found.metric if found.form is None else found.form.label
    unit = "folds" if found.folds else "seeds"
    over = f"{rows:,} test rows, " + ("one seed" if count == 1 else f"{count} {unit}")
    text = (
        f"on the same test rows: {after.name} {new:.3f}, {before.name} {old:.3f} {metric}: "
        f"{difference:+.3f} ({100 * level:.4g} % interval {low:+.3f} … {high:+.3f} over {over}): "
        f"{verdict}"
    )
    return text + _describe_more(before, after, found, sure)


def _describe_more(before: Side, after: Side, found: Differences, sure: GainInterval) -> str:
    if len(found.values) > 1:
        higher = int((found.values > 0).sum())
        unit = "folds" if found.folds else "seeds"
        word = "better" if found.form is not None and found.form.lower_is_better else "higher"
        text = f"; {word} in {higher} of {len(found.values)} {unit}"
        return text if sure.deciding is None else f"{text}; would decide: {sure.deciding}"
    counts = Discordant.of(*found.pairs[0])
    if counts is None:
        return ""
    return (
        f"; {after.name} alone is right on {counts.first:,} rows, {before.name} alone on "
        f"{counts.second:,} (McNemar's exact test: p = {counts.p:.2g})"
    )
