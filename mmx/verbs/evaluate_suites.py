"""The suites of ``mmx eval RUN suite=…``: they measure, print and keep their results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from mmx.errors import Problem, UsageError, closest
from mmx.evaluation.importance import Importance, measure_class_importance, measure_importance
from mmx.evaluation.metrics import find_primary
from mmx.evaluation.random_missing import measure_random_missing
from mmx.evaluation.robustness import NoiseCurve, find_corruptions, measure_noise_curves
from mmx.evaluation.subsets import Measure, SubsetAnswers, is_shown, predict_subsets
from mmx.json_object import Json
from mmx.metrics import Metric
from mmx.model import MultimodalModel
from mmx.reports import suites
from mmx.reports.missing_rates import make_rates_sheet
from mmx.reports.report import refresh_report
from mmx.runs.directory import RunDirectory
from mmx.tasks import Target
from mmx.terminal import Console
from mmx.training.data import Data
from mmx.training.precision import Precision


@dataclass(frozen=True)
class Evaluated:
    """A trained model and one split of its data.

    Attributes:
        model: With its best weights.
        data: Its data, with the test split unlocked.
        split: The split's name.
        precision: Number format of the forward pass.
        target: What is predicted.
        metrics: (outputs, targets) -> metrics.
        prior: Outputs ``(C,)`` computed from the training targets alone.
        seed: Seed of the noise, and of what is missing at random.
        rates: Probabilities with which cells are missing at random; empty: subsets are shown.
        metric: The metric that the run has chosen; None for the usual one.
    """

    model: MultimodalModel
    data: Data
    split: str
    precision: Precision
    target: Target
    metrics: Measure
    prior: Tensor
    seed: int
    rates: tuple[float, ...] = ()
    metric: Metric | None = None

    @property
    def primary(self) -> str:
        """The name of the metric that counts."""
        return find_primary(self.target.kind, self.metric)

    def measure(self, outputs: Tensor, values: Tensor) -> dict[str, float]:
        """Return the metrics, the primary one first."""
        found, first = self.metrics(outputs, values), self.primary
        return {first: found[first], **found}

    @cached_property
    def subset_answers(self) -> SubsetAnswers:
        """The predictions with every subset of the modalities, computed once for all suites."""
        rows = self.data.rows(self.split)
        return predict_subsets(self.model, self.data, rows, self.precision, self.prior)


Found = tuple[Json, suites.Sheet]


def _measure_rates(given: Evaluated) -> Found:
    rows = given.data.rows(given.split)
    points = measure_random_missing(
        given.model,
        given.data,
        rows,
        given.precision,
        given.prior,
        given.measure,
        given.rates,
        given.seed,
    )
    names = list(points[0].draws[0])
    said = {
        "primary": given.primary,
        "seed": given.seed,
        "rates": [
            {
                "rate": point.rate,
                "mean": {name: point.mean(name) for name in names},
                "half_width": {name: point.half_width(name) for name in names},
                "draws": list(point.draws),
                "by_prior": point.by_prior,
            }
            for point in points
        ],
    }
    return said, make_rates_sheet(points, given.split, len(rows), given.seed)


def _measure_missing(given: Evaluated) -> Found:
    if given.rates:
        return _measure_rates(given)
    count, answers = len(given.data.views), given.subset_answers.answers
    metrics = {
        subset: found
        for subset, found in given.subset_answers.metrics(given.measure).items()
        if is_shown(subset, count)
    }
    said = {
        "primary": given.primary,
        "subsets": {suites.format_subset(subset): found for subset, found in metrics.items()},
        "by_prior": {suites.format_subset(each): answers[each].by_prior for each in metrics},
    }
    return said, suites.make_missing_sheet(given.subset_answers, metrics, given.split)


def _measure_noise(given: Evaluated) -> Found:
    if not find_corruptions(given.data):
        raise UsageError(
            f"suite=noise knows no noise for {', '.join(given.data.views)}",
            tip="mmx eval RUN suite=missing,importance",
        )
    curves = measure_noise_curves(
        given.model,
        given.data,
        given.data.rows(given.split),
        given.precision,
        given.prior,
        given.measure,
        given.seed,
    )
    primary = given.primary
    values = given.data.truth(given.data.rows(given.split))
    # The floor of the curves: the prior, predicted for every row. (C,) -> (N, C)
    floor = given.measure(given.prior.cpu().repeat(len(values), 1), values)[primary]
    by_modality: Json = {}
    for curve in curves:
        by_modality.setdefault(curve.modality, {})[curve.noise] = _curve(curve, primary)
    said = {"primary": primary, "seed": given.seed, "modalities": by_modality}
    return said, suites.make_noise_sheet(curves, floor, given.split, given.seed)


def _curve(curve: NoiseCurve, primary: str) -> Json:
    return {
        "strength": [point.strength for point in curve.points],
        "level": [point.level for point in curve.points],
        **{
            name: [point.metrics[name] for point in curve.points]
            for name in curve.points[0].metrics
        },
        "by_prior": [point.by_prior for point in curve.points],
        "relative_area": curve.relative_area(primary),
    }


def _measure_shares(given: Evaluated) -> Found:
    overall = measure_importance(given.subset_answers, given.measure, given.primary)
    classes = measure_class_importance(given.subset_answers, given.target)
    said = {"overall": _shares(overall)}
    if classes:
        said["classes"] = {name: _shares(found) for name, found in classes.items()}
    return said, suites.make_importance_sheet(overall, classes, given.split)


def _shares(found: Importance) -> Json:
    return {
        "score": found.score,
        "shapley": found.values,
        "empty": found.empty,
        "full": found.full,
    }


SUITES: dict[str, Callable[[Evaluated], Found]] = {
    "missing": _measure_missing,
    "noise": _measure_noise,
    "importance": _measure_shares,
}


def read_suite_names(settings: Sequence[str], run: str) -> list[str]:
    """Return the suites that were asked for, each once.

    Args:
        settings: Words such as ``suite=missing,noise``.
        run: The run directory, to say what to type.

    Raises:
        UsageError: A word or a suite that is not known.
    """
    asked: list[str] = []
    for word in settings:
        key, sign, value = word.partition("=")
        if not sign:
            raise UsageError(f"unrecognized arguments: {word}", tip="mmx eval --help")
        if key != "suite":
            known = [f"suite={name}" for name in SUITES]
            near = closest(f"suite={value}", known)
            raise _problem(word, f"mmx eval has no setting {key}", known, near, near, run)
        for name in map(str.strip, value.split(",")):
            if name not in SUITES:
                near = closest(name, SUITES)
                typed = near and f"suite={near}"
                raise _problem(word, f"there is no suite {name!r}", list(SUITES), near, typed, run)
            asked.append(name)
    return list(dict.fromkeys(asked))


def read_rates(word: str | None, suites: Sequence[str], run: str) -> tuple[float, ...]:
    """Return the rates that ``rate=0.1,0.3`` names, in order, each once; empty without the word.

    Args:
        word: The word.
        suites: The suites that were asked for.
        run: The run directory, to say what to type.

    Raises:
        UsageError: A rate is no number from 0 to 1, or suite=missing is not asked for.
    """
    if word is None:
        return ()
    type_this = f"mmx eval {run} suite=missing rate=0.1,0.3,0.5"
    if "missing" not in suites:
        raise UsageError(f"{word}: a rate is of suite=missing", tip=type_this)
    found: set[float] = set()
    for text in word.partition("=")[2].split(","):
        try:
            rate = float(text)
        except ValueError:
            rate = math.nan
        if not 0 <= rate <= 1:
            why = f"{text.strip()!r} is no probability"
            raise UsageError(str(Problem(word, why, "0 to 1", type_this=type_this)))
        found.add(rate)
    return tuple(sorted(found))


def _problem(
    given: str, reason: str, accepted: list[str], near: str | None, typed: str | None, run: str
) -> UsageError:
    type_this = f"mmx eval {run} {typed or 'suite=' + ','.join(SUITES)}"
    return UsageError(str(Problem(given, reason, ", ".join(accepted), near, type_this)))


def run_suites(
    names: Sequence[str], given: Evaluated, directory: RunDirectory, console: Console
) -> Json:
    """Run suites, write their files, print their tables, and return their results.

    The run's own page shows them too, and is written anew.
    """
    said = {}
    if not console.is_terminal:
        console.width = 240
    for name in names:
        said[name], sheet = SUITES[name](given)
        page = suites.write_suite(directory, sheet)
        for table in suites.make_suite_tables(sheet):
            console.print(table)
        console.print(str(page), highlight=False, markup=False, soft_wrap=True)
    if names:
        refresh_report(directory)
    return said
