"""What every objective promises; new objectives are found and covered by themselves.

The promises are those of ``mmx check``; what follows them is kept by mmx's own besides.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor

from mmx.contract import Part, check_part
from mmx.contract.discovery import find_classes
from mmx.objectives import Criterion, Objective
from mmx.objectives.combined import Combined
from mmx.verbs.check import refuse

Make = Callable[..., Any]


SMALL = {"Cca": {"width": 2}, "Triplet": {"width": 4, "margin": 3.0}}  # B > E; no idle triplets
MIXED = {
    "terms": {"cross_entropy": 1.0, "info_nce": 0.5, "triplet": 2.0, "unimodal": 0.3},
    "options": {"triplet": {"margin": 3.0}},
}
CASES = [(kind, SMALL.get(kind.__name__, {})) for kind in find_classes("objective")] + [
    (Combined, MIXED)
]
EACH = pytest.mark.parametrize(
    ("kind", "options"), CASES, ids=[f"{kind.__name__}-{len(options)}" for kind, options in CASES]
)


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def bound(objective: Objective, batch: Any) -> Criterion:
    torch.manual_seed(1)
    criterion = objective.bind(batch.target, batch.said.outputs.shape[1], batch.widths)
    for parameter in criterion.parameters():
        if parameter.ndim:  # not the log-scale
            parameter.data.normal_(0, 0.7)
    return criterion


def kind_of_target(objective: Objective) -> str:
    return sorted(objective.kinds)[0]


def gradients(loss: Tensor, batch: Any, criterion: Criterion) -> list[Tensor | None]:
    leaves = [*batch.leaves, *criterion.parameters()]
    return list(torch.autograd.grad(loss, leaves, allow_unused=True))


@EACH
def test_keeps_the_contract(kind: type[Objective], options: dict[str, Any]) -> None:
    torch.set_default_dtype(torch.float32)
    results = list(check_part(Part(kind, options, refuse)))
    assert [each for each in results if each.state == "failed"] == []
    skipped = [each.name for each in results if each.state == "skipped"]
    assert skipped == (["accumulated steps"] if kind(**options).compares_rows else [])
    assert kind(**options).name == kind.__module__.rpartition(".")[2]


@EACH
def test_options_are_keyword_only_and_have_defaults(
    kind: type[Objective], options: dict[str, Any]
) -> None:
    for option in inspect.signature(kind).parameters.values():
        assert option.kind is option.KEYWORD_ONLY
        assert option.default is not option.empty


@EACH
def test_aligning_objectives_embed(
    kind: type[Objective], options: dict[str, Any], sample: Make
) -> None:
    objective = kind(**options)
    batch = sample(kind=kind_of_target(objective), presence=1.0)
    criterion = bound(objective, batch)
    if not criterion.aligns:
        with pytest.raises(NotImplementedError) as refused:
            criterion.embed(batch.said.pooled)
        check_error(refused.value, type(criterion).__name__, "modalities")
        return
    embedded = criterion.embed(batch.said.pooled)
    assert list(embedded) == ["audio", "image", "text"]
    assert len({x.shape for x in embedded.values()}) == 1
    for x in embedded.values():
        torch.testing.assert_close(x.norm(dim=1), torch.ones(12))


@EACH
@pytest.mark.parametrize("modalities", [1, 2, 4])
def test_every_parameter_gets_a_gradient(
    kind: type[Objective], options: dict[str, Any], modalities: int, sample: Make
) -> None:
    objective = kind(**options)
    batch = sample(modalities=modalities, kind=kind_of_target(objective), presence=0.8)
    if objective.cross_modal and modalities == 1:
        with pytest.raises(ValueError, match="compares modalities") as error:
            bound(objective, batch)
        check_error(error.value, "two", "only text")
        return
    criterion = bound(objective, batch)
    criterion(batch.said, batch.target).backward()
    for name, parameter in criterion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


@EACH
def test_a_batch_that_says_nothing_is_finite(
    kind: type[Objective], options: dict[str, Any], sample: Make
) -> None:
    """One row, of one modality: no pair, no negative, no covariance."""
    objective = kind(**options)
    whole = sample(rows=4, kind=kind_of_target(objective), presence=0.0)
    criterion = bound(objective, whole)
    batch = whole.changed(lambda x: x[:1])
    loss = criterion(batch.said, batch.target)
    assert loss.isfinite()
    if objective.cross_modal and not objective.reads_outputs:
        assert loss == 0
    loss.backward()
    for name, parameter in criterion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if objective.cross_modal and not objective.reads_outputs:
            assert not parameter.grad.any(), name


@EACH
def test_what_is_absent_does_not_matter(
    kind: type[Objective], options: dict[str, Any], sample: Make
) -> None:
    objective = kind(**options)
    batch = sample(kind=kind_of_target(objective))  # NaN where absent
    criterion = bound(objective, batch)
    filled = batch.changed(lambda x: x.nan_to_num(1e6) if x.is_floating_point() else x)
    results = []
    for each in (batch, filled):
        loss = criterion(each.said, each.target)
        results.append([loss, *gradients(loss, each, criterion)])
        for name, (x, present) in {
            name: (x, each.said.present[name]) for name, x in each.said.pooled.items()
        }.items():
            (found,) = torch.autograd.grad(
                criterion(each.said, each.target), [x], allow_unused=True
            )
            assert found is None or not found[~present].any(), name
    for mine, theirs in zip(*results, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or torch.equal(mine, theirs)
        assert mine is None or mine.isfinite().all()


@EACH
def test_a_batch_twice_over(kind: type[Objective], options: dict[str, Any], sample: Make) -> None:
    """Means stay what they are; a row is told apart from twice as many, its own copy among them."""
    objective = kind(**options)
    batch = sample(kind=kind_of_target(objective), presence=1.0)
    criterion = bound(objective, batch)
    twice = batch.changed(lambda x: torch.cat([x, x]))
    once, again = (criterion(each.said, each.target) for each in (batch, twice))
    grown = {
        "InfoNce": 1.0,
        "Combined": options.get("terms", {}).get("info_nce", 0),
    }
    expected = once + grown.get(kind.__name__, 0) * torch.tensor(2.0).log()
    torch.testing.assert_close(again, expected, rtol=1e-10, atol=1e-10)


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_whatever_the_model_runs_in(
    kind: type[Objective], options: dict[str, Any], dtype: torch.dtype, sample: Make
) -> None:
    torch.set_default_dtype(torch.float32)
    objective = kind(**options)
    batch = sample(kind=kind_of_target(objective))
    criterion = bound(objective, batch)
    half = batch.changed(lambda x: x.detach().to(dtype) if x.is_floating_point() else x)
    single = half.changed(lambda x: x.float() if x.is_floating_point() else x)
    plain = criterion(single.said, single.target)
    with torch.autocast("cpu", dtype=dtype):
        loss = criterion(half.said, half.target)
        again = criterion(single.said, single.target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(again, plain, rtol=1e-6, atol=1e-6)
