"""A head that breaks one promise is caught by the check of that promise, and by no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.contract import Part, check_part
from mmx.transfer.heads import Head
from mmx.verbs.check import refuse


class Layer(nn.Linear):
    pass


class Mixing(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y - y.mean(0)


class Narrow(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :-1]


class Double(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).double()


class Dead(nn.Linear):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(width, outputs)
        self.unused = nn.Parameter(torch.ones(1))


class Random(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x))


class Hidden(nn.Linear):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(width, outputs)
        self.shift = torch.randn(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.shift


class InPlace(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5))


def of(module: type[nn.Linear]) -> type[Head]:
    """Return a head that makes a module."""

    @dataclass(frozen=True, kw_only=True)
    class Own(Head):
        size: Annotated[int, Field(ge=1)] = 3

        def make(self, width: int, outputs: int, kind: str) -> nn.Module:
            return module(width, outputs)

    return Own


class Unequal(Head):
    """Not a dataclass: two of the same options are two heads."""

    def make(self, width: int, outputs: int, kind: str) -> nn.Module:
        return Layer(width, outputs)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


CAUGHT = [
    (of(Mixing), "rows not mixed"),
    (of(Narrow), "made and called"),
    (of(Double), "dtype"),
    (of(Dead), "gradients"),
    (of(Random), "the same again"),
    (of(Hidden), "state dict"),
    (of(InPlace), "inputs not changed"),
    (Unequal, "frozen dataclass"),
]


def failed(kind: type[Head]) -> list[str]:
    return [each.name for each in check_part(Part(kind, {}, refuse)) if each.state == "failed"]


def test_a_good_one() -> None:
    assert failed(of(Layer)) == []


@pytest.mark.parametrize(("kind", "promise"), CAUGHT)
def test_each_is_caught_by_its_own_check(kind: type[Head], promise: str) -> None:
    assert failed(kind) == [promise]
