"""What every fusion method promises; new methods are found and covered by themselves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest
import torch
from torch import Tensor

import mmx.fusion
from mmx.fusion import Fusion, Widths
from mmx.modalities import Features

B, OUTPUTS = 6, 3
NAMES = ("text", "image", "audio", "tabular")  # unsorted on purpose


def methods() -> list[type[Fusion]]:
    for module in pkgutil.walk_packages(mmx.fusion.__path__, "mmx.fusion."):
        importlib.import_module(module.name)
    found: set[type[Fusion]] = set()
    queue: list[type[Fusion]] = [Fusion]
    while queue:
        for child in queue.pop().__subclasses__():
            queue.append(child)
            if child.__module__.startswith("mmx.fusion.") and not inspect.isabstract(child):
                found.add(child)
    return sorted(found, key=lambda method: method.__name__)


METHODS = pytest.mark.parametrize("method", methods())
COUNTS = pytest.mark.parametrize("count", [1, 2, 4])


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make(method: type[Fusion], count: int) -> Fusion:
    widths = {name: Widths(3 + index, (2, 4)) for index, name in enumerate(NAMES[:count])}
    return method(widths, outputs=OUTPUTS).eval()


def sample(count: int, rows: int = B) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return random features; each row lacks some modality, but never all."""
    features, present = {}, {}
    for index, name in enumerate(NAMES[:count]):
        tokens = torch.randn(rows, 5, 3 + index)
        mask = torch.arange(5) < torch.randint(1, 6, (rows, 1))
        levels = (torch.randn(rows, 2), torch.randn(rows, 4))
        features[name] = Features(tokens, mask, torch.randn(rows, 3 + index), levels)
        present[name] = torch.arange(rows) % count != index if count > 1 else torch.ones(rows) > 0
    return features, present


def replaced(
    features: dict[str, Features], where: dict[str, Tensor], by: float
) -> dict[str, Features]:
    """Return the features with ``by`` in the rows where ``where`` is True."""

    def fill(name: str) -> Features:
        rows = where[name]

        def change(x: Tensor) -> Tensor:
            if x.dtype == torch.bool:
                return x
            return x.masked_fill(rows.view(-1, *[1] * (x.dim() - 1)), by)

        return features[name].map(change)

    return {name: fill(name) for name in features}


def read_by(method: type[Fusion], features: dict[str, Features]) -> list[Tensor]:
    """Return what the method reads of each modality, with gradients asked for."""
    return [getattr(each, method.reads).requires_grad_() for each in features.values()]


def test_methods_are_found() -> None:
    names = {method.__name__ for method in methods()}
    assert names >= {"Concat", "Hierarchical", "WeightedSum", "Gmu", "LateWeighted"}


@METHODS
def test_options_are_keyword_only_and_have_defaults(method: type[Fusion]) -> None:
    _, widths, *options = inspect.signature(method.__init__).parameters.values()
    assert widths.name == "widths"
    assert options[0].name == "outputs"
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    assert all(option.default is not option.empty for option in options[1:])


@METHODS
def test_width_option_scales_the_parameters(method: type[Fusion]) -> None:
    widths = {name: Widths(3, (2, 4)) for name in NAMES}

    def count(width: int) -> int:
        fusion = method(widths, outputs=OUTPUTS, **{method.width_option: width})
        head = 0 if fusion.decides else fusion.width * OUTPUTS + OUTPUTS
        return head + sum(parameter.numel() for parameter in fusion.parameters())

    assert count(16) < count(32) < count(64)


@METHODS
@COUNTS
def test_output_has_the_stated_width(method: type[Fusion], count: int) -> None:
    fusion = make(method, count)
    assert fusion(*sample(count)).shape == (B, fusion.width)
    assert fusion(*sample(count, rows=1)).shape == (1, fusion.width)
    assert not fusion.label_tensors or fusion.decides
    assert fusion.label_tensors or method.level != "decision"
    if fusion.decides:
        state = fusion.state_dict()
        assert fusion.width == OUTPUTS
        assert {len(state[name]) for name in fusion.label_tensors} == {OUTPUTS}


@METHODS
@COUNTS
def test_dict_order_does_not_matter(method: type[Fusion], count: int) -> None:
    features, present = sample(count)
    torch.manual_seed(1)
    fusion = make(method, count)
    torch.manual_seed(1)
    widths = {name: Widths(3 + index, (2, 4)) for index, name in enumerate(NAMES[:count])}
    other = method(dict(reversed(widths.items())), outputs=OUTPUTS).eval()
    expected = fusion(features, present)
    backwards = dict(reversed(features.items())), dict(reversed(present.items()))
    assert torch.equal(other(*backwards), expected)


@METHODS
@COUNTS
def test_a_sample_never_changes_another(method: type[Fusion], count: int) -> None:
    fusion = make(method, count)
    features, present = sample(count)
    first = {name: torch.arange(B) == 0 for name in features}
    before = fusion(features, present)
    after = fusion(replaced(features, first, 7.0), present)
    torch.testing.assert_close(after[1:], before[1:], rtol=0, atol=1e-12)
    assert not torch.allclose(after[0], before[0])


@METHODS
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 1e6])
def test_absent_modalities_contribute_nothing(
    method: type[Fusion], training: bool, junk: float
) -> None:
    fusion = make(method, 3).train(training)
    features, present = sample(3)
    absent = {name: ~here for name, here in present.items()}
    torch.manual_seed(2)
    expected = fusion(replaced(features, absent, 0.0), present)
    torch.manual_seed(2)
    dirty = replaced(features, absent, junk)
    inputs = read_by(method, dirty)
    output = fusion(dirty, present)
    assert torch.equal(output, expected)
    output.square().sum().backward()
    for parameter in fusion.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    for name, x in zip(dirty, inputs, strict=True):
        assert x.grad is not None
        assert (x.grad[absent[name]] == 0).all()


@METHODS
def test_a_modality_absent_from_the_whole_batch(method: type[Fusion]) -> None:
    fusion = make(method, 2)
    features, _ = sample(2)
    present = {"text": torch.ones(B) > 0, "image": torch.zeros(B) > 0}
    dirty = replaced(features, {name: ~here for name, here in present.items()}, float("nan"))
    assert fusion(dirty, present).isfinite().all()


@METHODS
@COUNTS
def test_every_parameter_learns(method: type[Fusion], count: int) -> None:
    fusion = make(method, count).train()
    features, present = sample(count)
    # Rows of a single modality would leave nothing to weigh.
    everywhere = {name: torch.ones_like(here) for name, here in present.items()}
    inputs = read_by(method, features)
    (fusion(features, everywhere) * torch.randn(B, fusion.width)).sum().backward()
    assert all(x.grad is not None and x.grad.any() for x in inputs)
    assert all(p.grad is not None for p in fusion.parameters())
    dead = [name for name, p in fusion.named_parameters() if not p.grad.any()]
    shut = [n for n in dead if any(fnmatchcase(n, pattern) for pattern in method.shut_at_start)]
    assert dead == shut


@METHODS
def test_state_goes_to_another_instance(method: type[Fusion]) -> None:
    fusion, other = make(method, 3), make(method, 3)
    other.load_state_dict(fusion.state_dict())
    batch = sample(3)
    assert torch.equal(other(*batch), fusion(*batch))
