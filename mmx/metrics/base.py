"""The contract of every metric.

Shape legend: ``N`` rows, ``C`` classes or labels, ``K`` columns, ``R`` resamples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.variants import variant

if TYPE_CHECKING:  # readers of a summary do without torch
    from torch import Tensor

    from mmx.tasks import Target
    from mmx.tasks.contents import Kind

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
KINDS: tuple[Kind, ...] = ("classes", "multilabel", "regression")
NUMBERS_AT_ONCE = 2_000_000
"""Numbers that are computed at once; it bounds the memory."""
LABELLED: frozenset[str] = frozenset({"classes", "multilabel"})


@dataclass(frozen=True)
class Answers:
    """A model's answers for some rows, and the truth.

    Attributes:
        kind: The kind of target.
        truth: ``(N,)`` class indices, ``(N, C)`` 0 and 1 of several labels, or ``(N,)`` numbers
            in the task's own unit.
        scores: ``(N, C)`` probabilities in float64; for regression the ``(N,)`` numbers that the
            model predicts.
        decided: As ``truth``: the most probable class, the labels of more than 0.5, the numbers.
        classes: Class (or label) names in index order; empty for regression.
    """

    kind: Kind
    truth: npt.NDArray[Any]
    scores: Floats
    decided: npt.NDArray[Any]
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, outputs: Tensor, values: Tensor, target: Target) -> Answers:
        """Return the answers that a model's outputs stand for.

        Args:
            outputs: ``(N, C)`` on the CPU.
            values: ``(N,)`` or ``(N, C)`` targets on the CPU, in the task's own unit.
            target: What they mean.
        """
        if target.kind == "regression":
            found = target.restore(outputs).numpy()
            return cls(target.kind, values.double().numpy(), found, found)
        truth = values.numpy().astype(np.int64)
        if target.kind == "classes":
            # In float64: softmax of float32 logits would round probabilities near 1 to 1.
            scores, decided = outputs.double().softmax(1), outputs.argmax(1)
        else:
            scores, decided = outputs.double().sigmoid(), (outputs > 0).long()
        return cls(target.kind, truth, scores.numpy(), decided.numpy(), target.classes)

    @property
    def labels(self) -> Integers:
        """``(N, C)``: 1 for each true class or label, 0 for the others."""
        if self.kind == "multilabel":
            return self.truth.astype(np.int64)
        return _mark_classes(self.truth, len(self.classes))

    @property
    def decided_labels(self) -> Integers:
        """``(N, C)``: 1 for each class or label that the model decides for, 0 for the others."""
        if self.kind == "multilabel":
            return self.decided.astype(np.int64)
        return _mark_classes(self.decided, len(self.classes))

    def take(self, rows: npt.NDArray[Any]) -> Answers:
        """Return the answers of some rows; a row may occur several times."""
        parts = self.truth[rows], self.scores[rows], self.decided[rows]
        return Answers(self.kind, *parts, self.classes)


def _mark_classes(indices: npt.NDArray[Any], classes: int) -> Integers:
    """Return ``(N, C)``: 1 at each row's class."""
    found: Integers = np.eye(classes, dtype=np.int64)[indices]  # rows of the identity
    return found


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """Base of all metrics. A subclass is a frozen dataclass whose fields are its options.

    It states the kinds of target that it is for, and measures answers::

        @dataclass(frozen=True, kw_only=True)
        class MaxError(Metric):
            kinds = frozenset({"regression"})
            lower_is_better = True

            def measure(self, answers: Answers) -> float:
                return float(np.abs(answers.truth - answers.scores).max())

    That is enough for everything: intervals and tests measure resampled answers. A metric that is
    a function of sums over rows derives from :class:`SumMetric` instead, and is faster.

    Attributes:
        kinds: The kinds of target that it is for.
        lower_is_better: Whether a smaller value is better, as for errors.
        span: The largest possible difference of two values; infinity where there is none.
        counts_rows: Whether it counts rows, so that values differ by multiples of 1 / N at least.
        shows_learning: Whether a model with a better value than one answer for all rows has
            learned something.
        most_resamples: The most resamples whose metric is computed for an interval.
    """

    kinds: ClassVar[frozenset[str]]
    lower_is_better: ClassVar[bool] = False
    span: ClassVar[float] = math.inf
    counts_rows: ClassVar[bool] = False
    shows_learning: ClassVar[bool] = True
    most_resamples: ClassVar[int] = 1000

    @property
    def name(self) -> str:
        """Its name in summaries and reports; options that change its value are in it."""
        return variant(type(self))

    @property
    def sign(self) -> int:
        """1, or -1 where lower is better: ``sign`` times a value grows as the model gets better."""
        return -1 if self.lower_is_better else 1

    @property
    def label(self) -> str:
        """Its name, and that lower is better where it is so."""
        return f"{self.name} (lower is better)" if self.lower_is_better else self.name

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value on rows with this truth; empty where it has one.

        Args:
            answers: Only ``kind``, ``truth`` and ``classes`` may be read.
        """
        return "" if len(answers.truth) else "there is no row"

    @abstractmethod
    def measure(self, answers: Answers) -> float:
        """Return its value; only called where :meth:`explain_undefined` is empty."""

    def find_value(self, answers: Answers) -> float:
        """Return its value; NaN where it has none, or an answer is not finite."""
        if self.explain_undefined(answers) or not np.isfinite(answers.scores).all():
            return math.nan
        return float(self.measure(answers))

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, K)``: what of each row is enough for its value on any resample."""
        rows = len(answers.truth)
        # The kind goes with the numbers, as its index: files hold one array for each metric.
        kind = np.full((rows, 1), KINDS.index(answers.kind))
        parts = [kind, answers.scores.reshape(rows, -1), answers.truth.reshape(rows, -1)]
        kept: Floats = np.concatenate(parts, axis=1).astype(np.float64)
        return kept

    def resample(
        self, kept: Floats, weights: npt.NDArray[Any], classes: tuple[str, ...] = ()
    ) -> Floats:
        """Return ``(R,)``: its value where row i occurs ``weights[r, i]`` times; NaN without one.

        Args:
            kept: ``(N, K)`` as :meth:`keep` returns it.
            weights: ``(R, N)`` whole numbers.
            classes: Names of the classes or labels; without them their numbers are their names.
        """
        every, places = read_kept(kept, classes), np.arange(len(kept))
        found = [self.find_value(every.take(np.repeat(places, each))) for each in weights]
        # Repeated rows stand for weights, for metrics that take none.
        return np.array(found, dtype=np.float64)


def read_kept(kept: Floats, classes: tuple[str, ...] = ()) -> Answers:
    """Return the answers that :meth:`Metric.keep` has kept."""
    # Column 0 is the kind; its numbers follow.
    kind, kept = KINDS[int(kept[0, 0]) if len(kept) else 0], kept[:, 1:]
    if kind == "regression":
        return Answers(kind, kept[:, 1], kept[:, 0], kept[:, 0])
    # Of classes the truth is one column after the scores; of labels it is as wide as they are.
    width = kept.shape[1] - 1 if kind == "classes" else kept.shape[1] // 2
    scores, truth = kept[:, :width], kept[:, width:].astype(np.int64)
    names = classes or tuple(str(place) for place in range(width))
    if kind == "classes":
        return Answers(kind, truth[:, 0], scores, scores.argmax(1), names)
    return Answers(kind, truth, scores, (scores > 0.5).astype(np.int64), names)


@dataclass(frozen=True, kw_only=True)
class SumMetric(Metric):
    """A metric that is a function of sums over rows.

        value = f(Σ_i s_i, N),  s_i in R^K

    The values of all resamples are then one matrix product. The root of the mean squared error
    is::

        def keep(self, answers):
            return ((answers.scores - answers.truth) ** 2)[:, None]

        def of_sums(self, sums, count):
            return np.sqrt(sums[..., 0] / count)
    """

    most_resamples: ClassVar[int] = 4000

    @abstractmethod
    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, K)``: what each row adds to the sums."""

    @abstractmethod
    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows, ``(..., K)`` to ``(...)``.

        Args:
            sums: Of ``count`` rows.
            count: N.
        """

    def resample(
        self, kept: Floats, weights: npt.NDArray[Any], classes: tuple[str, ...] = ()
    ) -> Floats:
        """Return ``(R,)`` values; see :class:`Metric`."""
        count = int(weights[0].sum()) if len(weights) else 0  # every resample has as many rows
        step = max(1, NUMBERS_AT_ONCE // max(1, len(kept)))
        parts = [
            # (R', N) @ (N, K): one matrix product for many resamples, in parts that bound the
            # memory.
            self.of_sums(weights[start : start + step].astype(np.float64) @ kept, count)
            for start in range(0, len(weights), step)
        ]
        return np.concatenate(parts) if parts else np.empty(0)


@dataclass(frozen=True, kw_only=True)
class MeanMetric(SumMetric):
    """A metric that is a mean over rows.

    An accuracy is::

        def of_rows(self, answers):
            return (answers.decided == answers.truth).astype(np.float64)
    """

    @abstractmethod
    def of_rows(self, answers: Answers) -> Floats:
        """Return the ``(N,)`` values of the rows."""

    def measure(self, answers: Answers) -> float:
        """Return the mean."""
        return float(self.of_rows(answers).mean())

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 1)``: the value of each row."""
        return self.of_rows(answers).astype(np.float64)[:, None]

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the means of sums over rows."""
        found: Floats = sums[..., 0] / count
        return found


def name_absent(answers: Answers, *, needs_others: bool = True) -> str:
    """Return which class has no row, or no other row; empty where every class has both.

    Args:
        answers: Of classes or labels.
        needs_others: Whether a class that all rows have counts too.
    """
    labels = answers.labels
    if not len(labels):
        return "there is no row"
    what = "class" if answers.kind == "classes" else "label"
    counts = labels.sum(0)
    for name, count in zip(answers.classes, counts.tolist(), strict=True):
        if count == 0:
            return f"no row has the {what} '{name}'"
        if needs_others and count == len(labels):
            return f"every row has the {what} '{name}'"
    return ""


def name_only_class(answers: Answers) -> str:
    """Return which class all rows have; empty where there are several."""
    if not len(answers.truth):
        return "there is no row"
    if answers.kind == "classes" and (answers.truth == answers.truth[0]).all():
        return f"every row has the class '{answers.classes[int(answers.truth[0])]}'"
    return ""


def explain_constant(answers: Answers) -> str:
    """Return why numbers have no spread; empty where they have some."""
    if len(answers.truth) < 2:
        return f"there {'is one row' if len(answers.truth) else 'is no row'}"
    if np.ptp(answers.truth) == 0:
        return f"every row has the number {answers.truth[0]:g}"
    return ""
