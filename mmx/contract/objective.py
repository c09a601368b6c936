"""The contract of an objective, as checks; see :mod:`mmx.objectives`.

Shape legend: ``B`` batch, ``C`` outputs, ``M`` modalities, ``D`` width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmx.contract.base import Broken, Check, Part, Untested
from mmx.contract.compare import distance, expect_same, number, shape
from mmx.contract.features import made_up, widths_of
from mmx.contract.options import options_are_sound
from mmx.contract.state import load
from mmx.modalities import StepRows
from mmx.objectives import Criterion, ModelOutput, Objective, OutputLoss

ROWS, CLASSES, COUNT = 12, 3, 3
SEED = 2
KINDS_OF_TARGET = frozenset({"classes", "multilabel", "regression"})
SUMMED = 1.75
"""A batch twice over may change a loss that compares rows, by less than this factor."""
MADE, REPEATED = "made and called", "the same again"


@dataclass(frozen=True)
class Said:
    """A batch: what a model says of it, and the target.

    Attributes:
        output: Features are NaN where a modality is absent.
        target: ``(B,)`` or ``(B, C)``.
    """

    output: ModelOutput
    target: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Said:
        """Return the batch with every tensor changed."""
        return Said(
            ModelOutput(
                change(self.output.outputs),
                {name: change(x) for name, x in self.output.pooled.items()},
                {name: change(x) for name, x in self.output.present.items()},
            ),
            change(self.target),
        )

    def reversed(self) -> Said:
        """Return the same with both dicts in the opposite order."""
        output = replace(
            self.output,
            pooled=dict(reversed(self.output.pooled.items())),
            present=dict(reversed(self.output.present.items())),
        )
        return Said(output, self.target)

    def row(self, row: int) -> Said:
        """Return a batch of one row."""
        return self.map(lambda x: x[row : row + 1])

    def filled(self, by: float) -> Said:
        """Return the batch with ``by`` in place of NaN."""
        return self.map(lambda x: x.nan_to_num(by) if x.is_floating_point() else x)

    @property
    def numbers(self) -> dict[str, Tensor]:
        """Outputs and features by name."""
        return {"outputs": self.output.outputs, **self.output.pooled}


def said(kind: str, rows: int = ROWS, count: int = COUNT, seed: int = 0) -> Said:
    """Return random outputs, features and targets of a kind; junk is NaN."""
    draw = torch.Generator().manual_seed(seed)
    found = made_up(widths_of(count), rows, seed).with_junk(float("nan"))
    columns = 1 if kind == "regression" else CLASSES
    target = {
        "classes": torch.arange(rows) % CLASSES,
        "multilabel": (torch.rand(rows, CLASSES, generator=draw) < 0.5).float(),
        "regression": torch.randn(rows, generator=draw),
    }[kind]
    pooled = {name: each.pooled for name, each in found.features.items()}
    outputs = torch.randn(rows, columns, generator=draw)
    return Said(ModelOutput(outputs, pooled, found.present), target)


@dataclass(frozen=True)
class ObjectiveSubject:
    """An objective and the kind of target that it is tried on.

    Attributes:
        part: The class and its options.
        objective: An instance.
        kind: Of the target.
    """

    part: Part
    objective: Objective
    kind: str

    @property
    def batch(self) -> Said:
        """A batch of the kind of target."""
        return said(self.kind)

    @property
    def compares_rows(self) -> bool:
        """Whether the loss of a row depends on the others by definition."""
        return self.objective.compares_rows

    def bound(self, count: int = COUNT, seed: int = 1) -> Criterion:
        """Return the loss of a task; what it trains has values that tell it apart."""
        batch = said(self.kind, count=count)
        widths = {name: width.pooled for name, width in widths_of(count).items()}
        torch.manual_seed(seed)
        criterion = self.objective.bind(batch.target, batch.output.outputs.shape[1], widths)
        with torch.no_grad():
            for parameter in criterion.parameters():
                if parameter.ndim:
                    parameter.normal_(0, 0.7)
        return criterion


def subject(part: Part) -> ObjectiveSubject:
    """Return a part as the subject of the checks, on the first kind of target that it serves."""
    objective = part.make()
    kinds: frozenset[str] = getattr(objective, "kinds", frozenset())
    if not kinds or not kinds <= KINDS_OF_TARGET:
        raise Broken(
            f"expected kinds, some of {', '.join(sorted(KINDS_OF_TARGET))}; seen {kinds!r}"
        )
    return ObjectiveSubject(part, objective, min(kinds))


def call(criterion: Criterion, batch: Said) -> Tensor:
    """Return the loss of copies of a batch, draws from a seed."""
    torch.manual_seed(SEED)
    batch = batch.map(torch.clone)
    loss = criterion(batch.output, batch.target)
    if not isinstance(loss, Tensor) or loss.shape != ():
        seen = shape(loss) if isinstance(loss, Tensor) else type(loss).__name__
        raise Broken(f"expected a scalar, a mean over the batch; seen {seen}")
    return loss


def is_made(subject: ObjectiveSubject) -> str:
    """Check that it gives a finite loss of every kind of target that it serves."""
    kinds = sorted(subject.objective.kinds)
    for kind in kinds:
        of_kind = replace(subject, kind=kind)
        loss = call(of_kind.bound(), of_kind.batch)
        if not loss.isfinite():
            raise Broken(f"expected a finite loss of {kind}; seen {loss.item()}")
        if loss < 0 and not subject.objective.may_be_negative:
            raise Broken(
                f"expected no loss below 0 without may_be_negative = True; seen {loss.item():.3g}"
            )
    return f"for {', '.join(kinds)}"


def keeps_the_dtype(subject: ObjectiveSubject) -> str:
    """Check that the loss is in float32 whatever the model runs in."""
    criterion = subject.bound()
    half = subject.batch.map(lambda x: x.bfloat16() if x.is_floating_point() else x)
    single = half.map(lambda x: x.float() if x.is_floating_point() else x)
    plain = call(criterion, single)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = call(criterion, half)
    for loss, where in ((plain, "float32"), (found, "bfloat16 under autocast")):
        if loss.dtype != torch.float32:
            raise Broken(f"expected a loss in float32; seen {loss.dtype} of outputs in {where}")
    expect_same(found, plain, "the loss to be computed in float32", "under autocast")
    return "float32, also under autocast to bfloat16"


def gradients_reach_all(subject: ObjectiveSubject) -> str:
    """Check that gradients reach what the loss reads, and all that it trains."""
    criterion = subject.bound()
    leaves = subject.batch.map(lambda x: x.clone().requires_grad_() if x.is_floating_point() else x)
    criterion(leaves.map(torch.clone).output, subject.batch.target).backward()
    outputs = leaves.output.outputs.grad
    reads = outputs is not None and bool(outputs.any())
    if reads != subject.objective.reads_outputs:
        raise Broken(
            f"expected reads_outputs = {reads}, since {'a' if reads else 'no'} gradient reaches "
            f"the outputs; it says {subject.objective.reads_outputs}"
        )
    if outputs is not None and not outputs.isfinite().all():
        raise Broken("expected a finite gradient of the outputs")
    features = [x.grad for x in leaves.output.pooled.values() if x.grad is not None]
    if not reads and not any(gradient.any() for gradient in features):
        raise Broken("expected a gradient of outputs or of features; there is none")
    trainable = {name: p for name, p in criterion.named_parameters() if p.requires_grad}
    dead = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
    if dead:
        raise Broken(
            f"expected a gradient in every parameter of its own; none reaches {', '.join(dead[:5])}"
        )
    return f"of {'outputs' if reads else 'features'} and of all {len(trainable)} parameters"


def says_what_it_reads(subject: ObjectiveSubject) -> str:
    """Check ``task_loss`` and ``embed`` against what the objective says of itself."""
    criterion, batch = subject.bound(), subject.batch
    if subject.objective.label_free and subject.objective.reads_outputs:
        raise Broken("expected label_free or reads_outputs, not both")
    try:
        loss = criterion.task_loss(batch.output.outputs, batch.target)
        if not subject.objective.reads_outputs:
            raise Broken("expected task_loss to raise NotImplementedError: no outputs are read")
        if loss.shape != ():
            raise Broken(f"expected a scalar of task_loss; seen {shape(loss)}")
    except NotImplementedError as error:
        if subject.objective.reads_outputs:
            raise Broken("expected task_loss: it reads outputs") from error
    if not criterion.aligns:
        return "task_loss as reads_outputs says; it aligns no modalities"
    clean = batch.map(lambda x: x.nan_to_num(0.5) if x.is_floating_point() else x)
    shapes = {shape(x) for x in criterion.embed(clean.output.pooled).values()}
    if len(shapes) != 1:
        raise Broken(f"expected embeddings of one width for all modalities; seen {sorted(shapes)}")
    return "task_loss and embed as it says"


def is_the_same_again(subject: ObjectiveSubject) -> str:
    """Check that one seed gives one loss."""
    losses = [call(subject.bound(), subject.batch) for _ in range(2)]
    expect_same(losses[1], losses[0], "the same loss from the same seed", "bound twice")
    return "from the same seed"


def is_a_mean(subject: ObjectiveSubject) -> str:
    """Check that the loss is a mean over the rows, whatever their number."""
    criterion, batch = subject.bound(), subject.batch
    once, twice = call(criterion, batch), call(criterion, batch.map(lambda x: torch.cat([x, x])))
    expected, seen = "a mean over the rows", "with the same rows twice over"
    if subject.compares_rows:
        if twice.abs() > SUMMED * once.abs() + 1e-6:
            ratio = number(float(twice / once))
            raise Broken(f"expected {expected}; {seen}, the loss is {ratio} times as large")
        return "a row's loss depends on the others, but not by their number alone"
    expect_same(twice, once, expected, seen)
    if not isinstance(criterion, OutputLoss):
        return "the same rows twice over, the same loss"
    rows = range(len(batch.target))
    alone = torch.stack([call(criterion, batch.row(row)) for row in rows])
    weights = torch.ones(len(rows))
    if criterion.weight is not None and subject.kind == "classes":
        weights = criterion.weight[batch.target].float()
    mean = (alone * weights).sum() / weights.sum()
    expect_same(mean, once, expected, "the mean of each row's loss, by its weight")
    return "of each row's loss, by its weight"


def parts_make_the_whole(subject: ObjectiveSubject) -> str:
    """Check that the parts of an accumulated step sum to the loss of all its rows."""
    if subject.compares_rows:
        raise Untested("compares_rows says that small batches are not one large batch")
    criterion, batch = subject.bound(), subject.batch
    step = StepRows(batch.target, batch.output.present)
    parts = []
    for rows in (slice(0, 5), slice(5, 6), slice(6, ROWS)):
        some = batch.map(lambda x, rows=rows: x[rows].clone())  # type: ignore[misc]
        parts.append(criterion.part(some.output, some.target, step))
    got, want = torch.stack(parts).sum(), call(criterion, batch)
    seen = "in batches of 5, 1 and 6, without compares_rows = True"
    expected = "the parts of an accumulated step to sum to the loss of its rows as one batch"
    expect_same(got, want, expected, seen)
    return "batches of 5, 1 and 6 rows sum to the loss of all 12"


def order_does_not_matter(subject: ObjectiveSubject) -> str:
    """Check that neither the order of the rows nor that of the dicts counts."""
    criterion, batch = subject.bound(), subject.batch
    want = call(criterion, batch)
    expected = "the same loss whatever the order"
    order = torch.arange(ROWS).roll(5)
    expect_same(call(criterion, batch.map(lambda x: x[order])), want, expected, "of the rows")
    expect_same(call(criterion, batch.reversed()), want, expected, "of the modalities")
    widths = {name: width.pooled for name, width in widths_of(COUNT).items()}
    torch.manual_seed(1)
    columns = batch.output.outputs.shape[1]
    other = subject.objective.bind(batch.target, columns, dict(reversed(widths.items())))
    torch.manual_seed(1)
    one = subject.objective.bind(batch.target, columns, widths)
    got, want = call(other, batch), call(one, batch)
    expect_same(got, want, expected, "of the widths that it is bound to")
    return "of rows and of modalities"


def absent_rows_are_not_read(subject: ObjectiveSubject) -> str:
    """Check that nothing depends on what stands where a modality is absent."""
    criterion, batch = subject.bound(), subject.batch
    found = []
    for junk in (float("nan"), 1e6):
        dirty = batch.filled(junk)
        leaves = dirty.map(lambda x: x.clone().requires_grad_() if x.is_floating_point() else x)
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
    for name, parameter in criterion.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise Broken(f"expected {expected}; the gradient of {name} is not finite")
    return "NaN and 1e6 there give the same loss"


def one_row_is_finite(subject: ObjectiveSubject) -> str:
    """Check a batch of one row, that has one modality: no pair, no negative, no covariance."""
    criterion, batch = subject.bound(), subject.batch
    first = next(iter(batch.output.present))
    alone = batch.map(lambda x: x[:1])
    present = {n: torch.tensor([n == first]) for n in alone.output.present}
    pooled = {n: x.nan_to_num(1.0) for n, x in alone.output.pooled.items()}
    loss = call(
        criterion, Said(replace(alone.output, pooled=pooled, present=present), alone.target)
    )
    if not loss.isfinite():
        raise Broken(f"expected a finite loss of one row with {first} alone; seen {loss.item()}")
    return "a batch of one row with one modality is finite"


def state_goes_to_another_instance(subject: ObjectiveSubject) -> str:
    """Check that all that it learns is in the state dict."""
    criterion, batch = subject.bound(), subject.batch
    call(criterion.train(), batch)
    other = load(subject.bound(seed=3), criterion)
    got, want = (call(each.eval(), batch) for each in (other, criterion))
    expect_same(got, want, "another with the state loaded to give the same loss", "bound anew")
    return f"{len(criterion.state_dict())} tensors"


def inputs_stay(subject: ObjectiveSubject) -> str:
    """Check that outputs, features and targets are not changed in place."""
    batch = subject.batch
    given = batch.map(torch.clone)
    subject.bound()(given.output, given.target)
    pairs = {**given.numbers, "target": given.target}
    for name, x in {**batch.numbers, "target": batch.target}.items():
        if distance(pairs[name], x) > 0:
            raise Broken(f"expected its inputs to stay as they are; {name} is changed")
    return "outputs, features and target stay as they are"


def takes_any_number(subject: ObjectiveSubject) -> str:
    """Check one, two and four modalities; one that compares them refuses a single one."""
    for count in (1, 2, 4):
        try:
            call(subject.bound(count), said(subject.kind, count=count))
        except ValueError:
            if count > 1 or not subject.objective.cross_modal:
                raise
        else:
            if count == 1 and subject.objective.cross_modal:
                raise Broken("expected a ValueError of bind with one modality: it is cross_modal")
    return "with 2 and 4, and one refused" if subject.objective.cross_modal else "with 1, 2, 4"


def has_sound_options(subject: ObjectiveSubject) -> str:
    """Check that a config can set the options, and that bad ones are refused."""

    def attempt(part: Part) -> None:
        other = ObjectiveSubject(part, part.make(), subject.kind)
        try:
            criterion = other.bound()
        except ValueError:  # the options do not fit the task
            return
        if not call(criterion, other.batch).isfinite():
            raise Broken("a loss that is not finite")

    return options_are_sound(subject.part, 0, (), attempt)


_ON = (MADE, REPEATED)
CHECKS: tuple[Check[ObjectiveSubject], ...] = (
    Check(MADE, is_made),
    Check("any number of modalities", takes_any_number, (MADE,)),
    Check("gradients", gradients_reach_all, (MADE,)),
    Check("what it says of itself", says_what_it_reads, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("dtype", keeps_the_dtype, _ON),
    Check("a mean over the rows", is_a_mean, _ON),
    Check("any order", order_does_not_matter, _ON),
    Check("accumulated steps", parts_make_the_whole, ("a mean over the rows", "any order")),
    Check("absent rows not read", absent_rows_are_not_read, _ON),
    Check("a batch of one row", one_row_is_finite, (MADE,)),
    Check("state dict", state_goes_to_another_instance, _ON),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
)
