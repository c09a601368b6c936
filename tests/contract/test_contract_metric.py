"""A metric that breaks one promise is caught by the check of that promise; mmx's own keep all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from catalogue import classes

from mmx.contract import Part, check_part
from mmx.metrics import Answers, Floats, MeanMetric, Metric
from mmx.verbs.check import refuse

NUMBERS = frozenset({"regression"})


@dataclass(frozen=True, kw_only=True)
class MaxError(Metric):
    kinds = NUMBERS
    lower_is_better = True

    def measure(self, answers: Answers) -> float:
        return float(np.abs(answers.truth - answers.scores).max())


@dataclass(frozen=True, kw_only=True)
class WrongSide(MaxError):
    lower_is_better = False


@dataclass(frozen=True, kw_only=True)
class FirstRow(MaxError):
    def measure(self, answers: Answers) -> float:
        return float(abs(answers.truth[0] - answers.scores[0]))


@dataclass(frozen=True, kw_only=True)
class NoKind(MaxError):
    kinds = frozenset({"numbers"})


@dataclass(frozen=True, kw_only=True)
class KeepsOther(MeanMetric):
    kinds = NUMBERS
    lower_is_better = True

    def of_rows(self, answers: Answers) -> Floats:
        return np.abs(answers.truth - answers.scores)

    def keep(self, answers: Answers) -> Floats:
        return 2 * super().keep(answers)


@dataclass(frozen=True, kw_only=True)
class Spaced(MaxError):
    @property
    def name(self) -> str:
        return "Max error"


@dataclass(frozen=True, kw_only=True)
class Raises(MaxError):
    def measure(self, answers: Answers) -> float:
        if len(answers.truth) == 1:
            raise ValueError("one row")
        return super().measure(answers)


class Unequal(Metric):
    kinds = NUMBERS
    lower_is_better = True

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def measure(self, answers: Answers) -> float:
        return float(np.abs(answers.truth - answers.scores).mean())


def failed(kind: type) -> list[str]:
    return [each.name for each in check_part(Part(kind, {}, refuse)) if each.state == "failed"]


@pytest.mark.parametrize("name", classes("metric"))
def test_those_of_mmx_keep_all(name: str) -> None:
    assert failed(classes("metric")[name]) == []


def test_one_of_ones_own_keeps_all() -> None:
    assert failed(MaxError) == []


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (WrongSide, "which side is better"),
        (FirstRow, "order of rows"),
        (NoKind, "made and called"),
        (KeepsOther, "resampled"),
        (Spaced, "name"),
        (Raises, "undefined"),
        (Unequal, "name"),
    ],
)
def test_a_broken_promise_is_named(kind: type, check: str) -> None:
    assert check in failed(kind)
