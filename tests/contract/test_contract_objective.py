"""An objective that breaks one promise is caught by the check of that promise, and by no other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.contract import Part, check_part
from mmx.objectives import Criterion, ModelOutput, Objective
from mmx.objectives.base import raise_precision
from mmx.verbs.check import refuse


class Loss(Criterion):
    """Cross-entropy, computed in float32."""

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(raise_precision(outputs), target)


class Sum(Loss):
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(raise_precision(outputs), target, reduction="sum")


class Rows(Loss):
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(raise_precision(outputs), target, reduction="none")


class Half(Loss):
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return super().task_loss(outputs, target).to(outputs.dtype)


class Idle(Loss):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


class Noisy(Loss):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        own = torch.Generator()
        own.seed()
        return super().task_loss(outputs, target) + torch.rand((), generator=own)


class ByPosition(Loss):
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(raise_precision(outputs[:6]), target[:6])


class FirstTwice(Loss):
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        plain = super().task_loss(outputs, target)
        return plain + 0.5 * F.cross_entropy(raise_precision(outputs[:1]), target[:1])


class OfFeatures(Loss):
    """Adds the size of features, with what stands in absent rows."""

    def forward(self, said: ModelOutput, target: Tensor) -> Tensor:
        extra = sum(raise_precision(x).nan_to_num(0).abs().mean() for x in said.pooled.values())
        return self.task_loss(said.outputs, target) + 0.1 * extra


class Stateful(Loss):
    """Scales by a random number that no state holds."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1 + torch.rand(())

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return self.factor * super().task_loss(outputs, target)


class InPlace(Loss):
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return super().task_loss(outputs.mul_(0.5), target)


class Negative(Loss):
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return super().task_loss(outputs, target) - 5.0


def of(criterion: type[Criterion], **attributes: object) -> type[Objective]:
    """Return an objective that binds to a criterion."""

    class Own(Objective):
        kinds = frozenset({"classes"})

        def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
            return criterion()

    for name, value in attributes.items():
        setattr(Own, name, value)
    return Own


class ByClass(Loss):
    """Weighted by class, without saying how much a batch of a step counts."""

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            raise_precision(outputs), target, weight=raise_precision(torch.tensor([1.0, 9.0, 2.0]))
        )


CAUGHT = [
    (ByClass, {}, "accumulated steps"),
    (Sum, {}, "a mean over the rows"),
    (Rows, {}, "made and called"),
    (Half, {}, "dtype"),
    (Idle, {}, "gradients"),
    (Noisy, {}, "the same again"),
    (FirstTwice, {}, "any order"),
    (ByPosition, {}, "any order"),
    (OfFeatures, {}, "absent rows not read"),
    (Stateful, {}, "state dict"),
    (InPlace, {}, "inputs not changed"),
    (Negative, {}, "made and called"),
    (Loss, {"kinds": frozenset({"ranks"})}, "made and called"),
]


def failed(kind: type[Objective]) -> list[str]:
    return [each.name for each in check_part(Part(kind, {}, refuse)) if each.state == "failed"]


def test_a_good_one() -> None:
    assert failed(of(Loss)) == []


@pytest.mark.parametrize(("criterion", "said", "promise"), CAUGHT, ids=lambda each: str(each))
def test_each_is_caught_by_its_own_check(
    criterion: type[Criterion], said: dict[str, object], promise: str
) -> None:
    assert failed(of(criterion, **said)) == [promise]


def test_what_it_says_of_itself() -> None:
    assert failed(of(Loss, reads_outputs=False)) == ["gradients", "what it says of itself"]
    assert failed(of(Loss, cross_modal=True)) == ["any number of modalities"]
