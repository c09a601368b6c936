"""The contract of a regulariser, as checks; see :mod:`mmx.transfer.regularizers`.

Shape legend: ``B`` batch, ``D`` width, ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmx.contract.base import BASICS, MADE, REPEATED, SEED, Broken, Check, Part, Untested
from mmx.contract.differences import distance, expect_same
from mmx.contract.gradients import find_gradient_that_is_not_finite
from mmx.contract.losses import (
    LossSubject,
    expect_mean_over_rows,
    expect_scalar,
    gives_the_same_value_again,
    rows_and_modalities_in_any_order,
    state_goes_to_another_loss,
)
from mmx.contract.options import has_sound_options
from mmx.contract.world import World, of_batch
from mmx.modalities import Batch, Features, StepRows
from mmx.transfer.regularizers import Penalty, Regularizer, Step


@dataclass(frozen=True)
class WorldBatch:
    """A batch of the target, with the models of source and target.

    Attributes:
        world: Source and target.
        batch: A batch of the target.
        backwards: Whether the features have the opposite order of modalities.
    """

    world: World
    batch: Batch
    backwards: bool = False

    def __len__(self) -> int:
        return len(self.batch)

    def map(self, change: Callable[[Tensor], Tensor]) -> WorldBatch:
        """Return the batch with every tensor changed."""
        return replace(self, batch=of_batch(self.batch, change))

    def reverse(self) -> WorldBatch:
        """Return the batch with its features in the opposite order."""
        return replace(self, backwards=not self.backwards)

    def step(self) -> Step:
        """Return the target's step on the batch, computed now: binding may change the model."""
        step = self.world.step(self.batch)
        if not self.backwards:
            return step
        return replace(step, features=dict(reversed(step.features.items())))


@dataclass(frozen=True)
class RegularizerSubject(LossSubject[Penalty, WorldBatch]):
    """A regulariser and the source and target that it is tried on.

    Attributes:
        part: The class and its options.
        make: ``make()``.
        dtype: That of the models and of the batch.
    """

    noun = "penalty"
    rounding = 3000.0  # it depends on deep encoders: about 4e-4 in float32
    part: Part
    make: Callable[[], Regularizer]
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, part: Part) -> RegularizerSubject:
        """Return a part as the subject of the checks."""
        return cls(part, part.make)

    @property
    def compares_rows(self) -> bool:
        """Whether the penalty of a row depends on the other rows by definition."""
        return self.make().compares_rows

    def make_batch(self, moved: float = 0.3) -> WorldBatch:
        """Return a batch of a target with weights moved away from the source by ``moved``."""
        world = World(moved=moved, dtype=self.dtype)
        return WorldBatch(world, world.batch)

    def bind(self, batch: WorldBatch, seed: int = 1) -> Penalty:
        """Return the penalty of a world."""
        world, regularizer = batch.world, self.make()
        regularizer.check(world.model, world.shared)
        regularizer.equip(world.model, world.shared)
        torch.manual_seed(seed)
        return world.bind(regularizer)

    def prepare(self) -> tuple[Penalty, World]:
        """Return a penalty and the source and target that it is bound to."""
        batch = self.make_batch()
        return self.bind(batch), batch.world

    def call(self, loss: Penalty, batch: WorldBatch) -> Tensor:
        """Return a penalty, with seeded draws."""
        return measure_penalty(loss, batch.step())

    def try_part(self, part: Part) -> None:
        """Make the class with other options and use it once."""
        other = RegularizerSubject.of(part)
        batch = other.make_batch()
        if not other.call(other.bind(batch), batch).isfinite():
            raise Broken("a penalty that is not finite")


def measure_penalty(penalty: Penalty, step: Step) -> Tensor:
    """Return a penalty, with seeded draws."""
    torch.manual_seed(SEED)
    return expect_scalar(penalty(step), "strength · R")


def gives_a_finite_penalty(subject: RegularizerSubject) -> str:
    """Check that it binds to a model, and that its penalty is finite and not negative."""
    batch = subject.make_batch()
    found = subject.call(subject.bind(batch), batch)
    if not found.isfinite():
        raise Broken(f"expected a finite penalty; seen {found.item()}")
    if found < 0:
        raise Broken(f"expected a penalty of 0 or more; seen {found.item():.3g}")
    return f"R = {found.item():.3g} on a target that has moved"


def is_zero_at_the_start(subject: RegularizerSubject) -> str:
    """Check that R(w0) = 0 if ``zero_at_start`` is True; w0 are the starting weights."""
    if not subject.make().zero_at_start:
        raise Untested("zero_at_start does not say that R(w0) = 0")
    batch = subject.make_batch(moved=0.0)
    found = subject.call(subject.bind(batch), batch)
    if found.abs() > 1e-6:
        raise Broken(f"expected 0 where the target starts, as it states; seen {found.item():.3g}")
    return "0 where the target starts"


def penalty_is_in_float32(subject: RegularizerSubject) -> str:
    """Check that the penalty is in float32, whatever the precision of the model."""
    penalty, world = subject.prepare()
    plain = measure_penalty(penalty, world.step())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = measure_penalty(penalty, world.step())
    for each, where in ((plain, "float32"), (found, "autocast to bfloat16")):
        if each.dtype != torch.float32 or not each.isfinite():
            raise Broken(f"expected a finite float32; seen {each.item()} {each.dtype} in {where}")
    return "float32, also under autocast to bfloat16"


def gradients_reach_the_target(subject: RegularizerSubject) -> str:
    """Check that gradients reach the target and its own parameters, and never the source."""
    batch = subject.make_batch()
    world = batch.world
    before = {name: tensor.clone() for name, tensor in world.source.state_dict().items()}
    penalty = subject.bind(batch)
    found = subject.call(penalty, batch)
    if not found.requires_grad:
        if type(subject.make()).equip is not Regularizer.equip:
            raise Untested("it changes the network, not the loss")
        raise Broken("expected a gradient in the target's parameters; the penalty has none")
    found.backward()  # type: ignore[no-untyped-call]
    reached = {n: p.grad for n, p in world.model.named_parameters() if p.grad is not None}
    if not any(gradient.any() for gradient in reached.values()):
        raise Broken("expected a gradient in the target's parameters; none reaches them")
    if (wrong := find_gradient_that_is_not_finite(world.model)) is not None:
        raise Broken(f"expected finite gradients; that of {wrong} is not")
    dead = [n for n, p in penalty.named_parameters() if p.requires_grad and p.grad is None]
    if dead:
        raise Broken(f"expected a gradient in its own parameters; none reaches {dead[0]}")
    _expect_frozen(world.source, before)
    return f"in {len(reached)} of the target's tensors, none in the source's"


def _expect_frozen(source: nn.Module, before: dict[str, Tensor]) -> None:
    """Check that the source has no gradient, and the same numbers as before."""
    for name, parameter in source.named_parameters():
        if parameter.grad is not None or parameter.requires_grad:
            raise Broken(f"expected the source to stay frozen; {name} asks for a gradient")
    if any(distance(x, before[name]) > 0 for name, x in source.state_dict().items()):
        raise Broken("expected the source to stay as it is; it is changed")


def does_not_grow_with_the_batch(subject: RegularizerSubject) -> str:
    """Check that repeating a batch keeps the penalty: a strength must not depend on B."""
    # In float64, two copies of a row are equal to the last bit.
    precise = replace(subject, dtype=torch.float64)
    batch = precise.make_batch()
    expect_mean_over_rows(precise, precise.bind(batch), batch)
    about = "about " if subject.compares_rows else ""
    return f"{about}the same for the same rows twice over"


def parts_make_the_penalty(subject: RegularizerSubject) -> str:
    """Check that the parts of an accumulated step sum to the penalty of all its rows."""
    made = subject.make()
    if made.compares_rows:
        raise Untested("compares_rows says that small batches are not one large batch")
    if made.acts_on in ("weights", "statistics"):
        raise Untested(f"what acts on {made.acts_on} is not of rows")
    precise = replace(subject, dtype=torch.float64)
    batch = precise.make_batch()
    penalty, world = precise.bind(batch), batch.world
    want = measure_penalty(penalty, world.step())
    rows, parts = StepRows(world.batch.target, world.batch.present), []
    for some in (slice(0, 5), slice(5, 6), slice(6, len(world.batch))):
        part = of_batch(world.batch, lambda x, some=some: x[some])  # type: ignore[misc]
        parts.append(penalty.part(world.step(replace(part, complete=frozenset())), rows))
    seen = "in batches of 5, 1 and the other rows, without compares_rows = True"
    expected = "the parts of an accumulated step to sum to the penalty of its rows as one batch"
    expect_same(torch.stack(parts).sum(), want, expected, seen, precise.rounding)
    return "batches of 5, 1 and the other rows sum to the penalty of all"


def absent_features_are_not_read(subject: RegularizerSubject) -> str:
    """Check that the features of an absent modality are not read."""
    penalty, world = subject.prepare()
    found = []
    for junk in (None, float("nan"), 1e6):
        world.model.zero_grad(set_to_none=True)
        step = world.step()
        if junk is not None:
            features = {
                n: _poison(f, ~world.batch.present[n], junk) for n, f in step.features.items()
            }
            step = replace(step, features=features)
        penalty_value = measure_penalty(penalty, step)
        found.append(penalty_value.detach())
        if penalty_value.requires_grad:
            penalty_value.backward()  # type: ignore[no-untyped-call]
        if (name := find_gradient_that_is_not_finite(world.model)) is not None:
            raise Broken(
                f"expected finite gradients whatever stands in absent rows; that of {name} is not"
            )
        if junk is not None:
            expected = "what stands in the rows of an absent modality not to be read"
            expect_same(found[-1], found[0], expected, f"with {junk:g} there", subject.rounding)
    return "NaN and 1e6 there give the same penalty"


def _poison(features: Features, absent: Tensor, by: float) -> Features:
    """Return features with the numbers of absent rows replaced by ``by``."""

    def poison_one(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        return x.masked_fill(absent.view(-1, *[1] * (x.dim() - 1)), by)

    return features.map(poison_one)


def one_row_has_a_finite_penalty(subject: RegularizerSubject) -> str:
    """Check batches of one row: with two modalities, with text alone, with all."""
    penalty, world = subject.prepare()
    for row in (1, 5, 7):
        step = world.step(of_batch(world.batch, lambda x, at=row: x[at : at + 1]))  # type: ignore[misc]
        if not measure_penalty(penalty, step).isfinite():
            here = ", ".join(n for n, each in world.batch.present.items() if each[row])
            raise Broken(f"expected a finite penalty of one row with {here}; it is not")
    return "finite, whatever modalities it has"


def asks_for_what_it_needs(subject: RegularizerSubject) -> str:
    """Check that ``needs`` names everything that :meth:`bind` reads."""
    world, regularizer = subject.make_batch().world, subject.make()
    needs = regularizer.needs

    def no_rows() -> dict[str, Tensor]:
        raise Broken("expected needs to hold source_rows: bind asks for the source's rows")

    context = world.make_context()
    if not needs & {"model", "source_rows"}:
        context = replace(context, reference=None)
    if "source_rows" not in needs:
        context = replace(context, source_features=no_rows)
    try:
        regularizer.equip(world.model, world.shared)
        measure_penalty(world.bind(regularizer, context), world.step())
    except (AttributeError, TypeError) as error:
        if context.reference is None:
            said = f"{type(error).__name__}: {error}"
            raise Broken(f"expected needs to hold model: without a reference, {said}") from error
        raise
    return f"needs {', '.join(sorted(needs)) or 'nothing'}, and looks at nothing else"


def outputs_as_it_says(subject: RegularizerSubject) -> str:
    """Check ``reads_outputs``: whether outputs are compared with the labels of the same rows."""
    found = []
    for shift in (0, 1):
        penalty, world = subject.prepare()
        step = world.step()
        fused = None if step.fused is None else step.fused.roll(shift, dims=0)
        step = replace(step, outputs=step.outputs.roll(shift, dims=0), fused=fused)
        found.append(measure_penalty(penalty, step))
    reads, says = not torch.equal(*found), subject.make().reads_outputs
    if reads != says:
        raise Broken(f"expected reads_outputs = {reads}: the penalty shows it; it says {says}")
    return f"reads_outputs = {reads}"


def leaves_all_else_alone(subject: RegularizerSubject) -> str:
    """Check that binding and calling leave generator, model, modes and flags unchanged."""
    world, regularizer = subject.make_batch().world, subject.make()
    names = list(world.model.state_dict())
    regularizer.equip(world.model, world.shared)
    if list(world.model.state_dict()) != names:
        raise Broken("expected equip to keep the names of the model's tensors; they change")
    before = {name: tensor.clone() for name, tensor in world.model.state_dict().items()}
    torch.manual_seed(1)
    generator = torch.get_rng_state()
    penalty = world.bind(regularizer)
    if not torch.equal(torch.get_rng_state(), generator):
        raise Broken("expected bind to leave torch's generator alone; it draws from it")
    if any(distance(x, before[name]) > 0 for name, x in world.model.state_dict().items()):
        raise Broken("expected bind to leave the model as it is; it is changed")
    world.model.train()
    flags = [parameter.requires_grad for parameter in world.model.parameters()]
    measure_penalty(penalty, world.step())
    if not all(module.training for module in world.model.modules()):
        raise Broken("expected the model to stay in training mode; it does not")
    if [parameter.requires_grad for parameter in world.model.parameters()] != flags:
        raise Broken("expected requires_grad of the model's parameters to stay; it changes")
    _expect_apart(penalty, {"source": world.source, "target": world.model})
    return "generator, model and flags stay as they are"


def _expect_apart(penalty: Penalty, models: dict[str, nn.Module]) -> None:
    """Check that no tensor of a model belongs to the penalty: it would be saved twice."""
    mine = {id(x) for x in [*penalty.parameters(), *penalty.buffers()]}
    for name, model in models.items():
        if mine & {id(x) for x in [*model.parameters(), *model.buffers()]}:
            raise Broken(f"expected the {name} to be no part of the penalty; its tensors are")


ANY_SIZE = "the same at any batch size"
CHECKS: tuple[Check[RegularizerSubject], ...] = (
    Check(MADE, gives_a_finite_penalty),
    Check("zero at the start", is_zero_at_the_start, (MADE,)),
    Check("dtype", penalty_is_in_float32, (MADE,)),
    Check("gradients", gradients_reach_the_target, (MADE,)),
    Check(REPEATED, gives_the_same_value_again, (MADE,)),
    Check(ANY_SIZE, does_not_grow_with_the_batch, BASICS),
    Check("accumulated steps", parts_make_the_penalty, (*BASICS, ANY_SIZE)),
    Check("any order", rows_and_modalities_in_any_order, BASICS),
    Check("absent rows not read", absent_features_are_not_read, BASICS),
    Check("a batch of one row", one_row_has_a_finite_penalty, (MADE,)),
    Check("needs", asks_for_what_it_needs, (MADE,)),
    Check("reads_outputs", outputs_as_it_says, BASICS),
    Check("all else left alone", leaves_all_else_alone, (MADE,)),
    Check("state dict", state_goes_to_another_loss, BASICS),
    Check("options", has_sound_options, (MADE,)),
)
