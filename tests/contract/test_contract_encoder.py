"""An encoder that breaks one promise is caught by the check of that promise, and by no other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmx.contract import Part, check_part
from mmx.contract.example_inputs import SPECS
from mmx.encoders import Encoder
from mmx.modalities import Features
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TokenSpec
from mmx.verbs.check import refuse


def single(x: Tensor, levels: tuple[Tensor, ...] = ()) -> Features:
    """Return features of one token a row."""
    return Features(x[:, None], torch.ones(len(x), 1, dtype=torch.bool), x, levels)


class Good(Encoder):
    def __init__(self, spec: TabularSpec) -> None:
        super().__init__()
        self.width = 4
        self.layer = nn.Linear(spec.width, 4)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return single(self.layer(x))


class TooWide(Good):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return single(torch.cat([self.layer(x)] * 2, dim=1))


class WrongLevels(Good):
    level_widths = (4, 4)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        y = self.layer(x)
        return single(y, (y,))


class Mixing(Good):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return single(self.layer(x).softmax(0))


class Dead(Good):
    def __init__(self, spec: TabularSpec) -> None:
        super().__init__(spec)
        self.unused = nn.Linear(2, 2)


class CutOff(Good):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        y = self.layer(x)
        return Features(y.detach()[:, None], torch.ones(len(x), 1, dtype=torch.bool), y)


class InDouble(Good):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return single(self.layer(x).double())


class Random(Good):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return single(nn.functional.dropout(self.layer(x)))


class Hidden(Good):
    def __init__(self, spec: TabularSpec) -> None:
        super().__init__(spec)
        self.turn = torch.randn(4, 4)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return single(self.layer(x) @ self.turn)


class InPlace(Good):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return single(self.layer(x.clamp_(min=-0.5)))


class WrongDepths(Good):
    def depths(self) -> tuple[tuple[str, ...], ...]:
        return (("layer.weight",),)


class Vague(Good):
    def __init__(self, spec, *, hidden: int = 3) -> None:
        super().__init__(spec)


class AnyHidden(Good):
    def __init__(self, spec: TabularSpec, *, hidden: int = 3) -> None:
        super().__init__(spec)
        self.more = nn.Linear(4, hidden)
        self.back = nn.Linear(hidden, 4)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return single(self.back(self.more(self.layer(x))))


class Words(Encoder):
    """The mean of word vectors, over the words alone."""

    def __init__(self, spec: TokenSpec) -> None:
        super().__init__()
        self.width = 4
        self.words = nn.Embedding(len(spec.words) + 2, 4)

    def real(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        steps = torch.arange(x.shape[1])
        return steps < (torch.full((len(x),), x.shape[1]) if lengths is None else lengths)[:, None]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        real = self.real(x, lengths)
        total = (self.words(x) * real[..., None]).sum(1)
        return single(total / real.sum(1, keepdim=True).clamp(min=1))


class ReadsPadding(Words):
    def real(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return torch.ones_like(x, dtype=torch.bool)


class EmptyIsNan(Words):
    """A batch without any step, not a row of it, divides by zero."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        found = super().forward(x, lengths)
        real = self.real(x, lengths).any()
        return single(found.pooled / real)


CAUGHT = {
    TooWide: "the stated widths",
    WrongLevels: "the stated widths",
    Mixing: "rows not mixed",
    Dead: "gradients",
    CutOff: "gradients",
    InDouble: "dtype",
    Random: "the same again",
    Hidden: "state dict",
    InPlace: "inputs not changed",
    WrongDepths: "depths",
    Vague: "made and called",
    AnyHidden: "options",
    ReadsPadding: "padding not read",
}


@pytest.mark.parametrize("kind", [Good, Words])
def test_a_good_one(kind: type[Encoder]) -> None:
    results = list(check_part(Part(kind, {}, refuse)))
    skipped = [] if kind is Words else ["padding not read", "empty rows"]
    assert [each.name for each in results if each.state != "passed"] == skipped


@pytest.mark.parametrize(("kind", "promise"), CAUGHT.items(), ids=lambda each: str(each))
def test_each_is_caught_by_its_own_check(kind: type, promise: str) -> None:
    results = list(check_part(Part(kind, {}, refuse)))
    assert [each.name for each in results if each.state == "failed"] == [promise]


def test_rows_without_a_step() -> None:
    results = list(check_part(Part(EmptyIsNan, {}, refuse)))
    assert "empty rows" in [each.name for each in results if each.state == "failed"]


def test_what_is_encoded_has_to_be_said() -> None:
    (result,) = check_part(Part(Vague, {}, refuse))
    assert result.said == (
        "expected the first argument of the constructor to say what is encoded, such as "
        f"spec: ImageSpec, one of {', '.join(kind.__name__ for kind in SPECS)}; seen int"
    )
