"""Checks that readers of several modalities share: fusion, mapping and missing.

Shape legend: ``B`` batch, ``D`` width, ``M`` modalities.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from mmx.contract.base import MODES, SEED, Broken, Part, Untested
from mmx.contract.example_features import (
    COUNTS,
    JUNK,
    FeatureRows,
    list_numbers,
    make_features,
    make_training_rows,
    make_widths,
)
from mmx.contract.faults import describe_fault
from mmx.contract.gradients import find_gradient_that_is_not_finite, make_leaf
from mmx.contract.modules import ModuleSubject
from mmx.contract.state_dicts import expect_same_state
from mmx.fusion import Widths
from mmx.modalities import Encoded

_M = TypeVar("_M", bound=nn.Module)
_Out = TypeVar("_Out")


def make_worlds() -> list[dict[str, Widths]]:
    """Return the sets of modalities that are tried, of each number in COUNTS."""
    return [make_widths(count) for count in COUNTS]


def count_modalities(widths: dict[str, Widths]) -> str:
    """Return the number of modalities in words."""
    return f"{len(widths)} modalit{'y' if len(widths) == 1 else 'ies'}"


@dataclass(frozen=True)
class FeatureSubject(ModuleSubject[_M, FeatureRows, _Out], Generic[_M, _Out]):
    """A part that reads features, and what it is tried on.

    Attributes:
        part: The class and its options.
        make: ``make(widths)``, or with the arguments of its kind.
        worlds: Sets of modalities with their widths; most checks use the last.
    """

    positional = 1
    part: Part
    make: Callable[..., _M]
    worlds: Sequence[dict[str, Widths]] = field(default_factory=make_worlds)

    @property
    def widths(self) -> dict[str, Widths]:
        """The modalities that most checks use."""
        return self.worlds[-1]

    def each_world(self) -> Iterator[FeatureSubject[_M, _Out]]:
        """Yield the subject for each set of modalities; the one that most checks use is last."""
        for widths in self.worlds:
            yield replace(self, worlds=(widths,))

    @abstractmethod
    def make_for(self, widths: dict[str, Widths]) -> _M:
        """Return an instance for these modalities."""

    def build(self, seed: int = 1) -> _M:
        """Return an instance, its weights drawn from a seed; nothing is fitted."""
        torch.manual_seed(seed)
        return self.make_for(self.widths)

    def fit(self, module: _M, change: Callable[[FeatureRows], FeatureRows]) -> bool:
        """Fit a module on changed training rows, if its class is fitted.

        Returns:
            Whether it is fitted.
        """
        return False

    def make_inputs(self, seed: int | None = None) -> FeatureRows:
        """Return random features of the modalities."""
        return make_features(self.widths, seed=seed or 0)

    def run(self, module: _M, inputs: FeatureRows) -> Any:
        """Call the module itself, on the inputs themselves."""
        return module(inputs.features, inputs.present)

    @abstractmethod
    def receive(self, output: Any, rows: FeatureRows) -> _Out:
        """Return the result of a call; raise Broken where its type or shape is wrong."""

    def call(
        self, module: _M, inputs: FeatureRows, *, training: bool = False, seed: int = SEED
    ) -> _Out:
        """Return the output of a copy of a module on copies of rows, with seeded draws."""
        module = copy.deepcopy(module).train(training)
        torch.manual_seed(seed)
        rows = self.read(module, inputs).copy()
        return self.receive(self.run(module, rows), rows)

    def tensors(self, inputs: FeatureRows) -> dict[str, list[Tensor]]:
        """Return all tensors of a modality under its name."""
        return {
            name: [each.tokens, each.mask, each.pooled, *each.levels, inputs.present[name]]
            for name, each in inputs.features.items()
        }

    def pick_inputs(self, inputs: FeatureRows, rows: Tensor) -> FeatureRows:
        """Return some rows, by number."""
        return inputs.pick(rows)

    def change_first(self, inputs: FeatureRows) -> FeatureRows:
        """Return rows with other numbers in row 0."""
        return inputs.change_first()

    def try_part(self, part: Part) -> None:
        """Make the class with other options and use it once."""
        other = replace(self, part=part, make=part.make)
        output = other.call(other.prepare(), other.make_inputs())
        if not other.numbers(output).isfinite().all():
            raise Broken("numbers that are not finite")


AnyFeature = FeatureSubject[Any, Any]


def takes_any_number(subject: AnyFeature) -> str:
    """Check that it works with any number of modalities, and in a batch of one row."""
    for case in subject.each_world():
        try:
            rows, module = case.make_inputs(), case.prepare()
            for each in (rows, rows.pick(torch.tensor([0]))):
                case.call(module, each)
        except Exception as error:
            said = str(error) if isinstance(error, Broken) else describe_fault(error)
            count = count_modalities(case.widths)
            raise Broken(f"expected any number of modalities; with {count}, {said}") from error
    counts = sorted(len(widths) for widths in subject.worlds)
    return f"with {', '.join(str(each) for each in counts)} modalities"


def absent_rows_are_not_read(subject: AnyFeature) -> str:
    """Check that features of absent modalities are neither read nor learned from."""
    if len(subject.widths) == 1:
        raise Untested("with one modality no row lacks any")
    module, rows = subject.prepare(), subject.make_inputs()
    expected = "what stands in the rows of an absent modality not to be read"
    for training, mode in MODES.items():
        clean = subject.call(module, rows.fill_absent(0.0), training=training)
        for junk in JUNK:
            dirty = rows.fill_absent(junk)
            got = subject.call(module, dirty, training=training)
            subject.expect_equal(got, clean, expected, f"{mode}, with {junk:g} there instead of 0")
            _expect_clean_gradients(subject, module, dirty, training)
    for junk in JUNK:
        other = subject.build()
        if subject.fit(other, lambda rows, by=junk: rows.fill_absent(by)):  # type: ignore[misc]
            expect_same_state(other, module, expected, f"fitted with {junk:g} there")
    # The hardest case: all rows have the same single modality.
    first = next(iter(subject.widths))
    lonely = {name: torch.full_like(here, name == first) for name, here in rows.present.items()}
    alone = FeatureRows(rows.features, lonely).fill_absent(float("nan"))
    if not subject.numbers(subject.call(module, alone)).isfinite().all():
        raise Broken(f"expected {expected}; in a batch that has {first} alone, NaN comes out")
    return "NaN, infinity and 1e6 there change nothing"


def _expect_clean_gradients(
    subject: AnyFeature, module: nn.Module, rows: FeatureRows, training: bool
) -> None:
    """Check that gradients are finite, and zero in the rows of an absent modality."""
    module = copy.deepcopy(module).train(training)
    leaves, output = run_on_leaves(subject, module, rows)
    total = subject.numbers(output).square().sum()
    if not total.requires_grad:  # nothing is computed from features, as in an imputed constant
        return
    total.backward()  # type: ignore[no-untyped-call]
    if (name := find_gradient_that_is_not_finite(module)) is not None:
        raise Broken(
            f"expected finite gradients whatever stands in absent rows; that of {name} is not"
        )
    for name, each in leaves.features.items():
        absent = ~rows.present[name]
        for leaf in list_numbers(each):
            if leaf.grad is not None and not (leaf.grad[absent] == 0).all():
                raise Broken(f"expected no gradient in the absent rows of {name}; there is one")


def run_on_leaves(
    subject: AnyFeature, module: nn.Module, rows: FeatureRows
) -> tuple[FeatureRows, Any]:
    """Call a module on copies of leaves, since autograd forbids changing leaves in place.

    Returns:
        The leaves, which collect gradients, and the output.
    """
    rows = subject.read(module, rows)
    leaves = FeatureRows(
        {name: make_leaf(each) for name, each in rows.features.items()}, rows.present
    )
    given = leaves.copy()
    torch.manual_seed(SEED)
    return leaves, subject.receive(subject.run(module, given), given)


def order_does_not_matter(subject: AnyFeature) -> str:
    """Check that the order of modalities does not count, in the widths or in the features."""
    if len(subject.widths) == 1:
        raise Untested("one modality has no order")
    rows, module = subject.make_inputs(), subject.prepare()
    want = subject.call(module, rows)
    expected = "the same whatever the order of the modalities"
    turned = subject.call(module, rows.reverse())
    subject.expect_equal(turned, want, expected, "with the features reversed")
    other = replace(subject, worlds=(dict(reversed(subject.widths.items())),)).build()
    seen = "made from the widths reversed"
    # The rows are drawn in the order of the widths, so they are reversed after the draw.
    if not subject.fit(other, FeatureRows.reverse):
        expect_same_state(module, other, expected, seen)
    subject.expect_equal(subject.call(other, rows), want, expected, seen)
    return "the dicts reversed, the same numbers"


class FittedSubject(FeatureSubject[_M, FeatureRows], Generic[_M]):
    """A part that may be fitted before training: mapping and missing."""

    origin = "from the same seed and the same training rows"

    def prepare(self) -> _M:
        """Return an instance ready for training: fitted, if its class is fitted."""
        module = self.build()
        self.fit(module, lambda rows: rows)
        return module

    def fit(self, module: _M, change: Callable[[FeatureRows], FeatureRows]) -> bool:
        """Fit a module on changed training rows, where its class is fitted."""
        if not module.fitted:
            return False
        train = make_training_rows(self.widths)
        rows = change(FeatureRows(train.features, train.present))
        module.fit(Encoded(rows.features, rows.present, train.target), 0)  # type: ignore[operator]
        return True

    def fit_twice(self) -> _M:
        """Return an instance fitted first on other rows, then on those that all checks use.

        Raises:
            Untested: The class is not fitted.
            Broken: The fit moves torch's global generator.
        """
        again = self.build()
        if not again.fitted:
            raise Untested("it is not fitted")
        again.fit(make_training_rows(self.widths, 40, seed=4), 3)  # type: ignore[operator]
        generator = torch.get_rng_state()
        self.fit(again, lambda rows: rows)
        if not torch.equal(torch.get_rng_state(), generator):
            raise Broken("expected fit to draw from its seed alone; it moves torch's generator")
        return again

    def pick_outputs(self, output: FeatureRows, rows: Tensor) -> FeatureRows:
        """Return some rows of an output, by number."""
        return output.pick(rows)
