"""The contract of a head, as checks; see :mod:`mmx.transfer.heads`.

Shape legend: ``N`` rows, ``B`` batch, ``D`` width of the fused features, ``C`` outputs.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmx.contract.base import BASICS, MADE, REPEATED, SEED, Broken, Check, Part, Untested
from mmx.contract.differences import distance, expect_same_rows, format_shape
from mmx.contract.gradients import expect_gradients
from mmx.contract.modules import (
    ModuleSubject,
    inputs_stay,
    is_the_same_again,
    rows_are_not_mixed,
    state_goes_to_another_instance,
)
from mmx.contract.options import has_sound_options
from mmx.transfer.base import TargetKind
from mmx.transfer.heads.base import FittedHead, Head

ROWS, WIDTH, CLASSES = 24, 5, 3


@dataclass(frozen=True)
class HeadSubject(ModuleSubject[nn.Module, Tensor, Tensor]):
    """A head and what it is tried on.

    Attributes:
        part: The class and its options.
        head: An instance.
        kind: Kind of the target.
    """

    # In training, a head may drop out, and normalise over the rows of a batch.
    row_modes: ClassVar[Mapping[bool, str]] = {False: "in evaluation"}
    row_promise = "a row's output to depend on that row alone"
    origin = "from the same seed and the same rows"
    inputs_in_words = "features and targets"
    part: Part
    head: Head
    kind: TargetKind = "classes"

    @classmethod
    def of(cls, part: Part) -> HeadSubject:
        """Return a part as the subject of the checks."""
        return cls(part, part.make())

    @property
    def label(self) -> str:  # type: ignore[override]
        """The kind of target, for a message."""
        return f"of {self.kind}, "

    def cases(self) -> Iterator[HeadSubject]:
        """Yield the subject for each kind of target that the head can predict."""
        for kind in sorted(self.head.kinds):
            yield replace(self, kind=kind)

    def build(self, seed: int = 1) -> nn.Module:
        """Return a fresh module; nothing is fitted."""
        torch.manual_seed(seed)
        return self.head.make(WIDTH, count_outputs(self.kind), self.kind)

    def prepare(self) -> nn.Module:
        """Return the module, fitted where it has to be."""
        return self.solve()[0]

    def solve(self) -> list[nn.Module]:
        """Return the module, or one for each candidate of a head that is fitted."""
        module = self.build()
        if not isinstance(self.head, FittedHead):
            return [module]
        found = []
        for candidate in self.fit(make_feature_rows(), make_targets(self.kind)):
            fresh = self.head.make(WIDTH, count_outputs(self.kind), self.kind)
            fresh.load_state_dict(candidate.state)
            found.append(fresh)
        if not found:
            raise Broken("expected one candidate at least; there is none")
        return found

    def fit(self, x: Tensor, y: Tensor) -> list[Any]:
        """Return the candidates of a head that is fitted; none of one that is trained."""
        if not isinstance(self.head, FittedHead):
            return []
        return list(self.head.candidates(x, y, count_outputs(self.kind), self.kind))

    def make_inputs(self, seed: int | None = None) -> Tensor:
        """Return features ``(N, D)`` that the head was not fitted on."""
        return make_feature_rows(seed or 1)

    def run(self, module: nn.Module, inputs: Tensor) -> Any:
        """Call the module itself, on the inputs themselves."""
        return module(inputs)

    def call(
        self, module: nn.Module, inputs: Tensor, *, training: bool = False, seed: int = SEED
    ) -> Tensor:
        """Return the output of a copy of a module on a copy of rows, with seeded draws."""
        module = copy.deepcopy(module).train(training)
        torch.manual_seed(seed)
        output = module(inputs.clone())
        if not isinstance(output, Tensor):
            raise Broken(f"expected a tensor (B, C); seen a {type(output).__name__}")
        return output

    def numbers(self, output: Tensor) -> Tensor:
        """Return the output: all of it counts."""
        return output

    def tensors(self, inputs: Tensor) -> dict[str, list[Tensor]]:
        """Return the features."""
        return {"the batch of features": [inputs]}

    def pick_inputs(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """Return some rows of inputs, by number."""
        return inputs[rows]

    def pick_outputs(self, output: Tensor, rows: Tensor) -> Tensor:
        """Return some rows of an output, by number."""
        return output[rows]

    def change_first(self, inputs: Tensor) -> Tensor:
        """Return rows with other numbers in row 0."""
        return torch.cat([torch.full_like(inputs[:1], 7.0), inputs[1:]])

    def expect_same_others(
        self, got: Tensor, want: Tensor, rows: Tensor, expected: str, seen: str
    ) -> None:
        """Raise Broken, with their numbers, where rows differ that were not changed."""
        expect_same_rows(got, want, rows.tolist(), expected, seen)

    def try_part(self, part: Part) -> None:
        """Make the class with other options and use it once."""
        gives_outputs(HeadSubject.of(part))


def count_outputs(kind: TargetKind) -> int:
    """Return C."""
    return 1 if kind == "regression" else CLASSES


def make_feature_rows(seed: int = 0, count: int = ROWS) -> Tensor:
    """Return ``(N, D)`` features."""
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def make_targets(kind: TargetKind) -> Tensor:
    """Return targets of the rows."""
    draw = torch.Generator().manual_seed(7)
    if kind == "classes":
        return torch.arange(ROWS) % CLASSES
    if kind == "multilabel":
        return (torch.rand(ROWS, CLASSES, generator=draw) < 0.5).float()
    return torch.randn(ROWS, generator=draw)


def gives_outputs(subject: HeadSubject) -> str:
    """Check that outputs are finite and ``(B, C)`` for every kind of target of the head."""
    for case in subject.cases():
        for module in case.solve():
            output, wanted = case.call(module, case.make_inputs()), (ROWS, count_outputs(case.kind))
            if tuple(output.shape) != wanted:
                raise Broken(f"expected {wanted} of {case.kind}; seen {format_shape(output)}")
            if not output.isfinite().all():
                raise Broken(f"expected finite outputs of {case.kind}")
    return f"(B, C) for {', '.join(sorted(subject.head.kinds))}"


def head_keeps_the_dtype(subject: HeadSubject) -> str:
    """Check float32 out of float32."""
    for case in subject.cases():
        output = case.call(case.prepare(), case.make_inputs())
        if output.dtype != torch.float32:
            raise Broken(f"expected torch.float32 of float32 features; seen {output.dtype}")
    return "float32"


def gradients_reach_the_head(subject: HeadSubject) -> str:
    """Check that every parameter learns, where the head is trained by gradients."""
    if isinstance(subject.head, FittedHead):
        raise Untested("it is fitted, not trained by gradients")
    for case in subject.cases():
        module = case.prepare().train()
        output = module(case.make_inputs())
        (output * torch.randn_like(output)).sum().backward()
        count = expect_gradients(module, "a gradient in every parameter")
    return f"of all {count} parameters"


def fits_the_same_again(subject: HeadSubject) -> str:
    """Check that one seed gives one head, and that evaluation and fitting draw nothing."""
    found = is_the_same_again(subject)
    for case in subject.cases():
        before = torch.get_rng_state()
        case.fit(make_feature_rows(), make_targets(case.kind))
        if not torch.equal(before, torch.get_rng_state()):
            raise Broken("expected fitting to draw nothing; it moves torch's generator")
    return found


def features_and_targets_stay(subject: HeadSubject) -> str:
    """Check that neither a call nor a fit changes its inputs in place."""
    for case in subject.cases():
        x, y = make_feature_rows(), make_targets(case.kind)
        case.fit(x, y)
        if distance(x, make_feature_rows()) > 0 or distance(y, make_targets(case.kind)) > 0:
            raise Broken("expected the training rows to stay as they are; a fit changes them")
    return inputs_stay(subject)


def is_frozen(subject: HeadSubject) -> str:
    """Check that it is a frozen dataclass, since its repr is part of a cache key."""
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


CHECKS: tuple[Check[HeadSubject], ...] = (
    Check(MADE, gives_outputs),
    Check("dtype", head_keeps_the_dtype, (MADE,)),
    Check("gradients", gradients_reach_the_head, (MADE,)),
    Check(REPEATED, fits_the_same_again, (MADE,)),
    Check("rows not mixed", rows_are_not_mixed, BASICS),
    Check("state dict", state_goes_to_another_instance, BASICS),
    Check("inputs not changed", features_and_targets_stay, (MADE,)),
    Check("frozen dataclass", is_frozen),
    Check("options", has_sound_options, (MADE,)),
)
