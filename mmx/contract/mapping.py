"""The contract of a mapping, as checks; see :mod:`mmx.mapping`.

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
    TOKENS,
    Rows,
    made_up,
    numbers_of,
    training_rows,
    widths_of,
)
from mmx.contract.options import options_are_sound
from mmx.contract.state import expect_same_state, load
from mmx.mapping import Mapping
from mmx.modalities import Encoded, Features

MADE, REPEATED = "made and called", "the same again"
COUNT = COUNTS[-1]
SEED = 2
MODES = {False: "in evaluation", True: "in training"}


@dataclass(frozen=True)
class MappingSubject:
    """A mapping and what it is tried on.

    Attributes:
        part: The class and its options.
        make: ``make(widths)``.
    """

    part: Part
    make: Callable[..., Mapping]

    def made(self, count: int = COUNT, seed: int = 1, backwards: bool = False) -> Mapping:
        """Return an instance for so many modalities, weights from a seed; nothing is fitted."""
        torch.manual_seed(seed)
        widths = {name: each.pooled for name, each in widths_of(count).items()}
        return self.make(dict(reversed(widths.items())) if backwards else widths)

    def ready(self, count: int = COUNT, seed: int = 1) -> Mapping:
        """Return an instance as training has it: fitted where it has to be."""
        mapping = self.made(count, seed)
        if mapping.fitted:
            mapping.fit(training_rows(widths_of(count)), 0)
        return mapping

    def call(self, mapping: Mapping, rows: Rows, *, training: bool = False) -> dict[str, Features]:
        """Return what a copy of a mapping makes of copies of rows."""
        mapping = copy.deepcopy(mapping).train(training)
        torch.manual_seed(SEED)
        rows = rows.copy()
        mapped = mapping(rows.features, rows.present)
        if not isinstance(mapped, dict) or mapped.keys() != rows.features.keys():
            raise Broken(f"expected features of the same modalities; seen {type(mapped).__name__}")
        return mapped


def subject(part: Part) -> MappingSubject:
    """Return a part as the subject of the checks."""
    return MappingSubject(part, part.make)


def seen(mapped: dict[str, Features], rows: Rows) -> Tensor:
    """Return what may be looked at: tokens and pooled vectors of rows that are present."""
    return torch.cat(
        [
            part[rows.present[name]].flatten()
            for name in sorted(mapped)
            for part in (mapped[name].tokens, mapped[name].pooled)
        ]
    )


def is_made(subject: MappingSubject) -> str:
    """Check that it can be made, fitted where it has to be, and called."""
    mapping = subject.ready()
    subject.call(mapping, made_up(widths_of(COUNT)))
    return "fitted, and called" if mapping.fitted else "and trains with the model"


def takes_any_number(subject: MappingSubject) -> str:
    """Check that it works with any number of modalities, and in a batch of one row."""
    for count in COUNTS:
        try:
            rows = made_up(widths_of(count))
            mapping = subject.ready(count)
            for each in (rows, rows.alone(0)):
                subject.call(mapping, each)
        except Exception as error:
            raise Broken(
                f"expected any number of modalities; with {count}, {describe(error)}"
            ) from error
    return f"with {', '.join(str(count) for count in sorted(COUNTS))} modalities"


def has_the_stated_widths(subject: MappingSubject) -> str:
    """Check that tokens and pooled vectors are as wide as ``widths`` says."""
    mapping, rows = subject.ready(), made_up(widths_of(COUNT))
    stated = getattr(mapping, "widths", None)
    if not isinstance(stated, dict) or stated.keys() != rows.features.keys():
        raise Broken(f"expected self.widths, modality to D', of all modalities; seen {stated!r}")
    if stated != subject.made().widths:
        raise Broken("expected the widths to be known before anything is fitted; fit changes them")
    for name, each in subject.call(mapping, rows).items():
        wanted = (len(rows), TOKENS, stated[name]), (len(rows), stated[name])
        if (tuple(each.tokens.shape), tuple(each.pooled.shape)) != wanted:
            raise Broken(
                f"expected tokens {wanted[0]} and pooled {wanted[1]} of {name}, as its widths "
                f"state; seen {shape(each.tokens)} and {shape(each.pooled)}"
            )
        given = rows.features[name]
        same = torch.equal(each.mask, given.mask) and len(each.levels) == len(given.levels)
        if not same or any(distance(*p) for p in zip(each.levels, given.levels, strict=True)):
            raise Broken(f"expected masks and levels to stay as they are; those of {name} change")
    return ", ".join(f"{name} {width}" for name, width in sorted(stated.items()))


def maps_tokens_alike(subject: MappingSubject) -> str:
    """Check that a token and a pooled vector of the same numbers are mapped to the same."""
    rows = made_up(widths_of(COUNT))
    same = {
        name: Features(each.pooled[:, None].expand(-1, TOKENS, -1), each.mask, each.pooled)
        for name, each in rows.features.items()
    }
    for name, each in subject.call(subject.ready(), Rows(same, rows.present)).items():
        expect_same(
            each.tokens,
            each.pooled[:, None].expand(-1, TOKENS, -1),
            "tokens and pooled vectors to be mapped alike",
            f"in {name}",
        )
    return "a token as a pooled vector"


def keeps_the_dtype(subject: MappingSubject) -> str:
    """Check float32 out of float32, and finite numbers under autocast."""
    mapping, rows = subject.ready(), made_up(widths_of(COUNT))
    for name, each in subject.call(mapping, rows).items():
        if each.pooled.dtype != torch.get_default_dtype():
            raise Broken(
                f"expected {torch.get_default_dtype()}; seen {each.pooled.dtype} of {name}"
            )
    half = rows.map(lambda x: x.bfloat16() if x.is_floating_point() else x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mapped = subject.call(mapping, half)
    if not seen(mapped, rows).isfinite().all():
        raise Broken("expected finite numbers under autocast to bfloat16")
    return f"{torch.get_default_dtype()}, and finite under autocast to bfloat16"


def gradients_reach_all(subject: MappingSubject) -> str:
    """Check that parameters learn, or that there are none where it is fitted."""
    mapping = subject.ready()
    trainable = {name: p for name, p in mapping.named_parameters() if p.requires_grad}
    if mapping.fitted and trainable:
        raise Broken(
            "expected no trainable parameters of a mapping that is fitted: it stays as it is; "
            f"seen {', '.join(list(trainable)[:5])}"
        )
    rows = made_up(widths_of(COUNT))
    leaves = {name: _leaf(each) for name, each in rows.features.items()}
    mapped = mapping.train()({n: e.map(torch.clone) for n, e in leaves.items()}, rows.present)
    torch.manual_seed(SEED)
    sum((each.pooled * torch.randn_like(each.pooled)).sum() for each in mapped.values()).backward()
    dead = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
    if dead:
        raise Broken(
            "expected a gradient in every trainable parameter through the pooled vectors; "
            f"none reaches {', '.join(dead[:5])}"
        )
    cut = [n for n, e in leaves.items() if e.pooled.grad is None or not e.pooled.grad.any()]
    if cut:
        raise Broken(f"expected gradients through to the encoders; none reaches {', '.join(cut)}")
    return f"of all {len(trainable)} parameters, and through to the encoders"


def _leaf(features: Features) -> Features:
    """Return features whose numbers ask for gradients."""
    return features.map(lambda x: x.clone().requires_grad_() if x.is_floating_point() else x)


def is_the_same_again(subject: MappingSubject) -> str:
    """Check that one seed gives one result, in fit and in forward."""
    rows, one, other = made_up(widths_of(COUNT)), subject.ready(), subject.ready()
    expect_same_state(one, other, "the same from the same seed and the same training rows")
    for training, mode in MODES.items():
        first, again = (seen(subject.call(one, rows, training=training), rows) for _ in range(2))
        expect_same(again, first, f"the same output {mode} from the same seed", "called twice")
    return "from the same seed and the same training rows"


def rows_are_not_mixed(subject: MappingSubject) -> str:
    """Check that what a row is mapped to depends on that row alone, in either mode."""
    mapping, rows = subject.ready(), made_up(widths_of(COUNT))
    expected = "what a row is mapped to, to depend on that row alone"
    for training, mode in MODES.items():
        before = subject.call(mapping, rows, training=training)
        after = subject.call(mapping, rows.first_changed(), training=training)
        others = torch.arange(1, len(rows))
        text = f"{mode}, with other numbers in row 0"
        expect_same(_of(after, rows, others), _of(before, rows, others), expected, text)
    for row in range(len(rows)):
        alone = rows.alone(row)
        got = seen(subject.call(mapping, alone), alone)
        want = _of(subject.call(mapping, rows), rows, torch.tensor([row]))
        expect_same(got, want, expected, f"row {row} alone")
    return "with other rows beside it, and alone"


def _of(mapped: dict[str, Features], rows: Rows, which: Tensor) -> Tensor:
    """Return what may be looked at of some rows."""
    return seen(
        {name: each.map(lambda x: x[which]) for name, each in mapped.items()}, rows.pick(which)
    )


def absent_rows_are_not_read(subject: MappingSubject) -> str:
    """Check that what stands where a modality is absent is neither mapped nor learned from."""
    mapping, rows = subject.ready(), made_up(widths_of(COUNT))
    expected = "what stands in the rows of an absent modality not to be read"
    clean = seen(subject.call(mapping, rows.with_junk(0.0)), rows)
    train = training_rows(widths_of(COUNT))
    for junk in JUNK:
        dirty = seen(subject.call(mapping, rows.with_junk(junk)), rows)
        expect_same(dirty, clean, expected, f"with {junk:g} there instead of 0")
        if mapping.fitted:
            other, given = subject.made(), Rows(train.features, train.present).with_junk(junk)
            other.fit(Encoded(given.features, given.present, train.target), 0)
            expect_same_state(other, mapping, expected, f"fitted with {junk:g} there")
        _expect_clean_gradients(mapping, rows.with_junk(junk))
    return "NaN, infinity and 1e6 there change nothing"


def _expect_clean_gradients(mapping: Mapping, rows: Rows) -> None:
    """Check that gradients are finite, and zero in the rows of an absent modality."""
    mapping = copy.deepcopy(mapping).train()
    leaves = {name: _leaf(each) for name, each in rows.features.items()}
    given = {name: each.map(torch.clone) for name, each in leaves.items()}
    total: Tensor = seen(mapping(given, rows.present), rows).square().sum()
    total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in mapping.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise Broken(
                f"expected finite gradients whatever stands in absent rows; that of {name} is not"
            )
    for name, each in leaves.items():
        absent = ~rows.present[name]
        for leaf in numbers_of(each):
            if leaf.grad is not None and not (leaf.grad[absent] == 0).all():
                raise Broken(f"expected no gradient in the absent rows of {name}; there is one")


def order_does_not_matter(subject: MappingSubject) -> str:
    """Check that neither the widths' order nor that of the features counts."""
    rows, mapping = made_up(widths_of(COUNT)), subject.ready()
    want = seen(subject.call(mapping, rows), rows)
    expected = "the same whatever the order of the modalities"
    turned = subject.call(mapping, rows.reversed())
    expect_same(seen(turned, rows), want, expected, "with the features reversed")
    other = subject.made(backwards=True)
    if mapping.fitted:
        train = training_rows(widths_of(COUNT))
        given = Rows(train.features, train.present).reversed()
        other.fit(Encoded(given.features, given.present, train.target), 0)
    text = "made from the widths reversed"
    expect_same(seen(subject.call(other, rows), rows), want, expected, text)
    return "the dicts reversed, the same numbers"


def stays_as_it_is(subject: MappingSubject) -> str:
    """Check that what is fitted stays as it is, forgets an earlier fit, and draws from its seed."""
    mapping = subject.ready()
    if not mapping.fitted:
        raise Untested("it is not fitted: it trains with the model")
    before = copy.deepcopy(mapping)
    other_rows = made_up(widths_of(COUNT), seed=9)
    with torch.no_grad():
        for training in MODES:
            rows = other_rows.copy()
            mapping.train(training)(rows.features, rows.present)
    expect_same_state(mapping, before, "what was fitted to stay as it is", "after other rows")
    again = subject.made()
    again.fit(training_rows(widths_of(COUNT), 40, seed=4), 3)
    generator = torch.get_rng_state()
    again.fit(training_rows(widths_of(COUNT)), 0)
    if not torch.equal(torch.get_rng_state(), generator):
        raise Broken("expected fit to draw from its seed alone; it moves torch's generator")
    expect_same_state(again, before, "a fit to forget an earlier one")
    return "after other rows, in either mode; a second fit forgets the first"


def state_goes_to_another_instance(subject: MappingSubject) -> str:
    """Check that all that is learned is in the state dict."""
    rows, mapping = made_up(widths_of(COUNT)), subject.ready()
    with torch.no_grad():
        for parameter in mapping.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        given = rows.copy()
        mapping.train()(given.features, given.present)
    other = load(subject.made(seed=3), mapping)
    for training, mode in MODES.items():
        expect_same(
            seen(subject.call(other, rows, training=training), rows),
            seen(subject.call(mapping, rows, training=training), rows),
            "a fresh instance with the state loaded to say the same",
            mode,
        )
    return f"{len(mapping.state_dict())} tensors"


def inputs_stay(subject: MappingSubject) -> str:
    """Check that features and presence are not changed in place."""
    rows, mapping = made_up(widths_of(COUNT)), subject.ready()
    given = rows.copy()
    mapping(given.features, given.present)
    for name, each in rows.features.items():
        pairs = zip(numbers_of(given.features[name]), numbers_of(each), strict=True)
        if any(distance(new, old) > 0 for new, old in pairs):
            raise Broken(f"expected its inputs to stay as they are; {name} is changed")
    return "features and presence stay as they are"


def has_sound_options(subject: MappingSubject) -> str:
    """Check that a config can set the options, and that bad ones are refused."""

    def attempt(part: Part) -> None:
        other, rows = MappingSubject(part, part.make), made_up(widths_of(COUNT))
        if not seen(other.call(other.ready(), rows), rows).isfinite().all():
            raise Broken("numbers that are not finite")

    return options_are_sound(subject.part, 1, (), attempt)


_ON = (MADE, REPEATED)
CHECKS: tuple[Check[MappingSubject], ...] = (
    Check(MADE, is_made),
    Check("any number of modalities", takes_any_number, (MADE,)),
    Check("the stated widths", has_the_stated_widths, (MADE,)),
    Check("tokens as pooled vectors", maps_tokens_alike, (MADE,)),
    Check("dtype", keeps_the_dtype, (MADE,)),
    Check("gradients", gradients_reach_all, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("rows not mixed", rows_are_not_mixed, _ON),
    Check("absent rows not read", absent_rows_are_not_read, _ON),
    Check("any order of the dict", order_does_not_matter, _ON),
    Check("fitted once", stays_as_it_is, _ON),
    Check("state dict", state_goes_to_another_instance, _ON),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
)
