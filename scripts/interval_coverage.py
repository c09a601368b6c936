"""How often the intervals of gains hold the truth, in simulations where it is known.

    python scripts/interval_coverage.py [--cases 2000] [--seed 0] > tables.md

Prints the tables of docs/measured/intervals.md. Each case draws the differences of G groups of S
seeds, takes the 95 % interval of each group as a sweep does, and looks whether it holds the true
mean: "alone" is the part of all intervals that do, "worst" that of the group where it is lowest,
"together" the part of cases in which all G intervals at the level 1 - 0.05 / G do. "Width" is the
median width of an interval by that of the group's own Student's t, which is what each group had
before spreads were shared.

Takes about 5 minutes of one CPU core of a small virtual machine, and no GPU.
Same seed, same tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from mmx.evaluation.gain_intervals import (
    Differences,
    bonferroni_level,
    find_coverage,
    find_half_width,
)
from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.pooling import estimate_seed_errors
from mmx.evaluation.sample_metric import SampleScores

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Array]
WIDTHS = 60
"""Cases of which widths are taken."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("### Equal spreads\n")
    header("seeds", "groups", "alone", "together", "width")
    for seeds in (2, 3, 4, 5):
        for groups in (1, 2, 4, 8, 12):
            found = simulated(normal(), seeds, groups, given.cases, given.seed)
            line(seeds, groups, percent(found.alone), percent(found.together), found.width)
    print("\n### Other than equal and normal\n")
    header("differences over seeds", "seeds", "groups", "alone", "worst", "together", "width")
    for name, draw, shared in OTHERS:
        for seeds, groups in ((2, 4), (3, 4), (3, 12), (5, 4), (5, 12)):
            found = simulated(draw, seeds, groups, given.cases, given.seed, shared=shared)
            numbers = (percent(each) for each in (found.alone, found.worst, found.together))
            line(name, seeds, groups, *numbers, found.width)
    print("\n### Accuracies of the same test rows\n")
    header("accuracy", "rows", "seeds", "groups", "alone", "together")
    for easy, rows in ((4.0, 50), (4.0, 200), (1.0, 50), (1.0, 200)):
        for seeds, groups in ((2, 1), (3, 1), (3, 3), (5, 1)):
            accuracy, found = of_rows(easy, rows, seeds, groups, given.cases, given.seed)
            found_of = percent(found.alone), percent(found.together)
            line(f"{accuracy:.2f}", rows, seeds, groups, *found_of)
    print("\n### One seed, few discordant rows\n")
    header("rows", "discordant", "interval holds", "clear at no difference", "bootstrap: clear")
    for rows, part in ((40, 0.05), (40, 0.1), (100, 0.05), (100, 0.1), (400, 0.05), (400, 0.2)):
        line(rows, percent(part), *one_seed(rows, part, given.cases, given.seed))


@dataclass(frozen=True)
class Found:
    """What came out of one line of a table."""

    alone: float
    worst: float
    together: float
    width: str = ""


def normal(*scales: float) -> Draw:
    """Return what draws normal differences, of these standard deviations in turn."""

    def draw(random: np.random.Generator, groups: int, seeds: int) -> Array:
        spread = np.resize(np.array(scales or (1.0,)), groups)[:, None]
        return spread * random.normal(size=(groups, seeds))

    return draw


def one_noisy(random: np.random.Generator, groups: int, seeds: int) -> Array:
    """Draw differences of which the first group's are five times as wide."""
    found = random.normal(size=(groups, seeds))
    found[0] *= 5
    return found


def drawn_spreads(random: np.random.Generator, groups: int, seeds: int) -> Array:
    """Draw variances from a scaled inverse χ² of 4 degrees of freedom, and differences of them."""
    spread = np.sqrt(4 / random.chisquare(4, (groups, 1)))
    return spread * random.normal(size=(groups, seeds))


def skewed(random: np.random.Generator, groups: int, seeds: int) -> Array:
    """Draw exponential differences, less their mean."""
    return random.exponential(size=(groups, seeds)) - 1


def common(part: float) -> Draw:
    """Return what draws differences that share a part of their variance: one control for all."""

    def draw(random: np.random.Generator, groups: int, seeds: int) -> Array:
        of_control = np.sqrt(part) * random.normal(size=(1, seeds))
        return of_control + np.sqrt(1 - part) * random.normal(size=(groups, seeds))

    return draw


OTHERS: tuple[tuple[str, Draw, bool], ...] = (
    ("spreads 1 and 2 in turn", normal(1, 2), False),
    ("spreads 1 and 3 in turn", normal(1, 3), False),
    ("one group's spread 5, else 1", one_noisy, False),
    ("spreads drawn (inverse χ², 4)", drawn_spreads, False),
    ("skewed (exponential)", skewed, False),
    ("one control for all, half of the variance", common(0.5), True),
    ("one control for all, 0.9 of the variance", common(0.9), True),
)


def simulated(
    draw: Draw, seeds: int, groups: int, cases: int, seed: int, *, shared: bool = False
) -> Found:
    """Return how often intervals hold the true difference, which is 0."""
    random = np.random.default_rng([seed, seeds, groups])
    inside, ratios = np.empty((cases, groups)), []
    student = float(stats.t.ppf(0.975, seeds - 1))
    for case in range(cases):
        values = draw(random, groups, seeds)
        errors = estimate_seed_errors(list(values), ["one"] * groups if shared else None)
        for place, (each, error) in enumerate(zip(values, errors, strict=True)):
            inside[case, place] = error.within(np.array([abs(each.mean())]))[0]
        if case < WIDTHS:
            new = [find_half_width(error, 0.0, 0.95) for error in errors]
            old = student * values.std(1, ddof=1) / np.sqrt(seeds)
            ratios.append((np.median(new), np.median(old)))
    new_width, old_width = np.median(np.array(ratios), axis=0)
    return summed(inside, f"{new_width / old_width:.2f}")


def summed(inside: Array, width: str = "") -> Found:
    """Return coverages of ``(cases, groups)`` levels at which an interval just covers the truth."""
    covered = inside <= 0.95
    together = (inside <= bonferroni_level(inside.shape[1])).all(1)
    return Found(float(covered.mean()), float(covered.mean(0).min()), float(together.mean()), width)


def of_rows(
    easy: float, rows: int, seeds: int, groups: int, cases: int, seed: int
) -> tuple[float, Found]:
    """Return the accuracy of the control and the coverage, of rows that are right or wrong.

    The log-odds that a model is right are normal over rows (standard deviation 2, the same
    rows for all models) and over trainings (0.3), and half a unit higher for the target.
    """
    random = np.random.default_rng([seed, rows, seeds, groups])
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    spread, weights = np.hypot(2, 0.3) * points, weights / weights.sum()
    control, target = (float(odds(spread + up) @ weights) for up in (easy, easy + 0.5))
    inside = np.empty((cases, groups))
    numbers = np.arange(rows)
    for case in range(cases):
        hard = random.normal(0, 2, rows)
        lucks = random.normal(0, 0.3, (groups, seeds, 2, 1))
        up = np.array([0.5, 0.0])[:, None]
        right = random.random((groups, seeds, 2, rows)) < odds(hard + easy + up + lucks)
        found = [
            Differences.of(
                [
                    tuple(
                        SampleScores("accuracy", each[:, None].astype(float), numbers)
                        for each in pair
                    )
                    for pair in group
                ]
            )
            for group in right
        ]
        least = [each.least_variance for each in found]
        errors = estimate_seed_errors([each.values for each in found], None, least)
        for place, (each, error) in enumerate(zip(found, errors, strict=True)):
            distance = np.array([abs(each.values.mean() - (target - control))])
            inside[case, place] = find_coverage(error, each.sample_variance, distance)[0]
    return control, summed(inside)


def odds(log_odds: Array) -> Array:
    """Return the probabilities of log-odds."""
    found: Array = 1 / (1 + np.exp(-log_odds))
    return found


def one_seed(rows: int, part: float, cases: int, seed: int) -> tuple[str, str, str]:
    """Return how often the interval covers the truth, and how often a verdict is clear wrongly.

    Coverage is of a model that is better on 7 of 10 discordant rows; verdicts are of two models
    that are equally good.
    """
    random = np.random.default_rng([seed, rows, int(1000 * part)])
    covered, clear, of_bootstrap = 0, 0, 0
    for _ in range(cases):
        first, second, _same = random.multinomial(rows, [0.7 * part, 0.3 * part, 1 - part])
        low, high = Discordant(int(first), int(second), rows).interval(0.95)
        covered += low <= 0.4 * part <= high
        first, second, _same = random.multinomial(rows, [part / 2, part / 2, 1 - part])
        found = Discordant(int(first), int(second), rows)
        low, high = found.interval(0.95)
        clear += (low > 0 or high < 0) and found.p < 0.05
        parts = np.array([first, second, rows - first - second]) / rows
        again = random.multinomial(rows, parts, 2000)
        low, high = np.quantile(again[:, 0] - again[:, 1], [0.025, 0.975])
        of_bootstrap += low > 0 or high < 0
    return percent(covered / cases), percent(clear / cases), percent(of_bootstrap / cases)


def header(*names: str) -> None:
    """Print the head of a table."""
    line(*names)
    line(*("---" for _ in names))


def line(*cells: object) -> None:
    """Print a line of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def percent(part: float) -> str:
    """Return a part of 1 with one decimal."""
    return f"{100 * part:.1f} %"


if __name__ == "__main__":
    main()
