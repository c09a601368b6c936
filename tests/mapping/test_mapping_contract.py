"""What every mapping promises; new mappings are found and covered by themselves.

The promises are those of ``mmx check``; what follows them is kept by mmx's own mappings besides.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from refusals import check_error
from torch import Tensor

from mmx.contract import Part, check_part
from mmx.contract.discovery import find_classes
from mmx.errors import DataError
from mmx.mapping import Mapping
from mmx.modalities import Encoded, Features
from mmx.verbs.check import refuse

B, N, WIDTH = 6, 60, 3
NAMES = ("text", "image", "audio", "tabular")  # unsorted on purpose
SMALL: dict[str, dict[str, Any]] = {"DeepCca": {"hidden": 8, "steps": 5}}


ALL = pytest.mark.parametrize("kind", find_classes("mapping"))
FITTED = pytest.mark.parametrize("kind", [kind for kind in find_classes("mapping") if kind.fitted])
COUNTS = pytest.mark.parametrize("count", [1, 2, 4])


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def widths(count: int) -> dict[str, int]:
    return {name: 3 + index for index, name in enumerate(NAMES[:count])}


def made(kind: type[Mapping], count: int, width: int = WIDTH) -> Mapping:
    torch.manual_seed(5)
    return kind(widths(count), width=width, **SMALL.get(kind.__name__, {}))


def ready(kind: type[Mapping], count: int, seed: int = 0) -> Mapping:
    """Return a mapping as the model has it in training: fitted where it has to be."""
    mapping = made(kind, count)
    if kind.fitted:
        mapping.fit(training_rows(count), seed)
    return mapping


def sample(count: int, rows: int = B) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return random features; many rows lack some modality, none lacks all."""
    here = torch.rand(rows, count) < 0.8
    here[torch.arange(rows), torch.arange(rows) % count] = True
    features, present = {}, {}
    for index, (name, width) in enumerate(widths(count).items()):
        mask = torch.arange(5) < torch.randint(1, 6, (rows, 1))
        levels = (torch.randn(rows, 2), torch.randn(rows, 4))
        features[name] = Features(
            torch.randn(rows, 5, width), mask, torch.randn(rows, width), levels
        )
        present[name] = here[:, index]
    return features, present


def training_rows(count: int, rows: int = N) -> Encoded:
    torch.manual_seed(11)
    return Encoded(*sample(count, rows), torch.arange(rows) % 4)


def absent(present: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: ~here for name, here in present.items()}


def replaced(
    features: dict[str, Features], where: dict[str, Tensor], by: float
) -> dict[str, Features]:
    """Return the features with ``by`` in the rows where ``where`` is True."""

    def fill(name: str) -> Features:
        def change(x: Tensor) -> Tensor:
            if x.dtype == torch.bool:
                return x
            return x.masked_fill(where[name].view(-1, *[1] * (x.dim() - 1)), by)

        return features[name].map(change)

    return {name: fill(name) for name in features}


def seen(mapped: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
    """Return what may be looked at: tokens and pooled vectors of rows that are present."""
    return torch.cat(
        [
            part[present[name]].flatten()
            for name in sorted(mapped)
            for part in (mapped[name].tokens, mapped[name].pooled)
        ]
    )


def legacy_numpy_state() -> tuple[object, ...]:
    """Return the state that scikit-learn draws from where it is given no seed."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return (kind, tuple(keys), *rest)


@ALL
def test_keeps_the_contract(kind: type[Mapping]) -> None:
    torch.set_default_dtype(torch.float32)
    results = list(check_part(Part(kind, SMALL.get(kind.__name__, {}), refuse)))
    assert [each for each in results if each.state == "failed"] == []
    skipped = [each.name for each in results if each.state == "skipped"]
    assert skipped == ([] if kind.fitted else ["fitted once"])


@ALL
def test_options_are_keyword_only_and_have_defaults(kind: type[Mapping]) -> None:
    _, first, *options = inspect.signature(kind.__init__).parameters.values()
    assert first.name == "widths"
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    assert all(option.default is not option.empty for option in options)
    assert {option.name: option.default for option in options}["width"] == 64


@ALL
@COUNTS
def test_output_has_the_stated_widths(kind: type[Mapping], count: int) -> None:
    stated = made(kind, count).widths
    assert stated.keys() == widths(count).keys()
    mapping = ready(kind, count)
    assert mapping.widths == stated
    for rows in (B, 1):
        features, present = sample(count, rows)
        mapped = mapping(features, present)
        assert mapped.keys() == features.keys()
        for name, each in mapped.items():
            assert each.tokens.shape == (rows, 5, stated[name])
            assert each.pooled.shape == (rows, stated[name])
            assert each.mask is features[name].mask
            assert each.levels is features[name].levels


@FITTED
@COUNTS
def test_what_does_not_fill_the_width_is_zero_and_said(kind: type[Mapping], count: int) -> None:
    mapping = made(kind, count, width=64)
    rows = training_rows(count)
    three = Encoded(replaced(rows.features, absent(rows.present), 0.0), rows.present, rows.target)
    assert all(isinstance(note, str) for note in mapping.fit(three, 0))
    mapped = mapping(three.features, three.present)
    assert seen(mapped, rows.present).isfinite().all()
    for each in mapped.values():
        filled = (each.pooled != 0).any(0)
        assert filled.sum() > 0
        assert (filled.long().diff() <= 0).all()  # the first dimensions, no others


@ALL
def test_a_modality_absent_from_the_whole_batch(kind: type[Mapping]) -> None:
    features, _ = sample(2)
    present = {"text": torch.ones(B) > 0, "image": torch.zeros(B) > 0}
    mapped = ready(kind, 2)(replaced(features, absent(present), float("nan")), present)
    assert seen(mapped, present).isfinite().all()


@ALL
@COUNTS
def test_every_parameter_learns(kind: type[Mapping], count: int) -> None:
    mapping = ready(kind, count)
    assert not kind.fitted or not list(mapping.parameters())
    for part in ("tokens", "pooled"):
        features, present = sample(count)
        mapping.zero_grad()
        mapped = mapping(features, present)
        total = sum(getattr(each, part).square().sum() for each in mapped.values())
        if list(mapping.parameters()):
            total.backward()
        dead = [n for n, p in mapping.named_parameters() if p.grad is None or not p.grad.any()]
        assert dead == []


@FITTED
@COUNTS
def test_nothing_is_mapped_before_it_is_fitted(kind: type[Mapping], count: int) -> None:
    mapped = made(kind, count)(*sample(count))
    assert all((each.pooled == 0).all() for each in mapped.values())


@ALL
@COUNTS
def test_state_goes_to_another_instance(kind: type[Mapping], count: int) -> None:
    batch = sample(count)
    for mapping in (made(kind, count), ready(kind, count)):
        torch.manual_seed(8)
        other = kind(widths(count), width=WIDTH, **SMALL.get(kind.__name__, {}))
        other.load_state_dict(mapping.state_dict())
        assert torch.equal(seen(other(*batch), batch[1]), seen(mapping(*batch), batch[1]))


@FITTED
def test_a_fit_draws_from_its_seed_alone(kind: type[Mapping]) -> None:
    mapping, train = made(kind, 3), training_rows(3)
    before = torch.get_rng_state(), legacy_numpy_state(), random.getstate()
    mapping.fit(train, 2**62 + 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert legacy_numpy_state() == before[1]
    assert random.getstate() == before[2]
    other = made(kind, 3)
    torch.manual_seed(99)
    other.fit(train, 2**62 + 1)
    batch = sample(3)
    assert torch.equal(seen(other(*batch), batch[1]), seen(mapping(*batch), batch[1]))


@FITTED
@COUNTS
def test_a_fit_works_without_gradients(kind: type[Mapping], count: int) -> None:
    batch, mapping = sample(count), made(kind, count)
    with torch.no_grad():
        mapping.fit(training_rows(count), 0)
    assert torch.equal(seen(mapping(*batch), batch[1]), seen(ready(kind, count)(*batch), batch[1]))
    mapping = made(kind, count)
    with torch.inference_mode():
        mapping.fit(training_rows(count), 0)
        found = mapping(*batch)
    assert torch.equal(seen(found, batch[1]), seen(ready(kind, count)(*batch), batch[1]))


@FITTED
@COUNTS
def test_rows_too_few_or_all_the_same(kind: type[Mapping], count: int) -> None:
    features, present = sample(count, 4)
    first = sorted(features)[0]
    one = {**present, first: torch.arange(4) < 1}
    with pytest.raises(DataError) as error:
        made(kind, count).fit(Encoded(features, one, torch.zeros(4).long()), 0)
    assert f"to learn {first} from, and needs at least 2" in str(error.value)
    check_error(error.value, types=("mapping=linear",))
    everywhere = {name: torch.ones(4) > 0 for name in present}
    same = {**features, first: features[first].map(lambda x: x[:1].expand(4, *x.shape[1:]))}
    with pytest.raises(DataError) as error:
        made(kind, count).fit(Encoded(same, everywhere, torch.arange(4) % 2), 0)
    assert f"{first} features of all 4 training rows" in error.value.message


@ALL
def test_is_made_without_memory(kind: type[Mapping]) -> None:
    with torch.device("meta"):
        mapping = kind(widths(3))
    assert {tensor.device.type for tensor in mapping.state_dict().values()} == {"meta"}
    assert mapping.widths == kind(widths(3)).widths


@ALL
@COUNTS
def test_half_precision_is_near(kind: type[Mapping], count: int) -> None:
    torch.set_default_dtype(torch.float32)
    mapping, (features, present) = ready(kind, count), sample(count)
    half = {
        name: each.map(lambda x: x.bfloat16() if x.is_floating_point() else x)
        for name, each in features.items()
    }
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mapped = seen(mapping(half, present), present).float()
    torch.testing.assert_close(
        mapped, seen(mapping(features, present), present), rtol=0.1, atol=0.1
    )
