"""Checks that state dicts are equal, and complete enough for a fresh instance."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from mmx.contract.base import Broken
from mmx.contract.differences import distance, format_difference

_M = TypeVar("_M", bound=nn.Module)


def load_state(fresh: _M, trained: nn.Module) -> _M:
    """Load the state of a trained module into a fresh instance, strictly, and return that."""
    try:
        fresh.load_state_dict(copy.deepcopy(trained.state_dict()), strict=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise Broken(f"expected the state to load into a fresh instance; {said}") from error
    return fresh


def expect_same_state(one: nn.Module, other: nn.Module, expected: str, seen: str = "") -> None:
    """Raise Broken where two modules have different tensors, or different numbers in them."""
    mine, theirs = one.state_dict(), other.state_dict()
    how = f"{seen}, " if seen else ""
    if mine.keys() != theirs.keys():
        names = ", ".join(sorted(mine.keys() ^ theirs.keys())[:5])
        raise Broken(f"expected {expected}; {how}{names} is in one of them alone")
    for name, tensor in mine.items():
        if (found := distance(tensor, theirs[name])) > 0:
            raise Broken(f"expected {expected}; {how}{name} differs by {format_difference(found)}")
