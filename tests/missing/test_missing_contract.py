"""What every treatment of missing modalities promises; new ones are covered by themselves.

The promises are those of ``mmx check``; what follows them is kept by mmx's own besides.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from mmx.contract import Part, check_part
from mmx.contract.discovery import find_classes
from mmx.missing import Missing
from mmx.missing.base import Shape
from mmx.missing.drop import Drop
from mmx.missing.generate import Generate
from mmx.missing.knn import KnnImputation
from mmx.missing.mask import Mask
from mmx.missing.mean import Mean
from mmx.modalities import Encoded, Features
from mmx.verbs.check import refuse

B, N, T = 8, 50, 5
NAMES = ("text", "image", "audio", "tabular")  # unsorted on purpose
LEVELS = {"text": (2, 4), "image": (3,), "audio": (), "tabular": (2,)}
Given = tuple[dict[str, Features], dict[str, Tensor]]


ALL = pytest.mark.parametrize("kind", find_classes("missing"))
FITTED = pytest.mark.parametrize("kind", [kind for kind in find_classes("missing") if kind.fitted])
PLAIN = pytest.mark.parametrize(
    "kind", [kind for kind in find_classes("missing") if not kind.fitted]
)
COUNTS = pytest.mark.parametrize("count", [1, 2, 4])


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def shapes(count: int) -> dict[str, Shape]:
    return {name: Shape(3 + index, LEVELS[name]) for index, name in enumerate(NAMES[:count])}


def made(kind: type[Missing], count: int) -> Missing:
    return kind(shapes(count))


def ready(kind: type[Missing], count: int, seed: int = 0) -> Missing:
    treatment = made(kind, count)
    if kind.fitted:
        treatment.fit(training_rows(count), seed)
    return treatment


def sample(count: int, rows: int = B) -> Given:
    """Return random features; many rows lack some modality, none lacks all."""
    here = torch.rand(rows, count) < 0.6
    here[torch.arange(rows), torch.arange(rows) % count] = True
    features, present = {}, {}
    for index, (name, shape) in enumerate(shapes(count).items()):
        mask = torch.arange(T) < torch.randint(1, T + 1, (rows, 1))
        levels = tuple(torch.randn(rows, width) for width in shape.levels)
        features[name] = Features(
            torch.randn(rows, T, shape.pooled), mask, torch.randn(rows, shape.pooled), levels
        )
        present[name] = here[:, index]
    return features, present


def training_rows(count: int, rows: int = N) -> Encoded:
    torch.manual_seed(11)
    return Encoded(*sample(count, rows), torch.arange(rows) % 4)


def only(row: int, features: dict[str, Features], present: dict[str, Tensor]) -> Given:
    """Return a batch of one row."""

    def pick(x: Tensor) -> Tensor:
        return x[row : row + 1]

    return (
        {name: each.map(pick) for name, each in features.items()},
        {name: pick(here) for name, here in present.items()},
    )


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


def parts(features: Features) -> list[Tensor]:
    return [features.tokens, features.mask, features.pooled, *features.levels]


def numbers(features: Features) -> list[Tensor]:
    return [part for part in parts(features) if part.is_floating_point()]


def equal(one: Given, other: Given) -> bool:
    """Return whether presence and all that is present are the same, bit for bit."""
    (features, present), (others, presence) = one, other
    return all(
        torch.equal(present[name], presence[name])
        and all(
            torch.equal(a[present[name]], b[present[name]])
            for a, b in zip(parts(features[name]), parts(others[name]), strict=True)
        )
        for name in features
    )


def legacy_numpy_state() -> tuple[object, ...]:
    """Return the state that scikit-learn draws from where it is given no seed."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return (kind, tuple(keys), *rest)


def test_what_is_fitted_and_what_drops_rows() -> None:
    fitted = {kind for kind in find_classes("missing") if kind.fitted}
    assert {Mean, KnnImputation, Generate} <= fitted
    assert not Mask.fitted
    assert not Drop.fitted
    assert Drop.drops_rows
    assert not any(kind.drops_rows for kind in (Mask, Mean, KnnImputation, Generate))


@ALL
def test_keeps_the_contract(kind: type[Missing]) -> None:
    torch.set_default_dtype(torch.float32)
    results = list(check_part(Part(kind, {}, refuse)))
    assert [each for each in results if each.state == "failed"] == []
    skipped = [each.name for each in results if each.state == "skipped"]
    assert skipped == ([] if kind.fitted else ["fitted anew"])


@ALL
def test_options_are_keyword_only_and_have_defaults(kind: type[Missing]) -> None:
    _, first, *options = inspect.signature(kind.__init__).parameters.values()
    assert first.name == "shapes"
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    assert all(option.default is not option.empty for option in options)


@PLAIN
@COUNTS
def test_what_is_not_fitted_changes_nothing(kind: type[Missing], count: int) -> None:
    features, present = sample(count)
    treated, presence = made(kind, count)(features, present)
    assert all(treated[name] is features[name] for name in features)
    assert all(presence[name] is present[name] for name in present)
    with pytest.raises(NotImplementedError):
        made(kind, count).fit(training_rows(count), 0)


@FITTED
@COUNTS
def test_before_the_first_fit_it_is_like_mask(kind: type[Missing], count: int) -> None:
    features, present = sample(count)
    treated, presence = made(kind, count)(features, present)
    for name, each in treated.items():
        assert torch.equal(presence[name], present[name])
        pairs = zip(parts(each), parts(features[name]), strict=True)
        assert all(torch.equal(new, old) for new, old in pairs)  # of absent rows, too


@FITTED
@COUNTS
def test_what_is_absent_is_filled_in(kind: type[Missing], count: int) -> None:
    features, present = sample(count)
    present[NAMES[0]][0] = False  # of a single modality, too
    dirty = replaced(features, absent(present), float("nan"))
    treated, presence = ready(kind, count)(dirty, present)
    for name, each in treated.items():
        away = ~present[name]
        assert away.any()
        assert presence[name].all()
        assert all(part.isfinite().all() for part in numbers(each))
        assert torch.equal(each.tokens[away, 0], each.pooled[away])
        assert (each.tokens[away, 1:] == 0).all()
        assert torch.equal(each.mask[away], (torch.arange(T) == 0).expand(int(away.sum()), T))
        assert each.pooled[away].any()
        assert all(level[away].any() for level in each.levels)


@ALL
@COUNTS
def test_what_is_present_passes_as_it_is(kind: type[Missing], count: int) -> None:
    features, present = sample(count)
    dirty = replaced(features, absent(present), float("nan"))
    inputs = {name: [part.requires_grad_() for part in numbers(f)] for name, f in dirty.items()}
    treated, _ = ready(kind, count)(dirty, present)
    for name, each in treated.items():
        here = present[name]
        for new, old in zip(parts(each), parts(features[name]), strict=True):
            assert torch.equal(new[here], old[here])
    seen = [part for name in inputs for part in numbers(treated[name])]
    weights = [torch.randn_like(part) for part in seen]
    kept = [part.nan_to_num() if not kind.fitted else part for part in seen]
    sum((w * part).sum() for w, part in zip(weights, kept, strict=True)).backward()
    given = [(name, x) for name, each in inputs.items() for x in each]
    for (name, x), weight in zip(given, weights, strict=True):
        assert x.grad is not None
        assert torch.equal(x.grad[present[name]], weight[present[name]])
        if kind.fitted:  # what is imputed has no gradient: neither here nor from elsewhere
            assert (x.grad[~present[name]] == 0).all()


@FITTED
def test_a_modality_that_no_training_row_has_stays_absent(kind: type[Missing]) -> None:
    train = training_rows(3)
    never = {**train.present, "image": torch.zeros(N) > 0, "text": torch.ones(N) > 0}
    treatment = ready(kind, 3)  # a later fit forgets what an earlier one knew
    treatment.fit(Encoded(train.features, never, train.target), 0)
    assert all(tensor.isfinite().all() for tensor in treatment.state_dict().values())
    features, present = sample(3)
    treated, presence = treatment(features, present)
    assert torch.equal(presence["image"], present["image"])
    assert presence["text"].all()
    assert presence["audio"].all()
    alone = {name: torch.full_like(here, name == "image") for name, here in present.items()}
    treated, presence = treatment(features, alone)  # nothing that was learned from is there
    assert all(here.all() for here in presence.values())
    assert all(part.isfinite().all() for each in treated.values() for part in numbers(each))


@FITTED
@COUNTS
def test_state_goes_to_another_instance(kind: type[Missing], count: int) -> None:
    given = sample(count)
    given[1][NAMES[0]][0] = False
    for treatment in (made(kind, count), ready(kind, count)):
        other = made(kind, count)
        other.load_state_dict(treatment.state_dict())
        assert equal(other(*given), treatment(*given))
        other.load_state_dict(made(kind, count).state_dict())
        assert equal(other(*given), given)


@FITTED
@COUNTS
def test_a_fit_forgets_an_earlier_one(kind: type[Missing], count: int) -> None:
    few = Encoded(*sample(count, 12), torch.zeros(12))
    given = sample(count)
    given[1][NAMES[0]][0] = False
    fresh, again = made(kind, count), ready(kind, count)
    fresh.fit(few, 4)
    assert not equal(fresh(*given), again(*given))
    again.fit(few, 4)
    assert equal(fresh(*given), again(*given))


@FITTED
def test_a_fit_draws_from_its_seed_alone(kind: type[Missing]) -> None:
    treatment, train, given = made(kind, 4), training_rows(4), sample(4)
    before = torch.get_rng_state(), legacy_numpy_state(), random.getstate()
    treatment.fit(train, 2**62 + 1)
    treatment(*given)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert legacy_numpy_state() == before[1]
    assert random.getstate() == before[2]
    other = made(kind, 4)
    torch.manual_seed(99)
    other.fit(train, 2**62 + 1)
    assert equal(other(*given), treatment(*given))


@FITTED
def test_is_made_without_memory(kind: type[Missing]) -> None:
    with torch.device("meta"):
        treatment = kind(shapes(3))
    assert {tensor.device.type for tensor in treatment.state_dict().values()} == {"meta"}


@FITTED
@COUNTS
def test_half_precision_is_near(kind: type[Missing], count: int) -> None:
    torch.set_default_dtype(torch.float32)
    features, present = sample(count)
    treatment = ready(kind, count)
    half = {
        name: each.map(lambda x: x.bfloat16() if x.is_floating_point() else x)
        for name, each in features.items()
    }
    whole = {
        name: each.map(lambda x: x.float() if x.is_floating_point() else x)
        for name, each in half.items()
    }
    with torch.autocast("cpu", dtype=torch.bfloat16):
        treated, _ = treatment(half, present)
    expected, _ = treatment(whole, present)
    for name, each in treated.items():
        for new, old in zip(numbers(each), numbers(expected[name]), strict=True):
            assert new.dtype == torch.bfloat16
            torch.testing.assert_close(new, old.bfloat16(), rtol=0, atol=0)
