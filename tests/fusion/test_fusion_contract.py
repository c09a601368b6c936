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
from mmx.fusion import Fusion, Widths, attention_blocks, base, tokens
from mmx.modalities import Features, masking
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


@METHODS
def test_what_a_full_batch_leaves_out_changes_no_bit(method: type[Fusion], monkeypatch) -> None:
    """The same features, with masks taken for full and with masks that are applied."""
    torch.manual_seed(0)
    widths = {"a": Widths(6, (3, 6)), "b": Widths(4, (2, 4)), "c": Widths(4, (2, 4))}
    fusion = method(widths, outputs=3)
    steps = {"a": 5, "b": 1, "c": 9}
    x = {name: torch.randn(7, steps[name], each.pooled) for name, each in widths.items()}
    levels = {n: tuple(torch.randn(7, d) for d in each.levels) for n, each in widths.items()}
    present = dict.fromkeys(widths, torch.ones(7, dtype=torch.bool))
    found = []
    for known in (True, False):
        for module in (masking, tokens, base, attention_blocks):
            monkeypatch.setattr(module, "is_known_full", lambda mask, known=known: known)
        leaves = {name: each.clone().requires_grad_() for name, each in x.items()}
        masks = {name: torch.ones(each.shape[:2]) > 0 for name, each in x.items()}
        features = {
            name: Features(each, masks[name], each.amax(1), levels[name])
            for name, each in leaves.items()
        }
        fusion.zero_grad()
        torch.manual_seed(1)
        out = fusion(features, present)
        out.sin().sum().backward()
        grads = [each.grad for each in (*leaves.values(), *fusion.parameters())]
        found.append([out.detach(), *grads])
    torch.testing.assert_close(*found, rtol=0, atol=0)
