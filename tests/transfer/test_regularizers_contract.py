"""What every regulariser promises, whatever its formula.

The promises are those of ``mmx check``; what follows them is kept by mmx's own besides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import catalogue
import pytest
import torch
from refusals import check_error

from mmx.contract import Part, check_part
from mmx.contract.discovery import find_classes
from mmx.contract.world import ModelReference, World, make_batch
from mmx.errors import TransferError
from mmx.modalities import Features, StepRows
from mmx.transfer.regularizers import Penalty, Regularizer, RegularizerContext, Step
from mmx.verbs.check import refuse

CLASSES: dict[str, type[Regularizer]] = catalogue.classes("regularizer")
WITH_MODEL = [name for name, kind in CLASSES.items() if "model" in kind.needs]
OF_THE_SOURCE = [n for n, kind in CLASSES.items() if kind.needs & {"model", "source_rows"}]
OF_FEATURES = [n for n, kind in CLASSES.items() if kind.acts_on not in ("weights", "statistics")]
WITH_STRENGTH = catalogue.with_key("regularizer", "strength")
OF_THE_NETWORK = [n for n, kind in CLASSES.items() if kind.equip is not Regularizer.equip]
"""Those that change the network, not the loss: their penalty is always 0."""
PENALISING = [name for name in CLASSES if name not in OF_THE_NETWORK]

EACH = pytest.mark.parametrize("name", CLASSES)
EACH_PENALISING = pytest.mark.parametrize("name", PENALISING)
EACH_OF_FEATURES = pytest.mark.parametrize("name", OF_FEATURES)


@pytest.mark.parametrize("kind", find_classes("regularizer"))
def test_keeps_the_contract(kind):
    results = list(check_part(Part(kind, {}, refuse)))
    assert [each for each in results if each.state == "failed"] == []
    expected = [] if kind.zero_at_start else ["zero at the start"]
    expected += ["gradients"] if kind.equip is not Regularizer.equip else []
    by_row = kind.acts_on not in ("weights", "statistics") and not kind.compares_rows
    expected += [] if by_row else ["accumulated steps"]
    assert [each.name for each in results if each.state == "skipped"] == expected


@EACH_PENALISING
def test_it_says_whether_it_is_zero_at_the_start(world, bound, name):
    here = world(moved=0.0)
    found = value(bound(here, name), here.step())
    assert bool(found.abs() < 1e-9) == CLASSES[name].zero_at_start


@EACH
def test_its_state_is_what_trains_along(world, bound, name):
    penalty = bound(world(), name)
    assert list(penalty.state_dict()) == [key for key, _ in penalty.named_parameters()]


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
    assert (first == 0) == (name in OF_THE_NETWORK)


@pytest.mark.parametrize("name", WITH_STRENGTH)
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

    reads_modules = CLASSES[name].reads_modules
    step = here.step()
    bad = here.step()
    bad = replace(bad, features={k: poisoned(k, each) for k, each in bad.features.items()})
    found, expected = [], []
    for each, gradients in ((step, expected), (bad, found)):
        here.model.zero_grad(set_to_none=True)
        # One that reads modules of encoders takes what they said last.
        penalty_value = value(penalty, here.step() if reads_modules else each)
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
    extra = set() if name in OF_THE_SOURCE else {"encoders.text.words.embedding.weight"}
    behind = {n for n in reached if not n.startswith("encoders.")}
    assert reached == wanted | extra | behind
    assert bool(behind) == CLASSES[name].reads_outputs
    assert all(p.grad is None and not p.requires_grad for p in here.source.parameters())
    assert not here.source.training
    for key, tensor in here.source.state_dict().items():
        assert torch.equal(tensor, before[key])
    for key, parameter in penalty.named_parameters():
        assert parameter.grad is not None, key


@EACH
def test_the_state_goes_round(world, bound, name):
    here, other = world(), world()
    penalty = bound(here, name)
    with torch.no_grad():
        for parameter in penalty.parameters():
            parameter.add_(torch.randn_like(parameter))
    again = bound(other, name)
    moved = value(again, other.step()) != value(penalty, here.step())
    assert moved == bool(penalty.state_dict())
    again.load_state_dict(penalty.state_dict())
    assert torch.equal(value(again, other.step()), value(penalty, here.step()))


@EACH_OF_FEATURES
def test_a_batch_of_one_row_or_of_none_that_counts(world, bound, on_batch, name):
    here = world()
    penalty = bound(here, name)
    for row in (1, 5, 7):  # image and text; text alone; all
        step = here.step(on_batch(here.batch, lambda x, at=row: x[at : at + 1]))
        found = value(penalty, step)
        assert found.isfinite()
        if row == 5 and name in OF_THE_SOURCE:
            assert found == 0


@pytest.mark.parametrize("name", OF_THE_SOURCE)
def test_rows_with_only_what_the_source_cannot_read_count_nothing(world, bound, on_batch, name):
    here = world()
    present = {**here.batch.present, "text": torch.ones(24, dtype=torch.bool)}
    batch = replace(here.batch, present=present, complete=frozenset({"text"}))
    penalty = bound(here, name)
    kept = (present["image"] | present["tabular"]).nonzero().squeeze(1)
    assert len(kept) < 24
    fewer = on_batch(batch, lambda x: x[kept])
    torch.testing.assert_close(value(penalty, here.step(batch)), value(penalty, here.step(fewer)))


@pytest.mark.parametrize("name", WITH_MODEL)
def test_refuses_without_a_source(world, regularizer, name):
    with pytest.raises(TransferError) as caught:
        regularizer(name).bind(world().make_context(reference=None))
    check_error(caught.value, f"regularizer={name}", "source")


@pytest.mark.parametrize("name", OF_THE_SOURCE)
def test_refuses_a_source_of_other_modalities(world, regularizer, name):
    context = world().make_context(widths={"text": 5})
    with pytest.raises(TransferError) as caught:
        regularizer(name).bind(context)
    check_error(
        caught.value, f"regularizer={name}", "source", "modality", types=("regularizer=none",)
    )


class RecordingReference(ModelReference):
    """A source that counts how often its fusion and head are asked for."""

    decided = 0

    def decide(self, *given: Any) -> torch.Tensor:
        self.decided += 1
        return super().decide(*given)

    def decision(self) -> torch.nn.Module:
        self.decided += 1
        return super().decision()


@EACH
def test_it_says_what_it_reads_of_the_source(world, regularizer, name):
    here, asked = world(), []
    reference = RecordingReference(here.source)
    context = here.make_context(
        reference=reference, source_features=lambda: asked.append(name) or here.source_features()
    )
    made = regularizer(name)
    value(made.bind(context).to(here.dtype), here.step())
    assert made.reads_source_outputs == (reference.decided > 0)
    assert ("source_rows" in made.needs) == (len(asked) > 0)
    assert "classes" in made.needs or not made.reads_source_outputs


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in WITH_MODEL])
def test_binds_without_a_source(world, regularizer, name):
    here = world()
    penalty = regularizer(name).bind(here.make_context(reference=None)).to(here.dtype)
    assert value(penalty, here.step()).isfinite()


def find_refusal(made: Regularizer, context: RegularizerContext) -> TransferError | None:
    """Return what a regulariser says against a model, if anything."""
    try:
        made.check(context.model, context.shared)
        made.bind(context)
    except TransferError as error:
        return error
    return None


@EACH
def test_targets_without_classes(world, regularizer, name):
    here, made = world(), regularizer(name)
    batch = replace(here.batch, target=torch.randn(24, dtype=here.dtype))
    context = here.make_context(kind="regression")
    if "classes" not in made.needs:
        penalty = made.bind(context).to(here.dtype)
        expected = value(penalty, here.step())
        assert torch.equal(value(penalty, here.step(batch)), expected)
        return
    if (refusal := find_refusal(made, context)) is None:
        assert made.reads_source_outputs  # the classes are then the source's
        return
    needed = f"regularizer={name} needs classes, and the target is of kind regression"
    assert refusal.message == needed
    group, _, instead = refusal.tip.partition("=")
    assert (group, "classes" in CLASSES[instead].needs) == ("regularizer", False)


@EACH
def test_one_that_refuses_where_nothing_was_copied_says_that_it_needs_weights(
    world, regularizer, name
):
    made, context = regularizer(name), world().make_context(shared=frozenset())
    assert find_refusal(made, context) is None or "weights" in made.needs


@EACH
def test_it_says_whether_it_watches_the_encoders(world, bound, name):
    here = world()
    penalty = bound(here, name)
    hooks = [m for m in here.model.modules() if m._forward_hooks or "forward" in vars(m)]
    assert CLASSES[name].reads_modules == bool(hooks)
    assert penalty is not None  # hooks may end with their penalty


@EACH
def test_one_in_place_of_weight_decay_pulls_what_is_new_towards_zero(world, bound, name):
    here = world()
    penalty_value = value(bound(here, name), here.step())
    head, pull = here.model.head.weight, None
    if penalty_value.requires_grad:
        (pull,) = torch.autograd.grad(penalty_value, head, allow_unused=True)
    decays = pull is not None and torch.cosine_similarity(pull.ravel(), head.ravel(), 0) > 0.999
    assert CLASSES[name].weight_decay == (not decays)


def sum_of_parts(here: World, penalty: Penalty, sizes: list[int], on_batch: Any) -> torch.Tensor:
    """Return the sum of a penalty's parts, its batch taken in batches of these sizes."""
    rows, parts = StepRows(here.batch.target, here.batch.present), []
    for at in torch.arange(24).split(sizes):
        batch = on_batch(here.batch, lambda x, at=at: x[at])
        complete = frozenset(name for name, there in batch.present.items() if there.all())
        parts.append(penalty.part(here.step(replace(batch, complete=complete)), rows))
    return sum(parts)


@EACH_OF_FEATURES
def test_it_says_whether_it_compares_rows(world, bound, on_batch, name):
    here = world(batch=make_batch(missing=False))
    penalty = bound(here, name)
    whole = value(penalty, here.step())
    found = sum_of_parts(here, penalty, [5, 1, 11, 7], on_batch)
    assert CLASSES[name].compares_rows == (not torch.allclose(found, whole))


@pytest.mark.parametrize("name", [n for n in OF_FEATURES if not CLASSES[n].compares_rows])
@pytest.mark.parametrize("sizes", [[24], [5, 1, 11, 7], [1] * 24])
def test_the_parts_of_an_accumulated_step_sum_to_the_penalty_of_its_rows(
    world, bound, on_batch, name, sizes
):
    here = world()
    penalty = bound(here, name)
    if type(penalty).part is Penalty.part:  # it counts rows, whatever they lack
        here.batch = make_batch(missing=False)
    whole = value(penalty, here.step())
    torch.testing.assert_close(sum_of_parts(here, penalty, sizes, on_batch), whole)
