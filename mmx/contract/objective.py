"""The contract of an objective, as checks; see :mod:`mmx.objectives`.

Shape legend: ``B`` batch, ``C`` outputs, ``M`` modalities, ``D`` width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmx.contract.base import BASICS, MADE, REPEATED, SEED, Broken, Check, Part, Untested
from mmx.contract.differences import distance, expect_same, format_shape
from mmx.contract.example_features import make_features, make_widths
from mmx.contract.gradients import expect_gradients, find_gradient_that_is_not_finite
from mmx.contract.losses import (
    LossSubject,
    expect_mean_over_rows,
    expect_scalar,
    gives_the_same_value_again,
    rows_and_modalities_in_any_order,
    state_goes_to_another_loss,
)
from mmx.contract.options import has_sound_options
from mmx.modalities import StepRows
from mmx.objectives import Criterion, ModelOutput, Objective, OutputLoss

ROWS, CLASSES, COUNT = 12, 3, 3
KINDS_OF_TARGET = frozenset({"classes", "multilabel", "regression"})


@dataclass(frozen=True)
class OutputBatch:
    """A model's output on a batch, and the target.

    Attributes:
        output: Its features are NaN where a modality is absent.
        target: ``(B,)`` or ``(B, C)``.
    """

    output: ModelOutput
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def map(self, change: Callable[[Tensor], Tensor]) -> OutputBatch:
        """Return the batch with every tensor changed."""
        return OutputBatch(
            ModelOutput(
                change(self.output.outputs),
                {name: change(x) for name, x in self.output.pooled.items()},
                {name: change(x) for name, x in self.output.present.items()},
            ),
            change(self.target),
        )

    def reverse(self) -> OutputBatch:
        """Return the same with both dicts in the opposite order."""
        output = replace(
            self.output,
            pooled=dict(reversed(self.output.pooled.items())),
            present=dict(reversed(self.output.present.items())),
        )
        return OutputBatch(output, self.target)

    def pick_row(self, row: int) -> OutputBatch:
        """Return a batch of one row."""
        return self.map(lambda x: x[row : row + 1])

    def fill(self, by: float) -> OutputBatch:
        """Return the batch with ``by`` in place of NaN."""
        return self.map(lambda x: x.nan_to_num(by) if x.is_floating_point() else x)

    @property
    def numbers(self) -> dict[str, Tensor]:
        """Outputs and features by name."""
        return {"outputs": self.output.outputs, **self.output.pooled}


def make_output_batch(
    kind: str, rows: int = ROWS, count: int = COUNT, seed: int = 0
) -> OutputBatch:
    """Return random outputs, features and targets of a kind; absent features are NaN."""
    draw = torch.Generator().manual_seed(seed)
    found = make_features(make_widths(count), rows, seed).fill_absent(float("nan"))
    columns = 1 if kind == "regression" else CLASSES
    target = {
        "classes": torch.arange(rows) % CLASSES,
        "multilabel": (torch.rand(rows, CLASSES, generator=draw) < 0.5).float(),
        "regression": torch.randn(rows, generator=draw),
    }[kind]
    pooled = {name: each.pooled for name, each in found.features.items()}
    outputs = torch.randn(rows, columns, generator=draw)
    return OutputBatch(ModelOutput(outputs, pooled, found.present), target)


@dataclass(frozen=True)
class ObjectiveSubject(LossSubject[Criterion, OutputBatch]):
    """An objective and the kind of target that it is tried on.

    Attributes:
        part: The class and its options.
        objective: An instance.
        kind: Of the target.
    """

    noun = "loss"
    part: Part
    objective: Objective
    kind: str

    @classmethod
    def of(cls, part: Part) -> ObjectiveSubject:
        """Return a part as the subject, on the first kind of target that it accepts."""
        objective = part.make()
        kinds: frozenset[str] = getattr(objective, "kinds", frozenset())
        if not kinds or not kinds <= KINDS_OF_TARGET:
            raise Broken(
                f"expected kinds, some of {', '.join(sorted(KINDS_OF_TARGET))}; seen {kinds!r}"
            )
        return cls(part, objective, min(kinds))

    @property
    def compares_rows(self) -> bool:
        """Whether the loss of a row depends on the other rows by definition."""
        return self.objective.compares_rows

    def make_batch(self) -> OutputBatch:
        """Return a batch of the kind of target."""
        return make_output_batch(self.kind)

    def bind(self, batch: OutputBatch, seed: int = 1) -> Criterion:
        """Return the loss of a task; its own parameters get random values, so that they count."""
        widths = {name: x.shape[1] for name, x in batch.output.pooled.items()}
        torch.manual_seed(seed)
        criterion = self.objective.bind(batch.target, batch.output.outputs.shape[1], widths)
        with torch.no_grad():
            for parameter in criterion.parameters():
                if parameter.ndim:
                    parameter.normal_(0, 0.7)
        return criterion

    def prepare(self) -> tuple[Criterion, OutputBatch]:
        """Return the loss and the batch that it is tried on."""
        batch = self.make_batch()
        return self.bind(batch), batch

    def call(self, loss: Criterion, batch: OutputBatch) -> Tensor:
        """Return the loss of a copy of a batch, with seeded draws."""
        torch.manual_seed(SEED)
        batch = batch.map(torch.clone)
        return expect_scalar(loss(batch.output, batch.target), "a mean over the batch")

    def try_part(self, part: Part) -> None:
        """Make the class with other options and use it once."""
        other = ObjectiveSubject(part, part.make(), self.kind)
        try:
            criterion, batch = other.prepare()
        except ValueError:  # refusing options that do not fit the task is right
            return
        if not other.call(criterion, batch).isfinite():
            raise Broken("a loss that is not finite")


def gives_a_finite_loss(subject: ObjectiveSubject) -> str:
    """Check that the loss is finite for every kind of target that the objective accepts."""
    kinds = sorted(subject.objective.kinds)
    for kind in kinds:
        of_kind = replace(subject, kind=kind)
        loss = subject.call(*of_kind.prepare())
        if not loss.isfinite():
            raise Broken(f"expected a finite loss of {kind}; seen {loss.item()}")
        if loss < 0 and not subject.objective.may_be_negative:
            raise Broken(
                f"expected no loss below 0 without may_be_negative = True; seen {loss.item():.3g}"
            )
    return f"for {', '.join(kinds)}"


def loss_is_in_float32(subject: ObjectiveSubject) -> str:
    """Check that the loss is in float32, whatever the precision of the model."""
    criterion, batch = subject.prepare()
    half = batch.map(lambda x: x.bfloat16() if x.is_floating_point() else x)
    # The same rounded numbers in float32, so that only the computation can differ.
    single = half.map(lambda x: x.float() if x.is_floating_point() else x)
    plain = subject.call(criterion, single)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = subject.call(criterion, half)
    for loss, where in ((plain, "float32"), (found, "bfloat16 under autocast")):
        if loss.dtype != torch.float32:
            raise Broken(f"expected a loss in float32; seen {loss.dtype} of outputs in {where}")
    expect_same(found, plain, "the loss to be computed in float32", "under autocast")
    return "float32, also under autocast to bfloat16"


def gradients_reach_what_is_read(subject: ObjectiveSubject) -> str:
    """Check that gradients reach what the loss reads, and its own parameters."""
    criterion, batch = subject.prepare()
    leaves = _make_leaves(batch)
    criterion(leaves.map(torch.clone).output, batch.target).backward()
    outputs = leaves.output.outputs.grad
    reads = _is_nonzero(outputs)
    if reads != subject.objective.reads_outputs:
        raise Broken(
            f"expected reads_outputs = {reads}, since {'a' if reads else 'no'} gradient reaches "
            f"the outputs; it says {subject.objective.reads_outputs}"
        )
    if outputs is not None and not outputs.isfinite().all():
        raise Broken("expected a finite gradient of the outputs")
    if not reads and not any(_is_nonzero(x.grad) for x in leaves.output.pooled.values()):
        raise Broken("expected a gradient of outputs or of features; there is none")
    count = expect_gradients(criterion, "a gradient in every parameter of its own")
    return f"of {'outputs' if reads else 'features'} and of all {count} parameters"


def _is_nonzero(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.any())


def _make_leaves(batch: OutputBatch) -> OutputBatch:
    """Return the batch in floating-point tensors that collect gradients."""
    return batch.map(lambda x: x.clone().requires_grad_() if x.is_floating_point() else x)


def says_what_it_reads(subject: ObjectiveSubject) -> str:
    """Check ``task_loss`` and ``embed`` against the attributes of the objective."""
    criterion, batch = subject.prepare()
    if subject.objective.label_free and subject.objective.reads_outputs:
        raise Broken("expected label_free or reads_outputs, not both")
    try:
        loss = criterion.task_loss(batch.output.outputs, batch.target)
        if not subject.objective.reads_outputs:
            raise Broken("expected task_loss to raise NotImplementedError: no outputs are read")
        if loss.shape != ():
            raise Broken(f"expected a scalar of task_loss; seen {format_shape(loss)}")
    except NotImplementedError as error:
        if subject.objective.reads_outputs:
            raise Broken("expected task_loss: it reads outputs") from error
    if not criterion.aligns:
        return "task_loss as reads_outputs says; it aligns no modalities"
    clean = batch.map(lambda x: x.nan_to_num(0.5) if x.is_floating_point() else x)
    shapes = {format_shape(x) for x in criterion.embed(clean.output.pooled).values()}
    if len(shapes) != 1:
        raise Broken(f"expected embeddings of one width for all modalities; seen {sorted(shapes)}")
    return "task_loss and embed as it says"


def is_a_mean(subject: ObjectiveSubject) -> str:
    """Check that the loss is a mean over the rows, whatever their number."""
    criterion, batch = subject.prepare()
    expect_mean_over_rows(subject, criterion, batch)
    if subject.compares_rows:
        return "a row's loss depends on the others, but not by their number alone"
    if not isinstance(criterion, OutputLoss):
        return "the same rows twice over, the same loss"
    rows = range(len(batch.target))
    alone = torch.stack([subject.call(criterion, batch.pick_row(row)) for row in rows])
    weights = torch.ones(len(rows))  # a weighted mean: Σ w_i l_i / Σ w_i
    if criterion.weight is not None and subject.kind == "classes":
        weights = criterion.weight[batch.target].float()
    mean = (alone * weights).sum() / weights.sum()
    once = subject.call(criterion, batch)
    expect_same(mean, once, "a mean over the rows", "the mean of each row's loss, by its weight")
    return "of each row's loss, by its weight"


def parts_make_the_whole(subject: ObjectiveSubject) -> str:
    """Check that the parts of an accumulated step sum to the loss of all its rows."""
    if subject.compares_rows:
        raise Untested("compares_rows says that small batches are not one large batch")
    criterion, batch = subject.prepare()
    step = StepRows(batch.target, batch.output.present)
    parts = []
    for rows in (slice(0, 5), slice(5, 6), slice(6, ROWS)):
        some = batch.map(lambda x, rows=rows: x[rows].clone())  # type: ignore[misc]
        parts.append(criterion.part(some.output, some.target, step))
    got, want = torch.stack(parts).sum(), subject.call(criterion, batch)
    seen = "in batches of 5, 1 and 6, without compares_rows = True"
    expected = "the parts of an accumulated step to sum to the loss of its rows as one batch"
    expect_same(got, want, expected, seen)
    return "batches of 5, 1 and 6 rows sum to the loss of all 12"


def is_the_same_in_any_order(subject: ObjectiveSubject) -> str:
    """Check that no order counts: of rows, of modalities, or of the widths it is bound to."""
    said = rows_and_modalities_in_any_order(subject)
    batch = subject.make_batch()
    widths = {name: x.shape[1] for name, x in batch.output.pooled.items()}
    losses = []
    for each in (widths, dict(reversed(widths.items()))):
        torch.manual_seed(1)
        criterion = subject.objective.bind(batch.target, batch.output.outputs.shape[1], each)
        losses.append(subject.call(criterion, batch))
    expected, seen = "the same loss whatever the order", "of the widths that it is bound to"
    expect_same(losses[1], losses[0], expected, seen)
    return said


def absent_rows_do_not_count(subject: ObjectiveSubject) -> str:
    """Check that neither loss nor gradients depend on the features of absent modalities."""
    criterion, batch = subject.prepare()
    found = []
    for junk in (float("nan"), 1e6):
        leaves = _make_leaves(batch.fill(junk))
        copies = leaves.map(torch.clone)
        loss = criterion(copies.output, batch.target)
        loss.backward()
        found.append(loss.detach())
        for name, x in leaves.output.pooled.items():
            absent = ~batch.output.present[name]
            if x.grad is not None and not (x.grad[absent] == 0).all():
                raise Broken(f"expected no gradient in the absent rows of {name}; there is one")
    expected = "what stands in the rows of an absent modality not to be read"
    expect_same(found[0], found[1], expected, "with NaN there instead of 1e6")
    if (wrong := find_gradient_that_is_not_finite(criterion)) is not None:
        raise Broken(f"expected {expected}; the gradient of {wrong} is not finite")
    return "NaN and 1e6 there give the same loss"


def one_row_has_a_finite_loss(subject: ObjectiveSubject) -> str:
    """Check one row with one modality: there is no pair, no negative, no covariance."""
    criterion, batch = subject.prepare()
    first = next(iter(batch.output.present))
    alone = batch.map(lambda x: x[:1])
    present = {n: torch.tensor([n == first]) for n in alone.output.present}
    pooled = {n: x.nan_to_num(1.0) for n, x in alone.output.pooled.items()}
    loss = subject.call(
        criterion, OutputBatch(replace(alone.output, pooled=pooled, present=present), alone.target)
    )
    if not loss.isfinite():
        raise Broken(f"expected a finite loss of one row with {first} alone; seen {loss.item()}")
    return "a batch of one row with one modality is finite"


def outputs_and_targets_stay(subject: ObjectiveSubject) -> str:
    """Check that outputs, features and targets are not changed in place."""
    criterion, batch = subject.prepare()
    given = batch.map(torch.clone)
    criterion(given.output, given.target)
    pairs = {**given.numbers, "target": given.target}
    for name, x in {**batch.numbers, "target": batch.target}.items():
        if distance(pairs[name], x) > 0:
            raise Broken(f"expected its inputs to stay as they are; {name} is changed")
    return "outputs, features and target stay as they are"


def takes_several_modalities(subject: ObjectiveSubject) -> str:
    """Check one, two and four modalities; an objective that compares them must refuse one."""
    for count in (1, 2, 4):
        try:
            batch = make_output_batch(subject.kind, count=count)
            subject.call(subject.bind(batch), batch)
        except ValueError:
            if count > 1 or not subject.objective.cross_modal:
                raise
        else:
            if count == 1 and subject.objective.cross_modal:
                raise Broken("expected a ValueError of bind with one modality: it is cross_modal")
    return "with 2 and 4, and one refused" if subject.objective.cross_modal else "with 1, 2, 4"


CHECKS: tuple[Check[ObjectiveSubject], ...] = (
    Check(MADE, gives_a_finite_loss),
    Check("any number of modalities", takes_several_modalities, (MADE,)),
    Check("gradients", gradients_reach_what_is_read, (MADE,)),
    Check("what it says of itself", says_what_it_reads, (MADE,)),
    Check(REPEATED, gives_the_same_value_again, (MADE,)),
    Check("dtype", loss_is_in_float32, BASICS),
    Check("a mean over the rows", is_a_mean, BASICS),
    Check("any order", is_the_same_in_any_order, BASICS),
    Check("accumulated steps", parts_make_the_whole, ("a mean over the rows", "any order")),
    Check("absent rows not read", absent_rows_do_not_count, BASICS),
    Check("a batch of one row", one_row_has_a_finite_loss, (MADE,)),
    Check("state dict", state_goes_to_another_loss, BASICS),
    Check("inputs not changed", outputs_and_targets_stay, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
)
