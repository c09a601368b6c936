"""How often intervals over folds hold the true gain, in simulations where it is known.

    python scripts/fold_coverage.py [--cases 1000] [--seed 0] > table.md

Prints the table of docs/intervals.md. Each case draws a data set of N rows and divides it into
folds as a task does. Two learners with a closed form are trained on all folds but one and measured
on that one; their difference is the gain. The interval over folds is that of a sweep, without its
test by swaps. What it should hold is the expected gain of the two learners trained on as many rows
as a fold leaves, on rows of their own: the mean over ``TRUTH`` independent data sets, whose
standard error is far below an interval's width.

"Corrected" is the part of cases in which Nadeau and Bengio's interval holds it, "plain" that of
Student's t as if folds were independent.

The learners: two classes are told apart by linear discriminant analysis with a ridge, whose target
sees all features and whose control sees the first half of them; numbers are predicted by ridge
regression, in the same way, and measured by r2. In "equal" the additional features are noise.

Takes about 5 minutes of one CPU core of a small virtual machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from mmx.evaluation.folds import find_half_width
from mmx.tasks.folds import Fold, divide_into_folds

Array = npt.NDArray[np.float64]
Measure = Callable[[Array, Array, Array, Array], float]
TRUTH = 1000
PARTS = 5
"""Independent test sets, of as many rows as a fold, for each of them."""
RIDGE = 1.0


@dataclass(frozen=True)
class World:
    """Where data sets come from.

    Attributes:
        name: In the table.
        classes: Whether two classes are told apart, or numbers predicted.
        rows: N.
        features: Number of features.
        effect: Weight of each feature; of the second half, if not ``helps``, it is 0.
        helps: Whether the second half of the features helps.
    """

    name: str
    classes: bool
    rows: int
    features: int
    effect: float
    helps: bool

    def draw(self, random: np.random.Generator, rows: int) -> tuple[Array, Array]:
        """Return features ``(n, D)`` and labels or numbers ``(n,)``."""
        weights = np.full(self.features, self.effect)
        if not self.helps:
            weights[self.features // 2 :] = 0
        if self.classes:
            labels = (random.random(rows) < 0.5).astype(np.float64)
            signs = 2 * labels - 1
            return random.normal(size=(rows, self.features)) + signs[:, None] * weights, labels
        inputs = random.normal(size=(rows, self.features))
        return inputs, inputs @ weights + random.normal(size=rows)

    def find_gain(self, train: tuple[Array, Array], test: tuple[Array, Array]) -> float:
        """Return the metric with all features minus that with the first half."""
        half = self.features // 2
        measure = measure_accuracy if self.classes else measure_r2
        (x, y), (z, truth) = train, test
        return measure(x, y, z, truth) - measure(x[:, :half], y, z[:, :half], truth)


WORLDS = (
    World("LDA, helpful features", True, 200, 8, 0.3, True),
    World("LDA, equal", True, 200, 8, 0.3, False),
    World("ridge, helpful features", False, 200, 8, 0.3, True),
    World("ridge, equal", False, 200, 8, 0.3, False),
)
PLANS = ((5, 1), (10, 1), (5, 3))
"""Folds and repeats."""


def measure_accuracy(x: Array, y: Array, z: Array, truth: Array) -> float:
    """Return the accuracy on ``z`` of linear discriminant analysis fitted to ``x``."""
    one, two = x[y == 1].mean(0), x[y == 0].mean(0)
    centred = x - np.where(y[:, None] == 1, one, two)
    spread = (centred.T @ centred + RIDGE * np.eye(x.shape[1])) / len(x)
    direction = np.linalg.solve(spread, one - two)
    answers = (z - (one + two) / 2) @ direction > 0
    return float((answers == (truth == 1)).mean())


def measure_r2(x: Array, y: Array, z: Array, truth: Array) -> float:
    """Return r2 on ``z`` of ridge regression fitted to ``x``."""
    middle, level = x.mean(0), y.mean()
    centred = x - middle
    penalty = RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (y - level))
    errors = truth - level - (z - middle) @ weights
    return float(1 - (errors**2).sum() / ((truth - truth.mean()) ** 2).sum())


def find_truth(world: World, rows: int, tested: int, random: np.random.Generator) -> float:
    """Return the expected gain of learners trained on so many rows.

    r2 of few rows is biased by their own mean, so it is measured on as many rows as a fold has.
    """
    gains = []
    for _ in range(TRUTH):
        train = world.draw(random, rows)
        parts = [world.draw(random, tested) for _ in range(PARTS)]
        gains += [world.find_gain(train, part) for part in parts]
    return float(np.mean(gains))


def cross_validate(world: World, folds: int, repeats: int, random: np.random.Generator) -> Array:
    """Return the gain of each fold and repeat on one data set, ``(k r,)``."""
    x, y = world.draw(random, world.rows)
    labels = y.astype(np.int64) if world.classes else np.zeros(len(y), dtype=np.int64)
    found = []
    for repeat in range(1, repeats + 1):
        dealt = divide_into_folds(labels, None, Fold(1, folds, repeat))
        for place in range(folds):
            test = dealt == place
            found.append(world.find_gain((x[~test], y[~test]), (x[test], y[test])))
    return np.array(found)


def find_coverage(
    world: World, folds: int, repeats: int, cases: int, seed: int
) -> tuple[float, float]:
    """Return the parts of cases in which the corrected and the plain interval hold the truth."""
    random = np.random.default_rng([seed, world.rows, folds, repeats])
    tested = world.rows // folds
    truth = find_truth(world, world.rows - tested, tested, random)
    corrected = plain = 0
    for _ in range(cases):
        values = cross_validate(world, folds, repeats, random)
        error = abs(values.mean() - truth)
        corrected += error <= find_half_width(values, folds, 0.95, 1 / (12 * tested**2))
        reach = stats.t(len(values) - 1).ppf(0.975) * values.std(ddof=1) / np.sqrt(len(values))
        plain += error <= reach
    return corrected / cases, plain / cases


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| learners | rows | folds | repeats | corrected | plain |")
    print("| --- | --- | --- | --- | --- | --- |")
    for world in WORLDS:
        for folds, repeats in PLANS:
            shown = find_coverage(world, folds, repeats, given.cases, given.seed)
            cells = " | ".join(f"{100 * each:.1f} %" for each in shown)
            print(f"| {world.name} | {world.rows} | {folds} | {repeats} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
