"""A regulariser that breaks one promise is caught by the check of that promise, and by no other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmx.contract import Part, check_part
from mmx.contract.world import World
from mmx.modalities import StepRows
from mmx.transfer.regularizers import Penalty, Regularizer, RegularizerContext, Step
from mmx.verbs.check import refuse


class Held(Penalty):
    """The mean squared distance of the image features from the source's, of rows that have them."""

    def __init__(self, context: RegularizerContext) -> None:
        super().__init__()
        object.__setattr__(self, "reference", context.reference)

    def rows(self, step: Step) -> Tensor:
        return step.batch.present["image"]

    def forward(self, step: Step) -> Tensor:
        here = self.rows(step)
        if not here.any():
            return step.outputs.new_zeros((), dtype=torch.float32)
        with torch.autocast("cpu", enabled=False):
            f0 = self.reference.features(step.batch)["image"].pooled[here]
            f = step.features["image"].pooled[here]
            return self.term((f.float() - f0.float()) if f.dtype != torch.float64 else f - f0)

    def term(self, x: Tensor) -> Tensor:
        return x.square().mean()

    def part(self, step: Step, rows: StepRows) -> Tensor:
        here, everyone = self.rows(step).sum(), rows.present["image"].sum()
        return self(step) * (here / everyone)


class ByRows(Held):
    """Its parts count by rows, also those that lack the modality."""

    part = Penalty.part


class Summed(Held):
    def term(self, x: Tensor) -> Tensor:
        return x.square().sum()


class Negative(Held):
    def term(self, x: Tensor) -> Tensor:
        return -x.square().mean()


class Constant(Held):
    def term(self, x: Tensor) -> Tensor:
        return x.square().mean().detach()


class Shifted(Held):
    def term(self, x: Tensor) -> Tensor:
        return x.square().mean() + 0.3


class Noisy(Held):
    def term(self, x: Tensor) -> Tensor:
        own = torch.Generator()
        own.seed()
        return x.square().mean() * (1 + torch.rand((), generator=own))


class FirstMore(Held):
    def term(self, x: Tensor) -> Tensor:
        return x.square().mean() + x[0].square().mean()


class Absent(Held):
    def rows(self, step: Step) -> Tensor:
        return torch.ones_like(step.batch.present["image"])

    def forward(self, step: Step) -> Tensor:
        x = step.features["image"].pooled
        return super(Held, self).forward(step) if x is None else x.float().square().mean()

    part = Penalty.part


class Whole(Held):
    """The source's model as a part of it."""

    def __init__(self, context: RegularizerContext) -> None:
        super().__init__(context)
        self.source = context.reference.encoder("image")


class Drawing(Held):
    def __init__(self, context: RegularizerContext) -> None:
        super().__init__(context)
        self.register_buffer("start", torch.rand(3))


class Idle(Held):
    def __init__(self, context: RegularizerContext) -> None:
        super().__init__(context)
        self.scale = nn.Parameter(torch.ones(2))


class FromStart(Penalty):
    """The squared distance of the weights from those at which it was bound, and nothing else."""

    of_weights = True

    def __init__(self, context: RegularizerContext) -> None:
        super().__init__()
        self.names = sorted(context.shared)
        for i, name in enumerate(self.names):
            w0 = context.model.get_parameter(name).detach().clone()
            self.register_buffer(f"w{i}", w0, persistent=False)

    def forward(self, step: Step) -> Tensor:
        found = [
            (step.model.get_parameter(name) - self.get_buffer(f"w{i}")).square().sum()
            for i, name in enumerate(self.names)
        ]
        return torch.stack(found).sum().float()


def of(penalty: type[Penalty], **attributes: object) -> type[Regularizer]:
    """Return a regulariser that binds to a penalty."""

    class Own(Regularizer):
        needs = frozenset({"model"})
        zero_at_start = True

        def bind(self, context: RegularizerContext) -> Penalty:
            return penalty(context)

    for name, value in attributes.items():
        setattr(Own, name, value)
    return Own


CAUGHT = [
    (ByRows, {}, "accumulated steps"),
    (Summed, {}, "the same at any batch size"),
    (Negative, {}, "made and called"),
    (Constant, {}, "gradients"),
    (Shifted, {}, "zero at the start"),
    (Noisy, {}, "the same again"),
    (Absent, {"zero_at_start": False}, "absent rows not read"),
    (Whole, {}, "all else left alone"),
    (Drawing, {}, "all else left alone"),
    (Idle, {}, "gradients"),
    (Held, {"needs": frozenset()}, "needs"),
    (Held, {"reads_outputs": True}, "reads_outputs"),
]


def failed(kind: type[Regularizer]) -> list[str]:
    return [each.name for each in check_part(Part(kind, {}, refuse)) if each.state == "failed"]


def test_a_good_one() -> None:
    assert failed(of(Held)) == []


def test_the_distance_from_the_start_alone_is_a_good_one_too() -> None:
    kind = of(FromStart, acts_on="weights", needs=frozenset({"weights"}))
    found = check_part(Part(kind, {}, refuse))
    assert [each.name for each in found if each.state == "failed"] == []
    # In World, noise of standard deviation 0.3 has moved each shared weight.
    world = World(moved=0.3)
    count = sum(world.model.get_parameter(name).numel() for name in world.shared)
    distance = world.bind(kind())(world.step()).item()
    assert distance == pytest.approx(0.09 * count, rel=0.2)
    now = {name: each.clone() for name, each in world.model.state_dict().items()}
    world.bind(kind())
    assert all(torch.equal(each, now[name]) for name, each in world.model.state_dict().items())


@pytest.mark.parametrize(("penalty", "said", "promise"), CAUGHT, ids=lambda each: str(each))
def test_each_is_caught_by_its_own_check(
    penalty: type[Penalty], said: dict[str, object], promise: str
) -> None:
    assert failed(of(penalty, **said)) == [promise]


def test_the_first_row_counts_more() -> None:
    assert "any order" in failed(of(FirstMore))
