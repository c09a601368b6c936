"""A calibration that breaks one promise is caught by its check; mmx's own keep all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pytest
from catalogue import classes
from pydantic import Field
from torch import nn

from mmx.calibration import Calibration
from mmx.contract import Part, check_part
from mmx.verbs.check import refuse

Fitted = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Halve(Calibration):
    """The example of the base class, with an option."""

    by: Annotated[float, Field(ge=0.01, le=100)] = 0.5

    def fit(self, outputs: Any, values: Any, kind: Any) -> Fitted:
        width = outputs.shape[1]
        return np.full(width, self.by), np.zeros(width)


@dataclass(frozen=True, kw_only=True)
class OneNumber(Halve):
    def fit(self, outputs: Any, values: Any, kind: Any) -> Fitted:
        return np.full(1, 0.5), np.zeros(1)


@dataclass(frozen=True, kw_only=True)
class Negative(Halve):
    def fit(self, outputs: Any, values: Any, kind: Any) -> Fitted:
        scale, offset = super().fit(outputs, values, kind)
        return -scale, offset


@dataclass(frozen=True, kw_only=True)
class Numbers(Halve):
    kinds = frozenset({"regression"})


@dataclass(frozen=True, kw_only=True)
class Draws(Halve):
    def fit(self, outputs: Any, values: Any, kind: Any) -> Fitted:
        scale, offset = super().fit(outputs, values, kind)
        return scale * np.random.default_rng().uniform(0.5, 1), offset


@dataclass(frozen=True, kw_only=True)
class Shifts(Halve):
    def fit(self, outputs: Any, values: Any, kind: Any) -> Fitted:
        found = super().fit(outputs, values, kind)
        outputs += 1
        return found


@dataclass(frozen=True, kw_only=True)
class FirstRow(Halve):
    def fit(self, outputs: Any, values: Any, kind: Any) -> Fitted:
        width = outputs.shape[1]
        return np.full(width, 0.5), np.full(width, outputs[0, 0] / 100)


@dataclass(frozen=True, kw_only=True)
class Doubles(Halve):
    by: Annotated[float, Field(ge=0.01, le=100)] = 2.0


@dataclass(frozen=True, kw_only=True)
class NeedsAllClasses(Halve):
    def fit(self, outputs: Any, values: Any, kind: Any) -> Fitted:
        if len(np.unique(values)) < 2:
            raise ValueError("one class")
        return super().fit(outputs, values, kind)


@dataclass(frozen=True, kw_only=True)
class OwnModule(Halve):
    def fit_module(self, outputs: Any, values: Any, kind: Any) -> Any:
        return nn.Identity()


@dataclass(frozen=True, kw_only=True)
class Unbounded(Halve):
    by: float = 0.5


def failed(kind: type) -> list[str]:
    return [each.name for each in check_part(Part(kind, {}, refuse)) if each.state == "failed"]


@pytest.mark.parametrize("name", classes("calibration"))
def test_those_of_mmx_keep_all(name: str) -> None:
    assert failed(classes("calibration")[name]) == []


def test_one_of_ones_own_keeps_all() -> None:
    assert failed(Halve) == []


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (OneNumber, ["made and called"]),
        (Negative, ["made and called"]),
        (Numbers, ["made and called"]),
        (Draws, ["the same again"]),
        (Shifts, ["the same again"]),
        (FirstRow, ["order of rows"]),
        (Doubles, ["overconfident outputs"]),
        (NeedsAllClasses, ["few rows"]),
        (OwnModule, ["kept with the model"]),
        (Unbounded, ["options"]),
    ],
)
def test_a_broken_promise_is_named_and_no_other(kind: type, broken: list[str]) -> None:
    assert failed(kind) == broken
