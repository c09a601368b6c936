"""What every regulariser promises, whatever its formula.

The promises are those of ``mmx check``; what follows them is kept by mmx's own besides.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmx.contract import Part, check
from mmx.contract.discovery import variants
from mmx.errors import TransferError
from mmx.modalities import Features, StepRows
from mmx.transfer.regularizers import Penalty, Step
from mmx.verbs.check import refuse

NAMES = sorted(
    path.stem
    for path in (Path(__file__).parents[2] / "configs" / "regularizer").glob("*.yaml")
    if path.stem != "none"
)
MODEL = ["delta", "distill", "rkd", "similarity", "lwf", "co_tuning"]  # look at f0 of a batch
ROWS = ["mmd", "coral"]  # look at f0 of the source's rows
OF_FEATURES = [*MODEL, *ROWS, "bss", "bi_tuning"]
WITH_STATE = ["lwf", "co_tuning", "bi_tuning"]

EACH = pytest.mark.parametrize("name", NAMES)
EACH_OF_FEATURES = pytest.mark.parametrize("name", OF_FEATURES)


def test_names():
    assert sorted([*OF_FEATURES, "l2_sp", "stochnorm"]) == NAMES


@pytest.mark.parametrize("kind", variants("regularizer"))
def test_keeps_the_contract(kind):
    results = list(check(Part(kind, {}, refuse)))
    assert [each for each in results if each.state == "failed"] == []
    expected = [] if kind.zero_at_start else ["zero at the start"]
    expected += ["gradients"] if kind.__name__ == "Stochnorm" else []
    assert [each.name for each in results if each.state == "skipped"] == expected


def test_what_is_zero_at_the_start(regularizer):
    found = {name for name in NAMES if regularizer(name).zero_at_start}
    assert found == {"delta", "distill", "rkd", "similarity", "lwf"}


@EACH
def test_what_has_a_state(world, bound, name):
    assert bool(bound(world(), name).state_dict()) == (name in WITH_STATE)


def value(penalty: Penalty, step: Step) -> torch.Tensor:
    torch.manual_seed(3)
    return penalty(step)


@EACH
def test_a_scalar_that_is_the_same_again(world, bound, name):
    one, other = world(), world()
    first = value(bound(one, name), one.step())
    assert first.shape == ()
    assert first.isfinite()
    assert torch.equal(first, value(bound(other, name), other.step()))
    assert (first == 0) == (name == "stochnorm")


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("l2_sp", "stochnorm")])
def test_strength_is_a_factor(world, bound, name):
    here = world()
    found = [value(bound(here, name, strength=s), here.step()) for s in (0.0, 1.0, 2.5)]
    assert found[0] == 0
    torch.testing.assert_close(found[2], 2.5 * found[1])


def test_two_copies_of_a_batch_shrink_corals_covariance_by_a_known_factor(world, bound, on_batch):
    here = world()
    penalty = bound(here, "coral", strength=4.0)
    twice = value(penalty, here.step(on_batch(here.batch, lambda x: torch.cat([x, x]))))
    expected = []
    for name in ("image", "tabular"):
        f = here.step().features[name].pooled[here.batch.present[name]]
        n = len(f)
        rows = here.source_features()[name]
        expected.append(((rows.T.cov() - f.T.cov() * (2 * n - 2) / (2 * n - 1)) ** 2).mean())
    torch.testing.assert_close(twice, torch.stack(expected).mean())


@EACH_OF_FEATURES
def test_what_stands_in_absent_rows_is_nothing(world, bound, name):
    here = world()
    penalty = bound(here, name)

    def poisoned(modality: str, features: Features) -> Features:
        absent = ~here.batch.present[modality]

        def poison(x):
            x = x.clone()
            x[absent] = torch.nan if x.is_floating_point() else False
            return x

        return features.map(poison)

    step = here.step()
    bad = here.step()
    bad = replace(bad, features={k: poisoned(k, each) for k, each in bad.features.items()})
    found, expected = [], []
    for each, gradients in ((step, expected), (bad, found)):
        here.model.zero_grad(set_to_none=True)
        penalty_value = value(penalty, each) if name != "delta" else value(penalty, here.step())
        penalty_value.backward()
        gradients.append(penalty_value.detach())
        gradients.extend(p.grad for p in here.model.parameters() if p.grad is not None)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@EACH_OF_FEATURES
def test_gradients_reach_the_shared_encoders_and_never_the_source(world, bound, name):
    here = world()
    before = {k: v.clone() for k, v in here.source.state_dict().items()}
    penalty = bound(here, name)
    value(penalty, here.step()).backward()
    reached = {n for n, p in here.model.named_parameters() if p.grad is not None}
    wanted = {n for n in here.shared if n.startswith("encoders.")}
    assert wanted <= reached
    # One neuron of a layer norm may have no gradient, an encoder must have one.
    for prefix in ("encoders.image.stages.0.0.weight", "encoders.tabular.layers.0.0.weight"):
        assert dict(here.model.named_parameters())[prefix].grad.abs().sum() > 0
    extra = {"encoders.text.words.embedding.weight"} if name in ("bss", "bi_tuning") else set()
    extra |= {n for n in reached if not n.startswith("encoders.")} if name == "bi_tuning" else set()
    assert reached == wanted | extra
    assert all(p.grad is None and not p.requires_grad for p in here.source.parameters())
    assert not here.source.training
    for key, tensor in here.source.state_dict().items():
        assert torch.equal(tensor, before[key])
    for key, parameter in penalty.named_parameters():
        assert parameter.grad is not None, key


@pytest.mark.parametrize("name", WITH_STATE)
def test_the_state_goes_round(world, bound, name):
    here, other = world(), world()
    penalty = bound(here, name)
    with torch.no_grad():
        for parameter in penalty.parameters():
            parameter.add_(torch.randn_like(parameter))
    again = bound(other, name)
    assert value(again, here.step()) != value(penalty, here.step())
    again.load_state_dict(penalty.state_dict())
    assert torch.equal(value(again, here.step()), value(penalty, here.step()))


@EACH_OF_FEATURES
def test_a_batch_of_one_row_or_of_none_that_counts(world, bound, on_batch, name):
    here = world()
    penalty = bound(here, name)
    for row in (1, 5, 7):  # image and text; text alone; all
        step = here.step(on_batch(here.batch, lambda x, at=row: x[at : at + 1]))
        found = value(penalty, step)
        assert found.isfinite()
        if row == 5 and name not in ("bss", "bi_tuning"):
            assert found == 0


@pytest.mark.parametrize("name", ["distill", "lwf", "co_tuning"])
def test_rows_with_only_what_the_source_cannot_read_count_nothing(world, bound, on_batch, name):
    here = world()
    present = {**here.batch.present, "text": torch.ones(24, dtype=torch.bool)}
    batch = replace(here.batch, present=present, complete=frozenset({"text"}))
    penalty = bound(here, name)
    kept = (present["image"] | present["tabular"]).nonzero().squeeze(1)
    assert len(kept) < 24
    fewer = on_batch(batch, lambda x: x[kept])
    torch.testing.assert_close(value(penalty, here.step(batch)), value(penalty, here.step(fewer)))


@pytest.mark.parametrize("name", [*MODEL])
def test_refuses_without_a_source(world, regularizer, name):
    with pytest.raises(TransferError) as caught:
        regularizer(name).bind(world().make_given(reference=None))
    assert str(caught.value) == f"regularizer={name} needs a trained source"


@pytest.mark.parametrize("name", [*MODEL, *ROWS])
def test_refuses_a_source_of_other_modalities(world, regularizer, name):
    given = world().make_given(widths={"text": 5})
    with pytest.raises(TransferError) as caught:
        regularizer(name).bind(given)
    assert str(caught.value) == (
        f"regularizer={name}: the source can read no modality of the target\n"
        "  tip: regularizer=none"
    )


@pytest.mark.parametrize(("name", "instead"), [("co_tuning", "rkd"), ("bi_tuning", "l2_sp")])
def test_refuses_targets_without_classes(world, regularizer, name, instead):
    with pytest.raises(TransferError) as caught:
        regularizer(name).bind(world().make_given(kind="regression"))
    assert str(caught.value) == (
        f"regularizer={name} needs classes, and the target is of kind regression\n"
        f"  tip: regularizer={instead}"
    )


@EACH
def test_needs_what_it_asks_for(regularizer, name):
    needs = regularizer(name).needs
    assert ("source_rows" in needs) == (name in ROWS)
    assert ("model" in needs) == (name in MODEL)
    assert ("classes" in needs) == (name in ("distill", "lwf", "co_tuning", "bi_tuning"))
    assert ("weights" in needs) == (name in ("l2_sp", "delta", "bss", "bi_tuning", "stochnorm"))
    assert regularizer(name).watches == (name == "delta")
    assert regularizer(name).weight_decay == (name != "l2_sp")


@pytest.mark.parametrize("name", ["delta", "distill", "lwf", "co_tuning"])
@pytest.mark.parametrize("sizes", [[24], [5, 1, 11, 7], [1] * 24])
def test_the_parts_of_an_accumulated_step_sum_to_the_penalty_of_its_rows(
    world, bound, on_batch, name, sizes
):
    here = world()
    penalty = bound(here, name)
    whole = value(penalty, here.step())
    rows, parts = StepRows(here.batch.target, here.batch.present), []
    for at in torch.arange(24).split(sizes):
        batch = on_batch(here.batch, lambda x, at=at: x[at])
        complete = frozenset(name for name, there in batch.present.items() if there.all())
        parts.append(penalty.part(here.step(replace(batch, complete=complete)), rows))
    torch.testing.assert_close(sum(parts), whole)


@EACH
def test_it_says_whether_it_compares_rows(regularizer, name):
    comparing = ("bss", "coral", "mmd", "rkd", "similarity", "bi_tuning")
    assert regularizer(name).compares_rows == (name in comparing)
