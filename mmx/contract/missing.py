"""The contract of a treatment of missing modalities, as checks; see :mod:`mmx.missing`.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmx.contract.base import BASICS, MADE, REPEATED, Broken, Check, Part
from mmx.contract.differences import distance, expect_same, format_shape
from mmx.contract.example_features import FeatureRows, list_numbers
from mmx.contract.gradients import make_leaf
from mmx.contract.modules import (
    inputs_stay,
    is_the_same_again,
    rows_are_not_mixed,
    state_goes_to_another_instance,
)
from mmx.contract.multimodal import (
    FittedSubject,
    absent_rows_are_not_read,
    order_does_not_matter,
    takes_any_number,
)
from mmx.contract.options import has_sound_options
from mmx.fusion import Widths
from mmx.missing import Missing
from mmx.missing.base import Shape


@dataclass(frozen=True)
class MissingSubject(FittedSubject[Missing]):
    """A treatment of missing modalities and what it is tried on."""

    row_promise = "what stands in for a row to depend on that row and the training rows alone"

    @classmethod
    def of(cls, part: Part) -> MissingSubject:
        """Return a part as the subject of the checks."""
        return cls(part, part.make)

    def make_for(self, widths: dict[str, Widths]) -> Missing:
        """Return an instance for these modalities."""
        return self.make({name: Shape(w.pooled, w.levels) for name, w in widths.items()})

    def receive(self, output: Any, rows: FeatureRows) -> FeatureRows:
        """Return features and presence."""
        return FeatureRows(*output)

    def numbers(self, output: FeatureRows) -> Tensor:
        """Return presence, and the features of the rows that are present, by modality."""
        parts = []
        for name, each in sorted(output.features.items()):
            here = output.present[name]
            parts.append(here.to(torch.get_default_dtype()))
            parts += [x[here].flatten() for x in list_numbers(each)]
        return torch.cat(parts)


def treats_features(subject: MissingSubject) -> str:
    """Check that it can be made, fitted if necessary, and called."""
    treatment = subject.prepare()
    subject.call(treatment, subject.make_inputs())
    return "fitted, and called" if treatment.fitted else "and called"


def shapes_stay(subject: MissingSubject) -> str:
    """Check that shapes and dtypes are kept, and that there are no parameters."""
    treatment, rows = subject.prepare(), subject.make_inputs()
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
        pairs = zip(list_numbers(each), list_numbers(rows.features[name]), strict=True)
        for new, old in pairs:
            if new.shape != old.shape or new.dtype != old.dtype:
                raise Broken(
                    f"expected {old.dtype} {format_shape(old)} of {name}; "
                    f"seen {new.dtype} {format_shape(new)}"
                )
        if treated.present[name].dtype != torch.bool:
            raise Broken(f"expected a presence of bool; that of {name} is another")
    return "shapes and dtypes stay, and nothing trains"


def fills_in_what_is_absent(subject: MissingSubject) -> str:
    """Check that features that are marked present are finite, whatever stood there before."""
    for case in subject.each_world():
        rows = case.make_inputs().fill_absent(float("nan"))
        treated = case.call(case.prepare(), rows)
        for name, each in treated.features.items():
            here = treated.present[name]
            if (rows.present[name] & ~here).any():
                raise Broken(f"expected what is present to stay present; {name} is taken away")
            if not all(x[here].isfinite().all() for x in list_numbers(each)):
                raise Broken(f"expected finite features where {name} is said to be present")
            if not each.mask[here].any(1).all():
                raise Broken(f"expected a real token where {name} is said to be present")
    return "what is said to be present is finite"


def leaves_what_is_present(subject: MissingSubject) -> str:
    """Check that present features pass unchanged, and so do their gradients."""
    rows, treatment = subject.make_inputs().fill_absent(float("nan")), subject.prepare()
    leaves = {name: make_leaf(each) for name, each in rows.features.items()}
    treated, _ = treatment({n: e.map(torch.clone) for n, e in leaves.items()}, rows.present)
    expected = "what is present to pass as it is"
    for name, each in treated.items():
        here = rows.present[name]
        for new, old in zip(list_numbers(each), list_numbers(rows.features[name]), strict=True):
            if distance(new[here], old[here]) > 0:
                raise Broken(f"expected {expected}; {name} is changed")
        # The gradient of the sum is 1 exactly where features pass unchanged.
        each.pooled[here].sum().backward(retain_graph=True)
        gradient = leaves[name].pooled.grad
        if gradient is None or distance(gradient[here], torch.ones_like(gradient[here])) > 0:
            raise Broken(f"expected {expected}, its gradient too; that of {name} is changed")
    return "features and gradients pass as they are"


def forgets_an_earlier_fit(subject: MissingSubject) -> str:
    """Check that a fit forgets an earlier one, and draws from its seed alone."""
    again = subject.fit_twice()
    rows = subject.make_inputs()
    got, want = (subject.call(each, rows) for each in (again, subject.prepare()))
    expected, seen = "a fit to forget an earlier one", "fitted on other rows before"
    expect_same(subject.numbers(got), subject.numbers(want), expected, seen)
    return "a second fit forgets the first"


CHECKS: tuple[Check[MissingSubject], ...] = (
    Check(MADE, treats_features),
    Check("any number of modalities", takes_any_number, (MADE,)),
    Check("shapes stay", shapes_stay, (MADE,)),
    Check("absent rows filled in", fills_in_what_is_absent, (MADE,)),
    Check("present rows left alone", leaves_what_is_present, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("rows not mixed", rows_are_not_mixed, BASICS),
    Check("absent rows not read", absent_rows_are_not_read, BASICS),
    Check("any order of the dict", order_does_not_matter, BASICS),
    Check("fitted anew", forgets_an_earlier_fit, BASICS),
    Check("state dict", state_goes_to_another_instance, BASICS),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
)
