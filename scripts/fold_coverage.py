"""How often intervals over folds hold the true gain, in simulations where it is known.

    python scripts/fold_coverage.py [--only formula,stable,unstable] [--cases 1000] [--seed 0]

Prints the tables of docs/measured/intervals.md.

"formula" draws the values of folds themselves, with the correlation 1 / k between any two that
Nadeau and Bengio assume of k folds, in one partition and in several. The interval is then exact.

In the others each case draws a data set of N rows and divides it into
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

Their answers hardly depend on which rows they are trained on. Those of "unstable" do: the nearest
neighbour, a decision tree that is not pruned, and a network of one hidden layer, whose initial
weights are drawn anew for each fold. Their target and control see features as above.

"formula" and "stable" take half a minute of one CPU core of a small virtual machine, "unstable"
about ten minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from sklearn.tree import DecisionTreeClassifier

from mmx.evaluation.folds import find_half_width_of_folds
from mmx.tasks.folds import Fold, divide_into_folds

Array = npt.NDArray[np.float64]
TRUTH = 4000
PARTS = 5
"""Independent test sets, of as many rows as a fold, for each of them."""
RIDGE = 1.0
HIDDEN = 8


Measure = Callable[[Array, Array, Array, Array], Array]
"""Takes training features and labels, and test features and labels; returns metrics ``(B,)``."""


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
        measure: Fits a learner and returns its metric; None for that with a closed form.
    """

    name: str
    classes: bool
    rows: int
    features: int
    effect: float
    helps: bool
    measure: Measure | None = None

    def draw(self, random: np.random.Generator, sets: int, rows: int) -> tuple[Array, Array]:
        """Return B data sets: features ``(B, n, D)`` and labels or numbers ``(B, n)``."""
        weights = np.full(self.features, self.effect)
        if not self.helps:
            weights[self.features // 2 :] = 0
        if self.classes:
            labels = (random.random((sets, rows)) < 0.5).astype(np.float64)
            signs = 2 * labels - 1
            noise = random.normal(size=(sets, rows, self.features))
            return noise + signs[..., None] * weights, labels
        inputs = random.normal(size=(sets, rows, self.features))
        return inputs, inputs @ weights + random.normal(size=(sets, rows))

    def find_gains(self, train: tuple[Array, Array], test: tuple[Array, Array]) -> Array:
        """Return the metric with all features minus that with the first half, ``(B,)``."""
        half = self.features // 2
        measure = self.measure or (measure_accuracy if self.classes else measure_r2)
        (x, y), (z, truth) = train, test
        return measure(x, y, z, truth) - measure(x[..., :half], y, z[..., :half], truth)


def measure_accuracy(x: Array, y: Array, z: Array, truth: Array) -> Array:
    """Return the accuracies ``(B,)`` on ``z`` of linear discriminant analyses fitted to ``x``."""
    is_one = (y == 1)[..., None]
    one = (x * is_one).sum(1, keepdims=True) / is_one.sum(1, keepdims=True)
    two = (x * ~is_one).sum(1, keepdims=True) / (~is_one).sum(1, keepdims=True)
    centred = x - np.where(is_one, one, two)
    spread = (centred.transpose(0, 2, 1) @ centred + RIDGE * np.eye(x.shape[2])) / x.shape[1]
    direction = np.linalg.solve(spread, (one - two).transpose(0, 2, 1))
    answers = ((z - (one + two) / 2) @ direction)[..., 0] > 0
    found: Array = (answers == (truth == 1)).mean(1)
    return found


def measure_r2(x: Array, y: Array, z: Array, truth: Array) -> Array:
    """Return r2 ``(B,)`` on ``z`` of ridge regressions fitted to ``x``."""
    middle, level = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    centred = x - middle
    penalty = RIDGE * np.eye(x.shape[2])
    across = centred.transpose(0, 2, 1)
    weights = np.linalg.solve(across @ centred + penalty, across @ (y - level)[..., None])
    errors = truth - level - ((z - middle) @ weights)[..., 0]
    spread = ((truth - truth.mean(1, keepdims=True)) ** 2).sum(1)
    found: Array = 1 - (errors**2).sum(1) / spread
    return found


def measure_neighbour(x: Array, y: Array, z: Array, truth: Array) -> Array:
    """Return the accuracies ``(B,)`` on ``z`` of the label of the nearest row of ``x``."""
    found = [
        (one[((rows[None] - tested[:, None]) ** 2).sum(-1).argmin(1)] == known).mean()
        for rows, one, tested, known in zip(x, y, z, truth, strict=True)
    ]
    return np.array(found)


def measure_tree(x: Array, y: Array, z: Array, truth: Array) -> Array:
    """Return the accuracies ``(B,)`` on ``z`` of decision trees grown until leaves are pure."""
    found = [
        (DecisionTreeClassifier(random_state=0).fit(rows, one).predict(tested) == known).mean()
        for rows, one, tested, known in zip(x, y, z, truth, strict=True)
    ]
    return np.array(found)


def measure_network(x: Array, y: Array, z: Array, truth: Array) -> Array:
    """Return the accuracies ``(B,)`` on ``z`` of networks of 8 hidden units, trained on ``x``.

    All networks are trained side by side, by 60 steps of Adam over all rows.
    """
    inputs, labels, tested = (torch.from_numpy(each).float() for each in (x, y, z))
    sets, _, width = inputs.shape
    weights = [
        torch.randn(sets, width, HIDDEN) / width**0.5,
        torch.zeros(sets, 1, HIDDEN),
        torch.randn(sets, HIDDEN, 1) / HIDDEN**0.5,
        torch.zeros(sets, 1, 1),
    ]
    for each in weights:
        each.requires_grad_()

    def answer(rows: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(torch.baddbmm(weights[1], rows, weights[0]))
        return torch.baddbmm(weights[3], hidden, weights[2])[..., 0]

    optimizer = torch.optim.Adam(weights, lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            answer(inputs), labels, reduction="none"
        )
        losses.mean(1).sum().backward()  # each network's own mean
        optimizer.step()
    with torch.no_grad():
        right = (answer(tested) > 0).numpy() == (truth == 1)
    found: Array = right.mean(1)
    return found


STABLE = (
    World("LDA, helpful features", True, 200, 8, 0.3, True),
    World("LDA, equal", True, 200, 8, 0.3, False),
    World("ridge, helpful features", False, 200, 8, 0.3, True),
    World("ridge, equal", False, 200, 8, 0.3, False),
)
UNSTABLE = (
    World("nearest neighbour, helpful features", True, 200, 8, 0.3, True, measure_neighbour),
    World("nearest neighbour, equal", True, 200, 8, 0.3, False, measure_neighbour),
    World("tree, helpful features", True, 200, 8, 0.3, True, measure_tree),
    World("tree, equal", True, 200, 8, 0.3, False, measure_tree),
    World("network, helpful features", True, 200, 8, 0.3, True, measure_network),
    World("network, equal", True, 200, 8, 0.3, False, measure_network),
)
PLANS = ((5, 1), (10, 1), (5, 3))
"""Folds and repeats."""


def find_truth(world: World, rows: int, tested: int, random: np.random.Generator) -> float:
    """Return the expected gain of learners trained on so many rows.

    r2 of few rows is biased by their own mean, so it is measured on as many rows as a fold has.
    """
    train = world.draw(random, TRUTH, rows)
    if world.measure is not None:  # accuracy has no such bias, and each learner is fitted once
        return float(world.find_gains(train, world.draw(random, TRUTH, PARTS * tested)).mean())
    parts = [world.draw(random, TRUTH, tested) for _ in range(PARTS)]
    return float(np.mean([world.find_gains(train, part) for part in parts]))


def cross_validate(
    world: World, folds: int, repeats: int, cases: int, random: np.random.Generator
) -> Array:
    """Return the gain of each fold and repeat on independent data sets, ``(B, k r)``."""
    x, y = world.draw(random, cases, world.rows)
    found = []
    for repeat in range(1, repeats + 1):
        dealt = np.stack([_deal(world, labels, folds, repeat) for labels in y])
        for place in range(folds):
            test = dealt == place
            parts = (
                (x[mask].reshape(cases, -1, world.features), y[mask].reshape(cases, -1))
                for mask in (~test, test)
            )
            found.append(world.find_gains(*parts))
    return np.stack(found, 1)


def _deal(world: World, labels: Array, folds: int, repeat: int) -> npt.NDArray[np.int64]:
    strata = labels.astype(np.int64) if world.classes else np.zeros(len(labels), dtype=np.int64)
    return divide_into_folds(strata, None, Fold(1, folds, repeat))


def find_coverage(
    world: World, folds: int, repeats: int, cases: int, seed: int
) -> tuple[float, float]:
    """Return the parts of cases in which the corrected and the plain interval hold the truth."""
    random = np.random.default_rng([seed, world.rows, folds, repeats])
    torch.manual_seed(seed)
    tested = world.rows // folds
    truth = find_truth(world, world.rows - tested, tested, random)
    values = cross_validate(world, folds, repeats, cases, random)
    return compare_intervals(values - truth, folds, 1 / (12 * tested**2) if world.classes else 0.0)


def draw_formula(folds: int, repeats: int, cases: int, seed: int) -> tuple[float, float]:
    """Return the same for values that have a correlation of 1 / k with each other, and a mean of 0.

    A part that is common to all values has that share of their variance.
    """
    random = np.random.default_rng([seed, folds, repeats])
    common = random.normal(size=(cases, 1))
    own = random.normal(size=(cases, folds * repeats))
    return compare_intervals(common / folds**0.5 + own * (1 - 1 / folds) ** 0.5, folds, 0.0)


def compare_intervals(values: Array, folds: int, least: float) -> tuple[float, float]:
    """Return the parts of cases ``(B, k r)`` in which each of the intervals holds 0."""
    errors = np.abs(values.mean(1))
    reach = np.array([find_half_width_of_folds(each, folds, 0.95, least) for each in values])
    t = stats.t(values.shape[1] - 1).ppf(0.975)
    plain = t * values.std(1, ddof=1) / np.sqrt(values.shape[1])
    return float((errors <= reach).mean()), float((errors <= plain).mean())


FORMULA = ((2, 1), (3, 1), (5, 1), (10, 1), (2, 5), (5, 3), (10, 10))
"""Folds and repeats of drawn values."""


def list_lines(only: list[str], cases: int, seed: int) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the first cells of each line, and the parts of cases."""
    if "formula" in only:
        for folds, repeats in FORMULA:
            yield f"drawn | | {folds} | {repeats}", draw_formula(folds, repeats, cases, seed)
    for name, worlds in (("stable", STABLE), ("unstable", UNSTABLE)):
        for world in worlds if name in only else ():
            for folds, repeats in PLANS:
                shown = find_coverage(world, folds, repeats, cases, seed)
                yield f"{world.name} | {world.rows} | {folds} | {repeats}", shown


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="formula,stable", help="formula,stable,unstable")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| learners | rows | folds | repeats | corrected | plain |")
    print("| --- | --- | --- | --- | --- | --- |")
    for first, shown in list_lines(given.only.split(","), given.cases, given.seed):
        cells = " | ".join(f"{100 * each:.1f} %" for each in shown)
        print(f"| {first} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
