"""``match=params``: every method reaches the same number of parameters, by its width."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from refusals import check_error

from mmx.contract.discovery import find_classes
from mmx.fusion import Fusion, Widths
from mmx.fusion import match as module
from mmx.fusion.concat import Concat
from mmx.fusion.late_mean import LateMean
from mmx.fusion.match import TOLERANCE, count_fusion_parameters, make_matched, width_option
from mmx.fusion.mult import Mult
from mmx.fusion.poe import Poe
from mmx.fusion.tensor import Tensor
from mmx.fusion.transformer import Transformer
from mmx.meta_model import make_without_memory

BUDGETS = (50_000, 200_000, 500_000)
NAMES = ("text", "image", "audio", "tabular")

UNMATCHED = {
    # The inner width of Mult's attention is a multiple of its four heads, in each of the
    # M (M - 1) pairs of modalities and, M - 1 times as wide, in each of the M memories. Where
    # it steps, the number of parameters jumps over the budget: (width, parameters) are of the
    # nearest there is, 5.7, 5.1 and 5.1 % away.
    ("Mult", 3, 128, 4, 50_000): (15, 52_834),
    ("Mult", 3, 128, 10, 50_000): (14, 47_470),
    ("Mult", 4, 128, 4, 200_000): (20, 189_764),
}


def made_of(count: int, width: int) -> dict[str, Widths]:
    return {name: Widths(width, (width // 4, width // 2, width)) for name in NAMES[:count]}


def trained(fusion: Fusion, outputs: int) -> int:
    """Return the trainable numbers of a fusion and of the linear head that the model adds."""
    own = sum(each.numel() for each in fusion.parameters() if each.requires_grad)
    head = sum(each.numel() for each in torch.nn.Linear(fusion.width, outputs).parameters())
    return own if fusion.decides else own + head


class OnPaper:
    """A method whose fusions are counted and never used: made without memory, each once."""

    def __init__(self, method: type[Fusion], widths: dict[str, Widths], outputs: int) -> None:
        self.method, self.widths, self.outputs = method, widths, outputs
        self.width_option = method.width_option
        self.__module__ = method.__module__
        self.made: dict[int, Fusion] = {}

    def __call__(self, widths: dict[str, Widths], *, outputs: int, **options: int) -> Fusion:
        assert (widths, outputs) == (self.widths, self.outputs)
        assert list(options) == [self.width_option]
        (width,) = options.values()
        if width not in self.made:
            self.made[width] = make_without_memory(self.method, widths, outputs=outputs, **options)
        return self.made[width]


class Watched:
    """A method that writes down what is made of it: the width, and whether for real."""

    def __init__(self, method: type[Fusion]) -> None:
        self.method, self.width_option = method, method.width_option
        self.__module__ = method.__module__
        self.real: list[dict[str, Any]] = []
        self.paper: list[dict[str, Any]] = []

    def __call__(self, widths: dict[str, Widths], **options: Any) -> Fusion:
        fusion = self.method(widths, **options)
        on_paper = all(each.is_meta for each in fusion.parameters())
        (self.paper if on_paper else self.real).append(options)
        return fusion


@pytest.mark.parametrize("count", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))])
@pytest.mark.parametrize("method", find_classes("fusion"))
def test_every_method_comes_within_five_percent(method: type[Fusion], count: int) -> None:
    name = method.__module__.rsplit(".", 1)[-1]
    for width in (64, 128, 256):
        for outputs in (4, 10):
            widths = made_of(count, width)
            on_paper: Any = OnPaper(method, widths, outputs)
            for budget in BUDGETS:
                case = (method.__name__, count, width, outputs, budget)
                if case not in UNMATCHED:
                    fusion = make_matched(
                        widths, outputs=outputs, method=partial(on_paper), budget=budget
                    )
                    assert abs(trained(fusion, outputs) - budget) <= 0.05 * budget, case
                    continue
                with pytest.raises(ValueError) as error:  # noqa: PT011
                    make_matched(widths, outputs=outputs, method=partial(on_paper), budget=budget)
                best, found = UNMATCHED[case]
                check_error(
                    error.value,
                    "match=params",
                    name,
                    f"{budget:,}",
                    f"{method.width_option}={best}",
                    f"{found:,}",
                )


@pytest.mark.parametrize("case", UNMATCHED)
def test_what_is_said_to_have_no_width_has_none(case: tuple[str, int, int, int, int]) -> None:
    name, count, width, outputs, budget = case
    best, found = UNMATCHED[case]
    counts = {
        each: trained(Mult(made_of(count, width), outputs=outputs, width=each), outputs)
        for each in range(2, 30)
    }
    assert name == "Mult"
    assert counts[29] > 1.5 * budget
    assert min(counts, key=lambda each: abs(counts[each] - budget)) == best
    assert counts[best] == found
    assert all(abs(each - budget) > TOLERANCE * budget for each in counts.values())


@pytest.mark.parametrize("method", [Concat, LateMean, Poe, Transformer, Tensor, Mult])
@pytest.mark.parametrize("budget", [3_000, 11_111, 20_000])
def test_no_other_width_is_nearer(
    monkeypatch: pytest.MonkeyPatch, method: type[Fusion], budget: int
) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 1.0)
    widths = {"b": Widths(5, (2,)), "a": Widths(7, (3, 2))}
    watched = Watched(method)
    make_matched(widths, outputs=3, method=partial(watched), budget=budget)
    (chosen,) = watched.real
    option = method.width_option
    gaps = {
        width: abs(trained(method(widths, outputs=3, **{option: width}), 3) - budget)
        for width in range(2, chosen[option] + 20)
    }
    assert gaps[chosen[option]] == min(gaps.values())


def test_a_number_counted_by_hand() -> None:
    widths = {"a": Widths(3), "b": Widths(4)}
    concat = Concat(widths, outputs=5, hidden=10)
    assert count_fusion_parameters(concat, 5) == (7 * 10 + 10) + (10 * 5 + 5)
    late = LateMean(widths, outputs=5, hidden=10)  # it decides: no head behind it
    assert count_fusion_parameters(late, 5) == (3 * 10 + 10) + (4 * 10 + 10) + 2 * (10 * 5 + 5)
    concat.layers[0].bias.requires_grad_(False)
    assert count_fusion_parameters(concat, 5) == 7 * 10 + (10 * 5 + 5)


def test_the_message_where_the_budget_is_too_small() -> None:
    widths = {"a": Widths(3), "b": Widths(4)}
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make_matched(widths, outputs=5, method=partial(Concat), budget=10)
    check_error(error.value, "match=params", "10 parameters", "hidden=2", "31")
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make_matched(widths, outputs=5, method=partial(LateMean), budget=10)
    check_error(error.value, "match=params", "late_mean", "10 parameters", "hidden=2", "48")


def test_the_message_where_the_budget_is_too_large() -> None:
    watched = Watched(Concat)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make_matched({"a": Widths(3)}, outputs=5, method=partial(watched), budget=10**9)
    check_error(error.value, "match=params", "1,000,000,000 parameters", "hidden=65536", "589,829")
    assert not watched.real


@pytest.mark.parametrize("method", find_classes("fusion"))
def test_weights_are_those_of_a_fusion_made_directly(method: type[Fusion]) -> None:
    widths, watched = made_of(3, 16), Watched(method)
    torch.manual_seed(6)
    fusion = make_matched(widths, outputs=4, method=partial(watched), budget=60_000)
    after = torch.get_rng_state()
    (options,) = watched.real  # one alone takes memory and draws
    torch.manual_seed(6)
    direct = method(widths, outputs=4, **{method.width_option: options[method.width_option]})
    assert torch.equal(torch.get_rng_state(), after)
    assert list(fusion.state_dict()) == list(direct.state_dict())
    for name, tensor in direct.state_dict().items():
        assert torch.equal(fusion.state_dict()[name], tensor), name
    assert 5 <= len(watched.paper) <= 20
    assert len({each[method.width_option] for each in watched.paper}) == len(watched.paper)


def test_other_options_stay_and_the_width_gives_way() -> None:
    method = partial(LateMean, hidden=3, combine="probabilities")
    fusion = make_matched(made_of(2, 64), outputs=4, method=method, budget=50_000)
    assert isinstance(fusion, LateMean)
    assert fusion.combine == "probabilities"
    assert fusion.heads["text"][0].out_features > 300
    assert width_option(method) == "hidden"
    assert width_option(partial(Transformer, layers=1)) == "width"


def test_the_order_of_modalities_does_not_matter() -> None:
    widths = {"b": Widths(5), "a": Widths(7)}
    found = []
    for each in (widths, dict(reversed(widths.items()))):
        torch.manual_seed(0)
        found.append(
            make_matched(each, outputs=3, method=partial(Concat), budget=5_000).state_dict()
        )
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
