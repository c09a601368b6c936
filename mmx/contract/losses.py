"""Checks that objectives and regularisers share: both are losses.

The :class:`LossSubject` of a kind says how a loss is bound and called, and on which batch. Promises
of only one kind are in its file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from mmx.contract.base import Broken, Subject
from mmx.contract.differences import FACTOR, expect_same, format_difference, format_shape
from mmx.contract.state_dicts import load_state

GROWTH = 1.75
"""Repeating a batch may change a loss that compares rows by less than this factor."""


class LossBatch(Protocol):
    """What a loss is called with."""

    def __len__(self) -> int:
        """Return B."""

    def map(self, change: Callable[[Tensor], Tensor]) -> LossBatch:
        """Return the batch with every tensor changed."""

    def reverse(self) -> LossBatch:
        """Return the batch with its dicts in the opposite order."""


_L = TypeVar("_L", bound=nn.Module)
_B = TypeVar("_B", bound=LossBatch)


class LossSubject(Subject, Generic[_L, _B]):
    """How a loss is made, called and compared.

    Attributes:
        noun: Its name in messages.
        rounding: Tolerance, in units in the last place.
    """

    noun: ClassVar[str]
    rounding: ClassVar[float] = FACTOR

    @property
    @abstractmethod
    def compares_rows(self) -> bool:
        """Whether the loss of a row depends on the other rows by definition."""

    @abstractmethod
    def make_batch(self) -> _B:
        """Return the batch that it is tried on."""

    @abstractmethod
    def bind(self, batch: _B, seed: int = 1) -> _L:
        """Return the loss that is called with batches like this one."""

    @abstractmethod
    def call(self, loss: _L, batch: Any) -> Tensor:
        """Return the value on a batch, with seeded draws."""


AnyLoss = LossSubject[Any, Any]


def expect_scalar(found: object, what: str) -> Tensor:
    """Return the value after checking that it is a scalar tensor."""
    if not isinstance(found, Tensor) or found.shape != ():
        seen = format_shape(found) if isinstance(found, Tensor) else type(found).__name__
        raise Broken(f"expected a scalar, {what}; seen {seen}")
    return found


def gives_the_same_value_again(subject: AnyLoss) -> str:
    """Check that one seed gives one value."""
    batches = [subject.make_batch() for _ in range(2)]
    once, again = (subject.call(subject.bind(batch), batch) for batch in batches)
    expect_same(again, once, f"the same {subject.noun} from the same seed", "bound twice")
    return "from the same seed"


def expect_mean_over_rows(subject: AnyLoss, loss: nn.Module, batch: LossBatch) -> None:
    """Raise Broken where repeating every row changes the value: it would grow with B."""
    once = subject.call(loss, batch)
    twice = subject.call(loss, batch.map(lambda x: torch.cat([x, x])))
    expected, seen = "a mean over the rows", "with the same rows twice over"
    if not subject.compares_rows:
        expect_same(twice, once, expected, seen, subject.rounding)
    elif twice.abs() > GROWTH * once.abs() + 1e-6:  # 1e-6: the loss may be 0 up to rounding
        ratio = format_difference(float(twice / once))
        raise Broken(f"expected {expected}; {seen}, the {subject.noun} is {ratio} times as large")


def rows_and_modalities_in_any_order(subject: AnyLoss) -> str:
    """Check that neither the order of the rows nor that of the dicts counts."""
    batch = subject.make_batch()
    loss = subject.bind(batch)
    want = subject.call(loss, batch)
    expected = f"the same {subject.noun} whatever the order"
    order = torch.arange(len(batch)).roll(5)
    turned = subject.call(loss, batch.map(lambda x: x[order]))
    expect_same(turned, want, expected, "of the rows", subject.rounding)
    reverse = subject.call(loss, batch.reverse())
    expect_same(reverse, want, expected, "of the modalities", subject.rounding)
    return "of rows and of modalities"


def state_goes_to_another_loss(subject: AnyLoss) -> str:
    """Check that all that trains with the model is in the state dict."""
    batch = subject.make_batch()
    loss = subject.bind(batch)
    with torch.no_grad():  # move the parameters, as training does
        for parameter in loss.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    subject.call(loss.train(), batch)
    other = load_state(subject.bind(batch, seed=3), loss)
    got, want = (subject.call(each.eval(), batch) for each in (other, loss))
    expected = f"another with the state loaded to give the same {subject.noun}"
    expect_same(got, want, expected, "bound anew", subject.rounding)
    return f"{len(loss.state_dict())} tensors"
