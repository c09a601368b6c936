"""What every fusion method promises; new methods are found and covered by themselves.

The promises are those of ``mmx check``; what follows them is kept by mmx's own methods besides.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest
import torch

from mmx.contract import Part, check_part
from mmx.contract.base import SEED
from mmx.contract.discovery import find_classes
from mmx.contract.example_features import make_features, make_widths
from mmx.contract.fusion import FusionSubject
from mmx.fusion import Fusion
from mmx.verbs.check import refuse

METHODS = pytest.mark.parametrize("method", find_classes("fusion"))
COUNTS = pytest.mark.parametrize("count", [1, 2, 4])


@pytest.fixture
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@METHODS
def test_keeps_the_contract(method: type[Fusion]) -> None:
    results = list(check_part(Part(method, {}, refuse)))
    assert [each for each in results if each.state == "failed"] == []
    settles = method.__name__ in ("Algorithm", "Ensemble")
    assert [each.name for each in results if each.state == "skipped"] == ["settle"][settles:]


@METHODS
def test_options_have_defaults(method: type[Fusion]) -> None:
    _, widths, *options = inspect.signature(method.__init__).parameters.values()
    assert widths.name == "widths"
    assert options[0].name == "outputs"
    assert all(option.default is not option.empty for option in options[1:])


@METHODS
@pytest.mark.usefixtures("_double_precision")
def test_absent_rows_and_order_change_no_bit(method: type[Fusion]) -> None:
    subject, rows = (
        FusionSubject(Part(method), method, [make_widths(3)]),
        make_features(make_widths(3)),
    )
    fusion = subject.build()
    for training in (True, False):
        want = subject.call(fusion, rows.fill_absent(0.0), training=training)
        got = subject.call(fusion, rows.fill_absent(1e6), training=training)
        assert torch.equal(got, want)
        turned = subject.call(fusion, rows.reverse(), training=training)
        assert torch.equal(turned, subject.call(fusion, rows, training=training))


@METHODS
@COUNTS
@pytest.mark.usefixtures("_double_precision")
def test_every_parameter_learns_from_any_number(method: type[Fusion], count: int) -> None:
    """Of a single modality there is nothing to weigh, and yet nothing is dead."""
    fusion = FusionSubject(Part(method), method, [make_widths(count)]).build().train()
    rows = make_features(make_widths(count)).with_all_present()
    rows = rows.map(lambda x: x.requires_grad_() if x.is_floating_point() else x)
    torch.manual_seed(SEED)
    (fusion(rows.features, rows.present) * torch.randn(len(rows), fusion.width)).sum().backward()
    dead = [n for n, p in fusion.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in dead if not any(fnmatchcase(n, p) for p in method.shut_at_start)] == []
