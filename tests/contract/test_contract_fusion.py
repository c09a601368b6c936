"""A fusion that breaks one promise is caught by the check of that promise, and by no other."""

from __future__ import annotations

from typing import Annotated

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.contract import Part, check_part
from mmx.fusion import Fusion, Widths
from mmx.fusion.base import zero_absent
from mmx.modalities import Features
from mmx.verbs.check import refuse

Given = dict[str, Features]
Present = dict[str, Tensor]


class Good(Fusion):
    """The sum of a linear map of each modality."""

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1)] = 8,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.maps = nn.ModuleDict({n: nn.Linear(widths[n].pooled, width) for n in self.modalities})

    def forward(self, features: Given, present: Present) -> Tensor:
        return self.joined(features, present)

    def joined(self, features: Given, present: Present) -> Tensor:
        return sum(
            zero_absent(self.maps[name](zero_absent(features[name].pooled, here)), here)
            for name, here in sorted(present.items())
        )


class MixedByNorm(Good):
    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.norm = nn.BatchNorm1d(self.width)

    def forward(self, features: Given, present: Present) -> Tensor:
        return self.norm(self.joined(features, present))


class MixedBySoftmax(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        return self.joined(features, present).softmax(0)


class MixedByNumber(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        x = self.joined(features, present)
        return x + torch.arange(len(x))[:, None]


class TooWide(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        x = self.joined(features, present)
        return torch.cat([x, x], dim=1)


class WithoutWidth(Good):
    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        del self.width


class ReadsAbsent(Good):
    def joined(self, features: Given, present: Present) -> Tensor:
        return sum(self.maps[name](features[name].pooled) for name in self.modalities)


class TimesZero(Good):
    """NaN · 0 is NaN."""

    def joined(self, features: Given, present: Present) -> Tensor:
        return sum(
            self.maps[name](features[name].pooled * present[name][:, None]) * present[name][:, None]
            for name in self.modalities
        )


class OrderOfMaking(Good):
    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.maps = nn.ModuleDict({n: nn.Linear(widths[n].pooled, self.width) for n in widths})


class OrderOfFeatures(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        x = self.joined(features, present)
        first = next(iter(features))
        return x + 3.0 * zero_absent(features[first].pooled, present[first]).sum(1, keepdim=True)


class DeadParameter(Good):
    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.unused = nn.Parameter(torch.ones(3))


class DeadAlone(Good):
    """Softmax over the modalities: of a single one it is always 1, and its layer learns nothing."""

    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.gates = nn.ModuleDict({n: nn.Linear(widths[n].pooled, 1) for n in self.modalities})

    def joined(self, features: Given, present: Present) -> Tensor:
        names = self.modalities
        pooled = [zero_absent(features[name].pooled, present[name]) for name in names]
        values = torch.stack([self.maps[n](x) for n, x in zip(names, pooled, strict=True)], dim=1)
        scores = torch.stack([self.gates[n](x) for n, x in zip(names, pooled, strict=True)], dim=1)
        absent = ~torch.stack([present[name] for name in names], dim=1)[:, :, None]
        return (scores.masked_fill(absent, -torch.inf).softmax(dim=1) * values).sum(dim=1)


class ReadsOne(Good):
    def joined(self, features: Given, present: Present) -> Tensor:
        name = self.modalities[0]
        return zero_absent(
            self.maps[name](zero_absent(features[name].pooled, present[name])), present[name]
        )

    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.maps = nn.ModuleDict({n: self.maps[n] for n in self.modalities[:1]})


class InDouble(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        return self.joined(features, present).double()


class AlwaysDrops(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        return nn.functional.dropout(self.joined(features, present), 0.5)


class DrawsOnItsOwn(Good):
    """Weights that no seed of mmx decides."""

    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        own = torch.Generator()
        own.seed()
        for name in self.modalities:
            nn.init.normal_(self.maps[name].weight, generator=own)


class HiddenWeights(Good):
    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.turn = torch.randn(self.width, self.width)

    def forward(self, features: Given, present: Present) -> Tensor:
        return self.joined(features, present) @ self.turn


class HiddenStatistics(Good):
    """A running mean that is no buffer."""

    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.mean = torch.zeros(self.width)

    def forward(self, features: Given, present: Present) -> Tensor:
        x = self.joined(features, present)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - (0 if self.training else self.mean)


class MadeLate(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        x = self.joined(features, present)
        if not hasattr(self, "late"):
            self.late = nn.Parameter(torch.ones(self.width))
        return x * self.late


class InPlace(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        for name in self.modalities:
            features[name].pooled[~present[name]] = 0
        return self.joined(features, present)


class TakesAway(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        x = self.joined(features, present)
        features.popitem()
        return x


class TwoOrMore(Good):
    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.second = sorted(widths)[1]


class Positional(Good):
    def __init__(self, widths: dict[str, Widths], width: int = 8, *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs, width=width)


class Unannotated(Good):
    def __init__(self, widths: dict[str, Widths], *, outputs: int, scale=1.0) -> None:
        super().__init__(widths, outputs=outputs)


class AnyWidth(Good):
    def __init__(self, widths: dict[str, Widths], *, outputs: int, width: int = 8) -> None:
        super().__init__(widths, outputs=outputs, width=width)


class WrongDefault(Good):
    def __init__(
        self, widths: dict[str, Widths], *, outputs: int, drop: Annotated[float, Field(lt=1)] = 1.0
    ) -> None:
        super().__init__(widths, outputs=outputs)


class IdleWidth(Good):
    def __init__(
        self, widths: dict[str, Widths], *, outputs: int, width: Annotated[int, Field(ge=1)] = 8
    ) -> None:
        super().__init__(widths, outputs=outputs)


class Undecided(Good):
    level = "decision"


CAUGHT = {
    MixedByNorm: "rows not mixed",
    MixedBySoftmax: "rows not mixed",
    MixedByNumber: "rows not mixed",
    TooWide: "the stated width",
    WithoutWidth: "the stated width",
    ReadsAbsent: "absent rows not read",
    TimesZero: "absent rows not read",
    OrderOfMaking: "any order of the dict",
    OrderOfFeatures: "any order of the dict",
    DeadParameter: "gradients",
    ReadsOne: "gradients",
    DeadAlone: "gradients",
    InDouble: "dtype",
    AlwaysDrops: "the same again",
    DrawsOnItsOwn: "the same again",
    HiddenWeights: "state dict",
    HiddenStatistics: "state dict",
    MadeLate: "state dict",
    InPlace: "inputs not changed",
    TakesAway: "inputs not changed",
    TwoOrMore: "any number of modalities",
    Positional: "options",
    Unannotated: "options",
    AnyWidth: "options",
    WrongDefault: "options",
    IdleWidth: "match=params",
    Undecided: "the stated width",
}


def found(kind: type, **options: object) -> dict[str, str]:
    """Return the broken promises with what is said of each."""
    results = list(check_part(Part(kind, options, refuse)))
    return {each.name: each.said for each in results if each.state == "failed"}


def test_a_good_one() -> None:
    results = list(check_part(Part(Good, {"width": 5}, refuse)))
    assert {each.name for each in results if each.state != "passed"} == {"settle"}
    assert len(results) == 14


@pytest.mark.parametrize(("kind", "promise"), CAUGHT.items(), ids=lambda each: str(each))
def test_each_is_caught_by_its_own_check(kind: type, promise: str) -> None:
    assert list(found(kind)) == [promise]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            MixedBySoftmax,
            "expected what is said of a row to depend on that row alone; in evaluation, with other "
            "numbers in row 0, 7 of 7 other rows changed (1, 2, 3, 4, 5, 6, …), by up to ",
        ),
        (TooWide, "expected (B, 8), as its width states; seen (8, 16) of 8 rows with 1 modality"),
        (WithoutWidth, "expected the constructor to set self.width to an int; seen None"),
        (
            DeadParameter,
            "expected a gradient in every trainable parameter after one step, with 3 modalities; "
            "none reaches unused",
        ),
        (
            DeadAlone,
            "expected a gradient in every trainable parameter after one step, with 1 modality "
            "(what weighs one against others is made only where len(widths) > 1); none reaches "
            "gates.text.weight, gates.text.bias",
        ),
        (
            ReadsOne,
            "expected every modality to be read, of 3 modalities; no gradient reaches text, image",
        ),
        (InDouble, "expected torch.float32 of torch.float32 features; seen torch.float64"),
        (
            Positional,
            "expected options after a * in the signature, since a config sets no others; `width` "
            "is taken by position too",
        ),
    ],
    ids=lambda each: str(each)[:40],
)
def test_says_what_was_expected_and_what_was_seen(kind: type, said: str) -> None:
    (text,) = found(kind).values()
    assert text.startswith(said)


def test_an_exception_is_what_was_found_with_its_line() -> None:
    (text,) = found(AnyWidth).values()
    assert "width=-1 is accepted and ends in RuntimeError: " in text
    assert text.rstrip(")").rpartition(":")[0].endswith("test_contract_fusion.py")
    (text,) = found(TwoOrMore).values()
    assert text.startswith(
        "expected any number of modalities; with 1 modality, IndexError: list index out of range ("
    )


class Raises(Good):
    def forward(self, features: Given, present: Present) -> Tensor:
        raise KeyError("nowhere")


def test_what_cannot_be_called_is_not_looked_at_further() -> None:
    first, *others = check_part(Part(Raises, {}, refuse))
    assert (first.name, first.state) == ("made and called", "failed")
    assert first.said.startswith("KeyError: 'nowhere' (")
    assert first.trace is not None
    assert "raise KeyError" in first.trace
    assert {each.state for each in others} == {"skipped"}
    assert others[0].said == "says nothing unless “made and called” holds"


def test_a_check_leaves_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(check_part(Part(Good)))
    assert torch.equal(torch.get_rng_state(), before)
