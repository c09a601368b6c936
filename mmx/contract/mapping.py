"""The contract of a mapping, as checks; see :mod:`mmx.mapping`.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmx.contract.base import BASICS, MADE, MODES, REPEATED, SEED, Broken, Check, Part
from mmx.contract.differences import distance, expect_same, format_shape
from mmx.contract.example_features import TOKENS, FeatureRows
from mmx.contract.gradients import expect_gradients
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
    run_on_leaves,
    takes_any_number,
)
from mmx.contract.options import has_sound_options
from mmx.contract.state_dicts import expect_same_state
from mmx.fusion import Widths
from mmx.mapping import Mapping
from mmx.modalities import Features


@dataclass(frozen=True)
class MappingSubject(FittedSubject[Mapping]):
    """A mapping and what it is tried on."""

    row_promise = "what a row is mapped to, to depend on that row alone"

    @classmethod
    def of(cls, part: Part) -> MappingSubject:
        """Return a part as the subject of the checks."""
        return cls(part, part.make)

    def make_for(self, widths: dict[str, Widths]) -> Mapping:
        """Return an instance for these modalities."""
        return self.make({name: each.pooled for name, each in widths.items()})

    def receive(self, output: Any, rows: FeatureRows) -> FeatureRows:
        """Return features of the same modalities, and which of them are present."""
        if not isinstance(output, dict) or output.keys() != rows.features.keys():
            raise Broken(f"expected features of the same modalities; seen {type(output).__name__}")
        return FeatureRows(output, rows.present)

    def numbers(self, output: FeatureRows) -> Tensor:
        """Return tokens and pooled vectors of the rows that are present, by modality."""
        return torch.cat(
            [
                x[output.present[name]].flatten()
                for name, each in sorted(output.features.items())
                for x in (each.tokens, each.pooled)
            ]
        )


def maps_features(subject: MappingSubject) -> str:
    """Check that it can be made, fitted if necessary, and called."""
    mapping = subject.prepare()
    subject.call(mapping, subject.make_inputs())
    return "fitted, and called" if mapping.fitted else "and trains with the model"


def maps_to_the_stated_widths(subject: MappingSubject) -> str:
    """Check that tokens and pooled vectors are as wide as ``widths`` says."""
    mapping, rows = subject.prepare(), subject.make_inputs()
    stated = getattr(mapping, "widths", None)
    if not isinstance(stated, dict) or stated.keys() != rows.features.keys():
        raise Broken(f"expected self.widths, modality to D', of all modalities; seen {stated!r}")
    if stated != subject.build().widths:
        raise Broken("expected the widths to be known before anything is fitted; fit changes them")
    for name, each in subject.call(mapping, rows).features.items():
        wanted = (len(rows), TOKENS, stated[name]), (len(rows), stated[name])
        if (tuple(each.tokens.shape), tuple(each.pooled.shape)) != wanted:
            raise Broken(
                f"expected tokens {wanted[0]} and pooled {wanted[1]} of {name}, as its widths "
                f"state; seen {format_shape(each.tokens)} and {format_shape(each.pooled)}"
            )
        given = rows.features[name]
        same = torch.equal(each.mask, given.mask) and len(each.levels) == len(given.levels)
        if not same or any(distance(*p) for p in zip(each.levels, given.levels, strict=True)):
            raise Broken(f"expected masks and levels to stay as they are; those of {name} change")
    return ", ".join(f"{name} {width}" for name, width in sorted(stated.items()))


def maps_tokens_alike(subject: MappingSubject) -> str:
    """Check that a token and a pooled vector with the same numbers are mapped to the same."""
    rows = subject.make_inputs()
    same = {
        # Every token is the pooled vector: (B, D) -> (B, T, D).
        name: Features(each.pooled[:, None].expand(-1, TOKENS, -1), each.mask, each.pooled)
        for name, each in rows.features.items()
    }
    mapped = subject.call(subject.prepare(), FeatureRows(same, rows.present))
    for name, each in mapped.features.items():
        expect_same(
            each.tokens,
            each.pooled[:, None].expand(-1, TOKENS, -1),
            "tokens and pooled vectors to be mapped alike",
            f"in {name}",
        )
    return "a token as a pooled vector"


def mapped_features_keep_the_dtype(subject: MappingSubject) -> str:
    """Check float32 out of float32, and finite numbers under autocast."""
    mapping, rows = subject.prepare(), subject.make_inputs()
    for name, each in subject.call(mapping, rows).features.items():
        if each.pooled.dtype != torch.get_default_dtype():
            raise Broken(
                f"expected {torch.get_default_dtype()}; seen {each.pooled.dtype} of {name}"
            )
    half = rows.map(lambda x: x.bfloat16() if x.is_floating_point() else x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mapped = subject.call(mapping, half)
    if not subject.numbers(mapped).isfinite().all():
        raise Broken("expected finite numbers under autocast to bfloat16")
    return f"{torch.get_default_dtype()}, and finite under autocast to bfloat16"


def gradients_pass_through(subject: MappingSubject) -> str:
    """Check that gradients reach parameters and encoders; a fitted mapping has no parameters."""
    mapping = subject.prepare().train()
    trainable = [name for name, each in mapping.named_parameters() if each.requires_grad]
    if mapping.fitted and trainable:
        raise Broken(
            "expected no trainable parameters of a mapping that is fitted: it stays as it is; "
            f"seen {', '.join(trainable[:5])}"
        )
    leaves, mapped = run_on_leaves(subject, mapping, subject.make_inputs())
    torch.manual_seed(SEED)
    pooled = [each.pooled for each in mapped.features.values()]
    sum((x * torch.randn_like(x)).sum() for x in pooled).backward()
    count = expect_gradients(
        mapping, "a gradient in every trainable parameter through the pooled vectors"
    )
    reached = {name: each.pooled.grad for name, each in leaves.features.items()}
    cut = [name for name, gradient in reached.items() if gradient is None or not gradient.any()]
    if cut:
        raise Broken(f"expected gradients through to the encoders; none reaches {', '.join(cut)}")
    return f"of all {count} parameters, and through to the encoders"


def stays_as_it_is(subject: MappingSubject) -> str:
    """Check that fitted numbers do not change in calls, nor depend on an earlier fit."""
    again = subject.fit_twice()
    mapping = subject.prepare()
    before = copy.deepcopy(mapping)
    other_rows = subject.make_inputs(seed=9)
    with torch.no_grad():
        for training in MODES:
            subject.run(mapping.train(training), other_rows.copy())
    expect_same_state(mapping, before, "what was fitted to stay as it is", "after other rows")
    expect_same_state(again, before, "a fit to forget an earlier one")
    return "after other rows, in either mode; a second fit forgets the first"


CHECKS: tuple[Check[MappingSubject], ...] = (
    Check(MADE, maps_features),
    Check("any number of modalities", takes_any_number, (MADE,)),
    Check("the stated widths", maps_to_the_stated_widths, (MADE,)),
    Check("tokens as pooled vectors", maps_tokens_alike, (MADE,)),
    Check("dtype", mapped_features_keep_the_dtype, (MADE,)),
    Check("gradients", gradients_pass_through, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("rows not mixed", rows_are_not_mixed, BASICS),
    Check("absent rows not read", absent_rows_are_not_read, BASICS),
    Check("any order of the dict", order_does_not_matter, BASICS),
    Check("fitted once", stays_as_it_is, BASICS),
    Check("state dict", state_goes_to_another_instance, BASICS),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
)
