"""The contract of a head, as checks; see :mod:`mmx.transfer.heads`.

Shape legend: ``N`` rows, ``B`` batch, ``D`` width of the fused features, ``C`` outputs.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmx.contract.base import Broken, Check, Part, Untested
from mmx.contract.compare import distance, expect_same, expect_same_rows, shape
from mmx.contract.options import options_are_sound
from mmx.contract.state import expect_same_state, load
from mmx.transfer.base import Kind
from mmx.transfer.heads.base import FittedHead, Head

ROWS, WIDTH, CLASSES = 24, 5, 3
SEED = 2
MODES = {False: "in evaluation", True: "in training"}
MADE, REPEATED = "made and called", "the same again"


@dataclass(frozen=True)
class HeadSubject:
    """A head and what it is tried on.

    Attributes:
        part: The class and its options.
        head: An instance.
    """

    part: Part
    head: Head

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of target that it serves."""
        return sorted(self.head.kinds)

    def ready(self, kind: Kind, seed: int = 1) -> nn.Module:
        """Return the module, fitted where it has to be."""
        return self.solutions(kind, seed)[0]

    def solutions(self, kind: Kind, seed: int = 1) -> list[nn.Module]:
        """Return the module, or one for each candidate of a head that is fitted."""
        torch.manual_seed(seed)
        outputs = outputs_of(kind)
        module = self.head.make(WIDTH, outputs, kind)
        if not isinstance(self.head, FittedHead):
            return [module]
        x, y = rows(), targets(kind)
        found = []
        for candidate in self.head.candidates(x.clone(), y.clone(), outputs, kind):
            fresh = self.head.make(WIDTH, outputs, kind)
            fresh.load_state_dict(candidate.state)
            found.append(fresh)
        if not found:
            raise Broken("expected one candidate at least; there is none")
        return found


def subject(part: Part) -> HeadSubject:
    """Return a part as the subject of the checks."""
    return HeadSubject(part, part.make())


def outputs_of(kind: Kind) -> int:
    """Return C."""
    return 1 if kind == "regression" else CLASSES


def rows(seed: int = 0, count: int = ROWS) -> Tensor:
    """Return ``(N, D)`` features."""
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def targets(kind: Kind) -> Tensor:
    """Return targets of the rows."""
    draw = torch.Generator().manual_seed(7)
    if kind == "classes":
        return torch.arange(ROWS) % CLASSES
    if kind == "multilabel":
        return (torch.rand(ROWS, CLASSES, generator=draw) < 0.5).float()
    return torch.randn(ROWS, generator=draw)


def call(module: nn.Module, x: Tensor, *, training: bool = False, seed: int = SEED) -> Tensor:
    """Return what a copy of a module makes of a copy of rows, draws from a seed."""
    module = copy.deepcopy(module).train(training)
    torch.manual_seed(seed)
    output = module(x.clone())
    if not isinstance(output, Tensor):
        raise Broken(f"expected a tensor (B, C); seen a {type(output).__name__}")
    return output


def is_made(subject: HeadSubject) -> str:
    """Check that it gives finite outputs (B, C) of every kind of target that it serves."""
    for kind in subject.kinds:
        for module in subject.solutions(kind):
            output, wanted = call(module, rows(1)), (ROWS, outputs_of(kind))
            if tuple(output.shape) != wanted:
                raise Broken(f"expected {wanted} of {kind}; seen {shape(output)}")
            if not output.isfinite().all():
                raise Broken(f"expected finite outputs of {kind}")
    return f"(B, C) for {', '.join(subject.kinds)}"


def keeps_the_dtype(subject: HeadSubject) -> str:
    """Check float32 out of float32."""
    for kind in subject.kinds:
        output = call(subject.ready(kind), rows(1))
        if output.dtype != torch.float32:
            raise Broken(f"expected torch.float32 of float32 features; seen {output.dtype}")
    return "float32"


def gradients_reach_all(subject: HeadSubject) -> str:
    """Check that every parameter learns, where the head is trained by gradients."""
    if isinstance(subject.head, FittedHead):
        raise Untested("it is fitted, not trained by gradients")
    for kind in subject.kinds:
        module = subject.ready(kind).train()
        output = module(rows(1))
        (output * torch.randn_like(output)).sum().backward()
        trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        dead = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
        if dead:
            raise Broken(
                f"expected a gradient in every parameter; none reaches {', '.join(dead[:5])}"
            )
    return f"of all {len(trainable)} parameters"


def is_the_same_again(subject: HeadSubject) -> str:
    """Check that one seed gives one head, and that evaluation and fitting draw nothing."""
    for kind in subject.kinds:
        one, other = subject.ready(kind), subject.ready(kind)
        expect_same_state(one, other, f"the same head from the same seed and rows, of {kind}")
        if isinstance(subject.head, FittedHead):
            before = torch.get_rng_state()
            list(subject.head.candidates(rows(), targets(kind), outputs_of(kind), kind))
            if not torch.equal(before, torch.get_rng_state()):
                raise Broken("expected fitting to draw nothing; it moves torch's generator")
        for training, mode in MODES.items():
            got, want = (call(one, rows(1), training=training) for _ in range(2))
            expect_same(got, want, f"the same output {mode} from the same seed", "called twice")
        got, want = call(one, rows(1), seed=SEED + 1), call(one, rows(1))
        expect_same(got, want, "evaluation to draw nothing at random", "from another seed")
    return "from the same seed and the same rows"


def rows_are_not_mixed(subject: HeadSubject) -> str:
    """Check that in evaluation a row's output depends on that row alone."""
    expected = "a row's output to depend on that row alone"
    for kind in subject.kinds:
        module, x = subject.ready(kind), rows(1)
        want, other = call(module, x), x.clone()
        other[0] = 7.0
        seen = f"of {kind}, with other numbers in row 0"
        expect_same_rows(call(module, other), want, range(1, ROWS), expected, seen)
        for row in (0, ROWS - 1):
            alone = call(module, x[row : row + 1])
            expect_same(alone[0], want[row], expected, f"row {row} in a batch of its own")
        order = torch.arange(ROWS).roll(3)
        expect_same(call(module, x[order]), want[order], expected, "in another order of rows")
    return "with other rows beside it, alone and in another order"


def state_goes_to_another_instance(subject: HeadSubject) -> str:
    """Check that all that is learned is in the state dict."""
    for kind in subject.kinds:
        module = subject.ready(kind)
        if not isinstance(subject.head, FittedHead):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(0.01 * torch.randn_like(parameter))
                module.train()(rows(3))
        torch.manual_seed(3)
        other = load(subject.head.make(WIDTH, outputs_of(kind), kind), module)
        got, want = call(other, rows(1)), call(module, rows(1))
        expect_same(got, want, "a fresh head with the state loaded to say the same", f"of {kind}")
    return "a fresh head with the state loaded says the same"


def inputs_stay(subject: HeadSubject) -> str:
    """Check that features and targets are not changed in place."""
    for kind in subject.kinds:
        for training in MODES:
            x = rows(1)
            subject.ready(kind).train(training)(x)
            if distance(x, rows(1)) > 0:
                raise Broken("expected the features to stay as they are; forward changes them")
        if isinstance(subject.head, FittedHead):
            x, y = rows(), targets(kind)
            list(subject.head.candidates(x, y, outputs_of(kind), kind))
            if distance(x, rows()) > 0 or distance(y, targets(kind)) > 0:
                raise Broken("expected the training rows to stay as they are; a fit changes them")
    return "features and targets stay as they are"


def is_frozen(subject: HeadSubject) -> str:
    """Check that it is a frozen dataclass: its repr is part of a cache's key."""
    again = subject.part.make()
    if subject.head != again or repr(subject.head) != repr(again):
        raise Broken(
            "expected @dataclass(frozen=True, kw_only=True), so that equal options make equal "
            f"heads; seen {subject.head!r} and {again!r}"
        )
    try:
        hash(subject.head)
    except TypeError as error:
        raise Broken("expected a frozen dataclass, of options that cannot change") from error
    names = inspect.signature(subject.part.kind).parameters
    lacking = [name for name in names if f"{name}=" not in repr(subject.head)]
    if lacking:
        raise Broken(f"expected every option in its repr; {', '.join(lacking)} is not")
    return repr(subject.head)


def has_sound_options(subject: HeadSubject) -> str:
    """Check that a config can set the options, and that bad ones are refused."""

    def attempt(part: Part) -> None:
        is_made(HeadSubject(part, part.make()))

    return options_are_sound(subject.part, 0, (), attempt)


_ON = (MADE, REPEATED)
CHECKS: tuple[Check[HeadSubject], ...] = (
    Check(MADE, is_made),
    Check("dtype", keeps_the_dtype, (MADE,)),
    Check("gradients", gradients_reach_all, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("rows not mixed", rows_are_not_mixed, _ON),
    Check("state dict", state_goes_to_another_instance, _ON),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("frozen dataclass", is_frozen),
    Check("options", has_sound_options, (MADE,)),
)
