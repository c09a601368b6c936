"""The contract of a regulariser, as checks; see :mod:`mmx.transfer.regularizers`.

Shape legend: ``B`` batch, ``D`` width, ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmx.contract.base import Broken, Check, Part, Untested
from mmx.contract.compare import distance, expect_same, number, shape
from mmx.contract.options import options_are_sound
from mmx.contract.state import expect_same_state, load
from mmx.contract.world import World, of_batch
from mmx.modalities import Features
from mmx.transfer.regularizers import Penalty, Regularizer, Step

SEED = 3
DEEP = 3000.0
"""Rounding of a penalty behind encoders: about 4e-4 of it in float32."""
SUMMED = 1.75
"""A batch twice over may change an estimate of a distribution, by less than this factor."""
MADE, REPEATED = "made and called", "the same again"


@dataclass(frozen=True)
class RegularizerSubject:
    """A regulariser and the source and target that it is tried on.

    Attributes:
        part: The class and its options.
        make: ``make()``.
    """

    part: Part
    make: Callable[[], Regularizer]

    def world(self, moved: float = 0.3, dtype: torch.dtype = torch.float32) -> World:
        """Return a source and a target beside it."""
        return World(moved=moved, dtype=dtype)

    def bound(self, world: World, seed: int = 1) -> Penalty:
        """Return the penalty of a world."""
        regularizer = self.make()
        regularizer.check(world.model, world.shared)
        regularizer.equip(world.model, world.shared)
        torch.manual_seed(seed)
        return regularizer.bind(world.given()).to(world.dtype)


def subject(part: Part) -> RegularizerSubject:
    """Return a part as the subject of the checks."""
    return RegularizerSubject(part, part.make)


def value(penalty: Penalty, step: Step) -> Tensor:
    """Return a penalty, draws from a seed."""
    torch.manual_seed(SEED)
    found = penalty(step)
    if not isinstance(found, Tensor) or found.shape != ():
        seen = shape(found) if isinstance(found, Tensor) else type(found).__name__
        raise Broken(f"expected a scalar, strength · R; seen {seen}")
    return found


def is_made(subject: RegularizerSubject) -> str:
    """Check that it binds to a model and gives a finite penalty, never below zero."""
    world = subject.world()
    found = value(subject.bound(world), world.step())
    if not found.isfinite():
        raise Broken(f"expected a finite penalty; seen {found.item()}")
    if found < 0:
        raise Broken(f"expected a penalty of 0 or more; seen {found.item():.3g}")
    return f"R = {found.item():.3g} on a target that has moved"


def is_zero_at_the_start(subject: RegularizerSubject) -> str:
    """Check R(w0) = 0 where ``zero_at_start`` says so."""
    if not subject.make().zero_at_start:
        raise Untested("zero_at_start does not say that R(w0) = 0")
    world = subject.world(moved=0.0)
    found = value(subject.bound(world), world.step())
    if found.abs() > 1e-6:
        raise Broken(f"expected 0 where the target starts, as it states; seen {found.item():.3g}")
    return "0 where the target starts"


def keeps_the_dtype(subject: RegularizerSubject) -> str:
    """Check that the penalty is in float32 whatever the model runs in."""
    world = subject.world()
    penalty = subject.bound(world)
    plain = value(penalty, world.step())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(penalty, world.step())
    for each, where in ((plain, "float32"), (found, "autocast to bfloat16")):
        if each.dtype != torch.float32 or not each.isfinite():
            raise Broken(f"expected a finite float32; seen {each.item()} {each.dtype} in {where}")
    return "float32, also under autocast to bfloat16"


def gradients_reach_the_target(subject: RegularizerSubject) -> str:
    """Check that gradients reach the target and its own parameters, and never the source."""
    world = subject.world()
    before = {name: tensor.clone() for name, tensor in world.source.state_dict().items()}
    penalty, step = subject.bound(world), world.step()
    found = value(penalty, step)
    if not found.requires_grad:
        if type(subject.make()).equip is not Regularizer.equip:
            raise Untested("it changes the network, not the loss")
        raise Broken("expected a gradient in the target's parameters; the penalty has none")
    found.backward()  # type: ignore[no-untyped-call]
    reached = {n: p.grad for n, p in world.model.named_parameters() if p.grad is not None}
    if not any(gradient.any() for gradient in reached.values()):
        raise Broken("expected a gradient in the target's parameters; none reaches them")
    wrong = [name for name, gradient in reached.items() if not gradient.isfinite().all()]
    if wrong:
        raise Broken(f"expected finite gradients; that of {wrong[0]} is not")
    dead = [n for n, p in penalty.named_parameters() if p.requires_grad and p.grad is None]
    if dead:
        raise Broken(f"expected a gradient in its own parameters; none reaches {dead[0]}")
    for name, parameter in world.source.named_parameters():
        if parameter.grad is not None or parameter.requires_grad:
            raise Broken(f"expected the source to stay frozen; {name} asks for a gradient")
    if any(distance(x, before[name]) > 0 for name, x in world.source.state_dict().items()):
        raise Broken("expected the source to stay as it is; it is changed")
    return f"in {len(reached)} of the target's tensors, none in the source's"


def is_the_same_again(subject: RegularizerSubject) -> str:
    """Check that one seed gives one penalty."""
    worlds = [subject.world(), subject.world()]
    found = [value(subject.bound(world), world.step()) for world in worlds]
    expect_same(found[1], found[0], "the same penalty from the same seed", "bound twice")
    return "from the same seed"


def does_not_grow_with_the_batch(subject: RegularizerSubject) -> str:
    """Check that a batch twice over has the same penalty: a strength means the same at any size."""
    world = subject.world(dtype=torch.float64)  # two copies of a row are equal to the last bit
    penalty, regularizer = subject.bound(world), subject.make()
    once = value(penalty, world.step())
    twice = value(penalty, world.step(of_batch(world.batch, lambda x: torch.cat([x, x]))))
    expected, seen = "a mean over the batch, the same at every size", "the same rows twice over"
    if regularizer.compares_rows:
        if twice.abs() > SUMMED * once.abs() + 1e-6:
            ratio = number(float(twice / once))
            raise Broken(f"expected {expected}; {seen}, it is {ratio} times as large")
        return "about the same for the same rows twice over"
    expect_same(twice, once, expected, seen, DEEP)
    return "the same for the same rows twice over"


def order_does_not_matter(subject: RegularizerSubject) -> str:
    """Check that neither the order of the rows nor that of the modalities counts."""
    world = subject.world()
    penalty = subject.bound(world)
    want = value(penalty, world.step())
    order = torch.randperm(len(world.batch), generator=torch.Generator().manual_seed(1))
    expected = "the same penalty whatever the order"
    turned = value(penalty, world.step(of_batch(world.batch, lambda x: x[order])))
    expect_same(turned, want, expected, "of the rows", DEEP)
    step = world.step()
    step = replace(step, features=dict(reversed(step.features.items())))
    expect_same(value(penalty, step), want, expected, "of the modalities", DEEP)
    return "of rows and of modalities"


def absent_rows_are_not_read(subject: RegularizerSubject) -> str:
    """Check that what stands in the features of an absent modality is not read."""
    world = subject.world()
    penalty = subject.bound(world)
    found = []
    for junk in (None, float("nan"), 1e6):
        world.model.zero_grad(set_to_none=True)
        step = world.step()
        if junk is not None:
            features = {
                n: _poisoned(f, ~world.batch.present[n], junk) for n, f in step.features.items()
            }
            step = replace(step, features=features)
        penalty_value = value(penalty, step)
        found.append(penalty_value.detach())
        if penalty_value.requires_grad:
            penalty_value.backward()  # type: ignore[no-untyped-call]
        for name, parameter in world.model.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise Broken(
                    f"expected finite gradients whatever stands in absent rows; {name} has others"
                )
        if junk is not None:
            expected = "what stands in the rows of an absent modality not to be read"
            expect_same(found[-1], found[0], expected, f"with {junk:g} there", DEEP)
    return "NaN and 1e6 there give the same penalty"


def _poisoned(features: Features, absent: Tensor, by: float) -> Features:
    def poison(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        return x.masked_fill(absent.view(-1, *[1] * (x.dim() - 1)), by)

    return features.map(poison)


def one_row_is_finite(subject: RegularizerSubject) -> str:
    """Check batches of one row: of two modalities, of text alone, of all."""
    world = subject.world()
    penalty = subject.bound(world)
    for row in (1, 5, 7):
        step = world.step(of_batch(world.batch, lambda x, at=row: x[at : at + 1]))  # type: ignore[misc]
        if not value(penalty, step).isfinite():
            here = ", ".join(n for n, each in world.batch.present.items() if each[row])
            raise Broken(f"expected a finite penalty of one row with {here}; it is not")
    return "finite, whatever modalities it has"


def asks_for_what_it_needs(subject: RegularizerSubject) -> str:
    """Check that ``needs`` names all that :meth:`bind` looks at."""
    world, regularizer = subject.world(), subject.make()
    needs = regularizer.needs

    def no_rows() -> dict[str, Tensor]:
        raise Broken("expected needs to hold source_rows: bind asks for the source's rows")

    given = world.given()
    if not needs & {"model", "source_rows"}:
        given = replace(given, reference=None)
    if "source_rows" not in needs:
        given = replace(given, source_features=no_rows)
    try:
        regularizer.equip(world.model, world.shared)
        value(regularizer.bind(given).to(world.dtype), world.step())
    except (AttributeError, TypeError) as error:
        if given.reference is None:
            said = f"{type(error).__name__}: {error}"
            raise Broken(f"expected needs to hold model: without a reference, {said}") from error
        raise
    return f"needs {', '.join(sorted(needs)) or 'nothing'}, and looks at nothing else"


def outputs_as_it_says(subject: RegularizerSubject) -> str:
    """Check ``reads_outputs``: whether a batch's outputs are held against its labels."""
    found = []
    for shift in (0, 1):
        world = subject.world()
        penalty, step = subject.bound(world), world.step()
        fused = None if step.fused is None else step.fused.roll(shift, dims=0)
        step = replace(step, outputs=step.outputs.roll(shift, dims=0), fused=fused)
        found.append(value(penalty, step))
    reads, says = not torch.equal(*found), subject.make().reads_outputs
    if reads != says:
        raise Broken(f"expected reads_outputs = {reads}: the penalty shows it; it says {says}")
    return f"reads_outputs = {reads}"


def leaves_all_else_alone(subject: RegularizerSubject) -> str:
    """Check that binding and calling move neither generator nor model, modes and flags."""
    world, regularizer = subject.world(), subject.make()
    names = list(world.model.state_dict())
    regularizer.equip(world.model, world.shared)
    if list(world.model.state_dict()) != names:
        raise Broken("expected equip to keep the names of the model's tensors; they change")
    before = {name: tensor.clone() for name, tensor in world.model.state_dict().items()}
    torch.manual_seed(1)
    generator = torch.get_rng_state()
    penalty = regularizer.bind(world.given()).to(world.dtype)
    if not torch.equal(torch.get_rng_state(), generator):
        raise Broken("expected bind to leave torch's generator alone; it draws from it")
    if any(distance(x, before[name]) > 0 for name, x in world.model.state_dict().items()):
        raise Broken("expected bind to leave the model as it is; it is changed")
    world.model.train()
    flags = [parameter.requires_grad for parameter in world.model.parameters()]
    value(penalty, world.step())
    if not all(module.training for module in world.model.modules()):
        raise Broken("expected the model to stay in training mode; it does not")
    if [parameter.requires_grad for parameter in world.model.parameters()] != flags:
        raise Broken("expected requires_grad of the model's parameters to stay; it changes")
    _expect_apart(penalty, {"source": world.source, "target": world.model})
    return "generator, model and flags stay as they are"


def _expect_apart(penalty: Penalty, models: dict[str, nn.Module]) -> None:
    """Check that no tensor of a model is saved or trained as the penalty's."""
    mine = {id(x) for x in [*penalty.parameters(), *penalty.buffers()]}
    for name, model in models.items():
        if mine & {id(x) for x in [*model.parameters(), *model.buffers()]}:
            raise Broken(f"expected the {name} to be no part of the penalty; its tensors are")


def state_goes_to_another_instance(subject: RegularizerSubject) -> str:
    """Check that what trains with the target is in the state dict."""
    world = subject.world()
    penalty = subject.bound(world)
    with torch.no_grad():
        for parameter in penalty.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    value(penalty.train(), world.step())
    other = load(subject.bound(world, seed=4), penalty)
    expect_same_state(other, penalty, "the state to go to another instance")
    got = value(other.eval(), world.step())
    want = value(penalty.eval(), world.step())
    expect_same(got, want, "another with the state loaded to give the same penalty", "", DEEP)
    return f"{len(penalty.state_dict())} tensors"


def has_sound_options(subject: RegularizerSubject) -> str:
    """Check that a config can set the options, and that bad ones are refused."""

    def attempt(part: Part) -> None:
        other = RegularizerSubject(part, part.make)
        world = other.world()
        if not value(other.bound(world), world.step()).isfinite():
            raise Broken("a penalty that is not finite")

    return options_are_sound(subject.part, 0, (), attempt)


_ON = (MADE, REPEATED)
CHECKS: tuple[Check[RegularizerSubject], ...] = (
    Check(MADE, is_made),
    Check("zero at the start", is_zero_at_the_start, (MADE,)),
    Check("dtype", keeps_the_dtype, (MADE,)),
    Check("gradients", gradients_reach_the_target, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("the same at any batch size", does_not_grow_with_the_batch, _ON),
    Check("any order", order_does_not_matter, _ON),
    Check("absent rows not read", absent_rows_are_not_read, _ON),
    Check("a batch of one row", one_row_is_finite, (MADE,)),
    Check("needs", asks_for_what_it_needs, (MADE,)),
    Check("reads_outputs", outputs_as_it_says, _ON),
    Check("all else left alone", leaves_all_else_alone, (MADE,)),
    Check("state dict", state_goes_to_another_instance, _ON),
    Check("options", has_sound_options, (MADE,)),
)
