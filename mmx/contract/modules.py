"""Checks that all modules share: encoder, fusion, mapping, missing and head.

The :class:`ModuleSubject` of a kind says how a part is made and called, and which numbers of an
output count. Promises of only one kind are in its file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from mmx.contract.base import MODES, SEED, Broken, Subject
from mmx.contract.differences import distance, expect_same
from mmx.contract.state_dicts import expect_same_state, load_state

_M = TypeVar("_M", bound=nn.Module)
_In = TypeVar("_In")
_Out = TypeVar("_Out")
ALONE = 4
"""Number of rows, spread over the batch, that are also tried as a batch of one."""


class ModuleSubject(Subject, Generic[_M, _In, _Out]):
    """How a module is made, called and compared.

    Attributes:
        row_modes: The modes in which a row depends on that row alone.
        row_promise: That promise in words, for this kind.
        origin: What determines the numbers of a part, in words.
        inputs_in_words: The inputs of a call, in words.
        label: Distinguishes this case in messages.
    """

    row_modes: ClassVar[Mapping[bool, str]] = MODES
    row_promise: ClassVar[str] = "what is said of a row to depend on that row alone"
    origin: ClassVar[str] = "from the same seed, and in evaluation from any"
    inputs_in_words: ClassVar[str] = "features and presence"
    label: str = ""

    @abstractmethod
    def build(self, seed: int = 1) -> _M:
        """Return an instance, its weights drawn from a seed; nothing is fitted."""

    def prepare(self) -> _M:
        """Return an instance ready for training: fitted, if its class is fitted."""
        return self.build()

    @abstractmethod
    def make_inputs(self, seed: int | None = None) -> _In:
        """Return inputs of a call; without a seed, those that all checks use."""

    @abstractmethod
    def call(self, module: _M, inputs: _In, *, training: bool = False, seed: int = SEED) -> _Out:
        """Return the output of a copy of a module on copies of inputs, with seeded draws."""

    @abstractmethod
    def run(self, module: _M, inputs: _In) -> Any:
        """Call the module itself, on the inputs themselves."""

    @abstractmethod
    def numbers(self, output: _Out) -> Tensor:
        """Return the numbers of an output that count, as one tensor."""

    @abstractmethod
    def tensors(self, inputs: _In) -> dict[str, list[Tensor]]:
        """Return the tensors of inputs, by their names in messages."""

    @abstractmethod
    def pick_inputs(self, inputs: _In, rows: Tensor) -> _In:
        """Return some rows of inputs, by number."""

    @abstractmethod
    def pick_outputs(self, output: _Out, rows: Tensor) -> _Out:
        """Return some rows of an output, by number."""

    @abstractmethod
    def change_first(self, inputs: _In) -> _In:
        """Return inputs with other numbers in row 0."""

    def cases(self) -> Iterator[ModuleSubject[_M, _In, _Out]]:
        """Yield the subject once for each case, such as a kind of target or a set of modalities."""
        yield self

    def row_cases(self) -> Iterator[ModuleSubject[_M, _In, _Out]]:
        """Yield the subject once for each case in which rows are compared."""
        yield from self.cases()

    def read(self, module: _M, inputs: _In) -> _In:
        """Return inputs as the model passes them to the part."""
        return inputs

    def expect_equal(self, got: _Out, want: _Out, expected: str, seen: str) -> None:
        """Raise Broken where two outputs differ in numbers that count."""
        expect_same(self.numbers(got), self.numbers(want), expected, seen)

    def expect_same_others(
        self, got: _Out, want: _Out, rows: Tensor, expected: str, seen: str
    ) -> None:
        """Raise Broken where rows differ that were not changed."""
        got, want = self.pick_outputs(got, rows), self.pick_outputs(want, rows)
        self.expect_equal(got, want, expected, seen)


AnyModule = ModuleSubject[Any, Any, Any]


def is_the_same_again(subject: AnyModule) -> str:
    """Check that one seed gives one result, and that evaluation draws nothing."""
    for case in subject.cases():
        module, inputs = case.prepare(), case.make_inputs()
        expect_same_state(module, case.prepare(), f"the same {case.label}{case.origin}")
        for training, mode in MODES.items():
            once, again = (
                case.numbers(case.call(module, inputs, training=training)) for _ in range(2)
            )
            expect_same(again, once, f"the same output {mode} from the same seed", "called twice")
            if training:
                continue
            other = case.numbers(case.call(module, inputs, seed=SEED + 1))
            seen = "with another state of torch's generator"
            expect_same(other, once, "evaluation to draw nothing at random", seen)
    return subject.origin


def rows_are_not_mixed(subject: AnyModule) -> str:
    """Check that the output of a row depends on that row alone."""
    for case in subject.row_cases():
        module, inputs = case.prepare(), case.make_inputs()
        expected = case.row_promise
        together = case.call(module, inputs)
        rows = torch.arange(len(next(iter(case.tensors(inputs).values()))[0]))
        for training, mode in case.row_modes.items():
            before = case.call(module, inputs, training=training)
            after = case.call(module, case.change_first(inputs), training=training)
            seen = f"{case.label}{mode}, with other numbers in row 0"
            case.expect_same_others(after, before, rows[1:], expected, seen)
        for row in sorted({round(at) for at in torch.linspace(0, len(rows) - 1, ALONE).tolist()}):
            alone = case.call(module, case.pick_inputs(inputs, rows[row : row + 1]))
            want = case.pick_outputs(together, rows[row : row + 1])
            case.expect_equal(alone, want, expected, f"row {row} in a batch of its own")
        order = rows.roll(len(rows) // 2 - 1)
        turned = case.call(module, case.pick_inputs(inputs, order))
        want = case.pick_outputs(together, order)
        case.expect_equal(turned, want, expected, "in another order of rows")
    return "with other rows in the batch, alone and in another order"


def state_goes_to_another_instance(subject: AnyModule) -> str:
    """Check that everything that is learned is in the state dict."""
    for case in subject.cases():
        module, inputs = case.prepare(), case.make_inputs()
        with torch.no_grad():  # imitate training: move weights and gather statistics
            for parameter in module.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
            for seed in (5, 6):
                case.run(module.train(), case.read(module, case.make_inputs(seed)))
        other = load_state(case.build(seed=3), module)
        for training, mode in MODES.items():
            got = case.numbers(case.call(other, inputs, training=training))
            want = case.numbers(case.call(module, inputs, training=training))
            expected = "a fresh instance with the state loaded to say the same"
            expect_same(got, want, expected, f"{case.label}{mode}")
    return f"{len(module.state_dict())} tensors"


def inputs_stay(subject: AnyModule) -> str:
    """Check that a call does not change its inputs in place."""
    for case in subject.cases():
        for training, mode in MODES.items():
            module = case.prepare().train(training)
            inputs = case.read(module, case.make_inputs())
            before = {
                name: [x.clone() for x in each] for name, each in case.tensors(inputs).items()
            }
            case.run(module, inputs)
            after = case.tensors(inputs)
            if list(before) != list(after):
                raise Broken(f"expected the dict to stay as it is; {mode} its keys change")
            for name, each in after.items():
                if any(distance(new, old) > 0 for new, old in zip(each, before[name], strict=True)):
                    raise Broken(
                        f"expected its inputs to stay as they are; {mode} {name} is changed"
                    )
    return f"{subject.inputs_in_words} stay as they are"
