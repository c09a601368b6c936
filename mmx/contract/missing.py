"""The contract of what stands in for missing modalities, as checks; see :mod:`mmx.missing`.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmx.contract.base import Broken, Check, Part, Untested
from mmx.contract.compare import distance, expect_same, shape
from mmx.contract.faults import describe
from mmx.contract.features import (
    COUNTS,
    JUNK,
    Rows,
    made_up,
    numbers_of,
    training_rows,
    widths_of,
)
from mmx.contract.options import options_are_sound
from mmx.contract.state import expect_same_state, load
from mmx.missing import Missing
from mmx.missing.base import Shape
from mmx.modalities import Encoded

MADE, REPEATED = "made and called", "the same again"
COUNT = COUNTS[-1]
SEED = 2
MODES = {False: "in evaluation", True: "in training"}


@dataclass(frozen=True)
class MissingSubject:
    """A treatment of missing modalities and what it is tried on.

    Attributes:
        part: The class and its options.
        make: ``make(shapes)``.
    """

    part: Part
    make: Callable[..., Missing]

    def made(self, count: int = COUNT, seed: int = 1, backwards: bool = False) -> Missing:
        """Return an instance for so many modalities; nothing is fitted."""
        torch.manual_seed(seed)
        shapes = {name: Shape(w.pooled, w.levels) for name, w in widths_of(count).items()}
        return self.make(dict(reversed(shapes.items())) if backwards else shapes)

    def ready(self, count: int = COUNT) -> Missing:
        """Return an instance as training has it: fitted where it has to be."""
        treatment = self.made(count)
        if treatment.fitted:
            treatment.fit(training_rows(widths_of(count)), 0)
        return treatment

    def call(self, treatment: Missing, rows: Rows, *, training: bool = False) -> Rows:
        """Return what a copy of a treatment makes of copies of rows."""
        treatment = copy.deepcopy(treatment).train(training)
        torch.manual_seed(SEED)
        rows = rows.copy()
        return Rows(*treatment(rows.features, rows.present))


def subject(part: Part) -> MissingSubject:
    """Return a part as the subject of the checks."""
    return MissingSubject(part, part.make)


def numbers(rows: Rows) -> Tensor:
    """Return all that counts: presence, and the features of rows that are present, by name."""
    parts = []
    for name in sorted(rows.features):
        here = rows.present[name]
        parts.append(here.to(torch.get_default_dtype()))
        parts += [x[here].flatten() for x in numbers_of(rows.features[name])]
    return torch.cat(parts)


def is_made(subject: MissingSubject) -> str:
    """Check that it can be made, fitted where it has to be, and called."""
    treatment = subject.ready()
    subject.call(treatment, made_up(widths_of(COUNT)))
    return "fitted, and called" if treatment.fitted else "and called"


def takes_any_number(subject: MissingSubject) -> str:
    """Check that it works with any number of modalities, and in a batch of one row."""
    for count in COUNTS:
        try:
            rows, treatment = made_up(widths_of(count)), subject.ready(count)
            for each in (rows, rows.alone(0)):
                subject.call(treatment, each)
        except Exception as error:
            raise Broken(
                f"expected any number of modalities; with {count}, {describe(error)}"
            ) from error
    return f"with {', '.join(str(count) for count in sorted(COUNTS))} modalities"


def shapes_stay(subject: MissingSubject) -> str:
    """Check that shapes and dtypes stay, and that nothing trains."""
    treatment, rows = subject.ready(), made_up(widths_of(COUNT))
    if names := [name for name, _ in treatment.named_parameters()]:
        raise Broken(f"expected no parameters: nothing of it trains; seen {', '.join(names[:5])}")
    treated = subject.call(treatment, rows)
    for what, got, given in (
        ("features", treated.features.keys(), rows.features.keys()),
        ("presence", treated.present.keys(), rows.present.keys()),
    ):
        if got != given:
            raise Broken(f"expected {what} of the same modalities; seen {', '.join(sorted(got))}")
    for name, each in treated.features.items():
        pairs = zip(numbers_of(each), numbers_of(rows.features[name]), strict=True)
        for new, old in pairs:
            if new.shape != old.shape or new.dtype != old.dtype:
                raise Broken(
                    f"expected {old.dtype} {shape(old)} of {name}; seen {new.dtype} {shape(new)}"
                )
        if treated.present[name].dtype != torch.bool:
            raise Broken(f"expected a presence of bool; that of {name} is another")
    return "shapes and dtypes stay, and nothing trains"


def fills_in_what_is_absent(subject: MissingSubject) -> str:
    """Check that what is said to be present is finite, whatever stood there."""
    for count in COUNTS:
        rows = made_up(widths_of(count)).with_junk(float("nan"))
        treated = subject.call(subject.ready(count), rows)
        for name, each in treated.features.items():
            here = treated.present[name]
            if (rows.present[name] & ~here).any():
                raise Broken(f"expected what is present to stay present; {name} is taken away")
            if not all(x[here].isfinite().all() for x in numbers_of(each)):
                raise Broken(f"expected finite features where {name} is said to be present")
            if not each.mask[here].any(1).all():
                raise Broken(f"expected a real token where {name} is said to be present")
    return "what is said to be present is finite"


def leaves_what_is_present(subject: MissingSubject) -> str:
    """Check that what is present passes as it is, gradients included."""
    rows, treatment = made_up(widths_of(COUNT)).with_junk(float("nan")), subject.ready()
    leaves = {
        name: each.map(lambda x: x.clone().requires_grad_() if x.is_floating_point() else x)
        for name, each in rows.features.items()
    }
    treated, _ = treatment({n: e.map(torch.clone) for n, e in leaves.items()}, rows.present)
    expected = "what is present to pass as it is"
    for name, each in treated.items():
        here = rows.present[name]
        for new, old in zip(numbers_of(each), numbers_of(rows.features[name]), strict=True):
            if distance(new[here], old[here]) > 0:
                raise Broken(f"expected {expected}; {name} is changed")
        each.pooled[here].sum().backward(retain_graph=True)
        gradient = leaves[name].pooled.grad
        if gradient is None or distance(gradient[here], torch.ones_like(gradient[here])) > 0:
            raise Broken(f"expected {expected}, its gradient too; that of {name} is changed")
    return "features and gradients pass as they are"


def is_the_same_again(subject: MissingSubject) -> str:
    """Check that one seed gives one result, in fit and in forward."""
    rows, treatment = made_up(widths_of(COUNT)), subject.ready()
    expect_same_state(treatment, subject.ready(), "the same from the same seed and training rows")
    for training, mode in MODES.items():
        one, again = (numbers(subject.call(treatment, rows, training=training)) for _ in range(2))
        expect_same(again, one, f"the same output {mode} from the same seed", "called twice")
    return "from the same seed and the same training rows"


def rows_are_not_mixed(subject: MissingSubject) -> str:
    """Check that what stands in for a row depends on that row alone, in either mode."""
    treatment, rows = subject.ready(), made_up(widths_of(COUNT))
    expected = "what stands in for a row to depend on that row and the training rows alone"
    others = torch.arange(1, len(rows))
    for training, mode in MODES.items():
        before = subject.call(treatment, rows, training=training).pick(others)
        after = subject.call(treatment, rows.first_changed(), training=training).pick(others)
        text = f"{mode}, with other numbers in row 0"
        expect_same(numbers(after), numbers(before), expected, text)
    for row in range(len(rows)):
        alone = subject.call(treatment, rows.alone(row))
        want = subject.call(treatment, rows).alone(row)
        expect_same(numbers(alone), numbers(want), expected, f"row {row} alone")
    return "with other rows beside it, and alone"


def absent_rows_are_not_read(subject: MissingSubject) -> str:
    """Check that what stands where a modality is absent is neither read nor learned from."""
    treatment, rows = subject.ready(), made_up(widths_of(COUNT))
    expected = "what stands in the rows of an absent modality not to be read"
    clean = numbers(subject.call(treatment, rows.with_junk(0.0)))
    train = training_rows(widths_of(COUNT))
    for junk in JUNK:
        dirty = numbers(subject.call(treatment, rows.with_junk(junk)))
        expect_same(dirty, clean, expected, f"with {junk:g} there instead of 0")
        if treatment.fitted:
            other, given = subject.made(), Rows(train.features, train.present).with_junk(junk)
            other.fit(Encoded(given.features, given.present, train.target), 0)
            expect_same_state(other, treatment, expected, f"fitted with {junk:g} there")
    return "NaN, infinity and 1e6 there change nothing"


def order_does_not_matter(subject: MissingSubject) -> str:
    """Check that neither the shapes' order nor that of the features counts."""
    rows, treatment = made_up(widths_of(COUNT)), subject.ready()
    want = numbers(subject.call(treatment, rows))
    expected = "the same whatever the order of the modalities"
    turned = numbers(subject.call(treatment, rows.reversed()))
    expect_same(turned, want, expected, "with the features reversed")
    other = subject.made(backwards=True)
    if treatment.fitted:
        train = training_rows(widths_of(COUNT))
        given = Rows(train.features, train.present).reversed()
        other.fit(Encoded(given.features, given.present, train.target), 0)
    text = "made from the shapes reversed"
    expect_same(numbers(subject.call(other, rows)), want, expected, text)
    return "the dicts reversed, the same numbers"


def forgets_an_earlier_fit(subject: MissingSubject) -> str:
    """Check that a fit forgets an earlier one, and draws from its seed alone."""
    treatment = subject.ready()
    if not treatment.fitted:
        raise Untested("it is not fitted")
    again = subject.made()
    again.fit(training_rows(widths_of(COUNT), 40, seed=4), 3)
    generator = torch.get_rng_state()
    again.fit(training_rows(widths_of(COUNT)), 0)
    if not torch.equal(torch.get_rng_state(), generator):
        raise Broken("expected fit to draw from its seed alone; it moves torch's generator")
    rows = made_up(widths_of(COUNT))
    got, want = (numbers(subject.call(each, rows)) for each in (again, treatment))
    expect_same(got, want, "a fit to forget an earlier one", "fitted on other rows before")
    return "a second fit forgets the first"


def state_goes_to_another_instance(subject: MissingSubject) -> str:
    """Check that all that is learned is in the state dict."""
    rows, treatment = made_up(widths_of(COUNT)), subject.ready()
    given = rows.copy()
    treatment.train()(given.features, given.present)
    other = load(subject.made(seed=3), treatment)
    got, want = (numbers(subject.call(each, rows)) for each in (other, treatment))
    expect_same(got, want, "a fresh instance with the state loaded to say the same", "after fit")
    return f"{len(treatment.state_dict())} tensors"


def inputs_stay(subject: MissingSubject) -> str:
    """Check that features and presence are not changed in place."""
    rows, treatment = made_up(widths_of(COUNT)), subject.ready()
    given = rows.copy()
    treatment(given.features, given.present)
    for name, each in rows.features.items():
        pairs = zip(numbers_of(given.features[name]), numbers_of(each), strict=True)
        moved = (given.present[name] != rows.present[name]).any()
        if moved or any(distance(new, old) > 0 for new, old in pairs):
            raise Broken(f"expected its inputs to stay as they are; {name} is changed")
    return "features and presence stay as they are"


def has_sound_options(subject: MissingSubject) -> str:
    """Check that a config can set the options, and that bad ones are refused."""

    def attempt(part: Part) -> None:
        other = MissingSubject(part, part.make)
        if not numbers(other.call(other.ready(), made_up(widths_of(COUNT)))).isfinite().all():
            raise Broken("numbers that are not finite")

    return options_are_sound(subject.part, 1, (), attempt)


_ON = (MADE, REPEATED)
CHECKS: tuple[Check[MissingSubject], ...] = (
    Check(MADE, is_made),
    Check("any number of modalities", takes_any_number, (MADE,)),
    Check("shapes stay", shapes_stay, (MADE,)),
    Check("absent rows filled in", fills_in_what_is_absent, (MADE,)),
    Check("present rows left alone", leaves_what_is_present, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("rows not mixed", rows_are_not_mixed, _ON),
    Check("absent rows not read", absent_rows_are_not_read, _ON),
    Check("any order of the dict", order_does_not_matter, _ON),
    Check("fitted anew", forgets_an_earlier_fit, _ON),
    Check("state dict", state_goes_to_another_instance, _ON),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
)
