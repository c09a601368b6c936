"""The contract of a fusion, as checks; see :mod:`mmx.fusion`.

Shape legend: ``B`` batch, ``D`` width, ``C`` outputs, ``M`` modalities.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from mmx.contract.base import Broken, Check, Part, Untested
from mmx.contract.compare import distance, expect_same, expect_same_rows, shape
from mmx.contract.faults import describe
from mmx.contract.features import COUNTS, JUNK, Rows, made_up, training_rows, widths_of
from mmx.contract.options import options_are_sound
from mmx.contract.state import expect_same_state, load
from mmx.fusion import Fusion, Widths
from mmx.model import without_tokens

OUTPUTS = 3
SEED = 2
MODES = {False: "in evaluation", True: "in training"}
RIGHT_WIDTH, ROW_BY_ROW = "the stated width", "rows not mixed"
ABSENT, ORDER = "absent rows not read", "any order of the dict"
MADE, REPEATED = "made and called", "the same again"


@dataclass(frozen=True)
class FusionSubject:
    """A fusion and what it is tried on.

    Attributes:
        part: The class and its options.
        make: ``make(widths, outputs=C)``.
        worlds: Modalities with their widths; most checks look at the last.
        outputs: C.
    """

    part: Part
    make: Callable[..., Fusion]
    worlds: Sequence[dict[str, Widths]] = field(
        default_factory=lambda: [widths_of(count) for count in COUNTS]
    )
    outputs: int = OUTPUTS

    @property
    def widths(self) -> dict[str, Widths]:
        """The modalities that most checks look at."""
        return self.worlds[-1]

    def made(self, widths: dict[str, Widths] | None = None, seed: int = 1) -> Fusion:
        """Return an instance whose weights are drawn from a seed."""
        torch.manual_seed(seed)
        return self.make(widths or self.widths, outputs=self.outputs)

    def call(
        self, fusion: Fusion, rows: Rows, *, training: bool = False, seed: int = SEED
    ) -> Tensor:
        """Return what a copy of a fusion makes of copies of rows, draws from a seed."""
        fusion = copy.deepcopy(fusion).train(training)
        torch.manual_seed(seed)
        rows = as_read(fusion, rows).copy()
        return a_tensor(fusion(rows.features, rows.present), len(rows))


def subject(part: Part) -> FusionSubject:
    """Return a part as the subject of the checks."""
    return FusionSubject(part, part.make)


def as_read(fusion: Fusion, rows: Rows) -> Rows:
    """Return rows as the model hands them on: of one token where the fusion reads none."""
    if fusion.reads == "tokens":
        return rows
    features = {name: without_tokens(each) for name, each in rows.features.items()}
    return Rows(features, rows.present)


def a_tensor(output: object, rows: int) -> Tensor:
    """Return an output that is one vector a row."""
    if not isinstance(output, Tensor):
        raise Broken(f"expected a tensor (B, D); seen a {type(output).__name__}")
    if output.dim() != 2 or len(output) != rows:
        raise Broken(f"expected one vector for each of {rows} rows; seen {shape(output)}")
    return output


def count(widths: dict[str, Widths]) -> str:
    """Return the number of modalities in words."""
    return f"{len(widths)} modalit{'y' if len(widths) == 1 else 'ies'}"


def is_made(subject: FusionSubject) -> str:
    """Check that it can be made and called at all."""
    subject.call(subject.made(), made_up(subject.widths))
    return f"with {count(subject.widths)}"


def takes_any_number(subject: FusionSubject) -> str:
    """Check that it works with any number of modalities, and in a batch of one row."""
    for widths in subject.worlds:
        try:
            fusion = subject.made(widths)
            for rows in (made_up(widths), made_up(widths).alone(0)):
                subject.call(fusion, rows)
        except Exception as error:
            said = str(error) if isinstance(error, Broken) else describe(error)
            raise Broken(
                f"expected any number of modalities; with {count(widths)}, {said}"
            ) from error
    counts = sorted(len(widths) for widths in subject.worlds)
    return f"with {', '.join(str(each) for each in counts)} modalities"


def has_the_stated_width(subject: FusionSubject) -> str:
    """Check that the output is as wide as ``width`` says, and of C outputs where it decides."""
    for widths in subject.worlds:
        fusion = subject.made(widths)
        stated = getattr(fusion, "width", None)
        if not isinstance(stated, int):
            raise Broken(f"expected the constructor to set self.width to an int; seen {stated!r}")
        output = subject.call(fusion, made_up(widths))
        if output.shape[1] != stated:
            raise Broken(
                f"expected (B, {stated}), as its width states; seen {shape(output)} "
                f"of {len(output)} rows with {count(widths)}"
            )
        _expect_outputs(fusion, subject.outputs)
    return f"(B, {fusion.width})"


def _expect_outputs(fusion: Fusion, outputs: int) -> None:
    """Check what a method that decides says of its outputs."""
    if not fusion.decides:
        if fusion.label_tensors:
            raise Broken("expected label_tensors of methods that decide alone; this one does not")
        return
    if fusion.width != outputs:
        raise Broken(
            f"expected C = {outputs} logits at {fusion.level} level; its width is {fusion.width}"
        )
    state = fusion.state_dict()
    for name in fusion.label_tensors:
        if name not in state:
            raise Broken(f"expected label_tensors to be in the state; {name} is not")
        if len(state[name]) != outputs:
            raise Broken(f"expected {outputs} rows of {name}; seen {shape(state[name])}")
    if fusion.level == "decision" and not fusion.label_tensors:
        raise Broken("expected label_tensors to name what holds a row for each output; it is empty")


def keeps_the_dtype(subject: FusionSubject) -> str:
    """Check that float32 comes out where it goes in, and finite numbers under autocast."""
    fusion, rows = subject.made(), made_up(subject.widths)
    output, given = subject.call(fusion, rows), torch.get_default_dtype()
    if output.dtype != given:
        raise Broken(f"expected {given} of {given} features; seen {output.dtype}")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = subject.call(fusion, rows, training=True)
    if half.dtype not in (torch.bfloat16, given) or not half.isfinite().all():
        raise Broken(f"expected finite numbers under autocast to bfloat16; seen {half.dtype}")
    return f"{output.dtype}, and finite under autocast to bfloat16"


def gradients_reach_all(subject: FusionSubject) -> str:
    """Check that every trainable parameter and every modality gets a gradient."""
    fusion = subject.made().train()
    rows = as_read(fusion, made_up(subject.widths).everywhere())
    leaves = {
        name: getattr(each, fusion.reads).clone().requires_grad_()
        for name, each in rows.features.items()
    }
    features = {name: _with(each, leaves[name], fusion) for name, each in rows.features.items()}
    output = fusion(features, {name: here.clone() for name, here in rows.present.items()})
    (output * torch.randn_like(output)).sum().backward()
    unread = [name for name, x in leaves.items() if x.grad is None or not x.grad.any()]
    if unread:
        raise Broken(f"expected every modality to be read; no gradient reaches {', '.join(unread)}")
    trainable = {name: p for name, p in fusion.named_parameters() if p.requires_grad}
    dead = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
    dead = [n for n in dead if not any(fnmatchcase(n, each) for each in fusion.shut_at_start)]
    if dead:
        raise Broken(
            "expected a gradient in every trainable parameter after one step; "
            f"none reaches {', '.join(dead[:5])}"
        )
    return f"of all {len(trainable)} parameters and of {count(subject.widths)}"


def _with(features: object, leaf: Tensor, fusion: Fusion) -> object:
    """Return features that follow from a leaf, so that changing them in place is allowed."""
    x = leaf.clone()
    own = copy.copy(features)
    object.__setattr__(own, fusion.reads, x)
    if fusion.reads == "pooled":
        object.__setattr__(own, "tokens", x[:, None].clone())
    return own


def is_the_same_again(subject: FusionSubject) -> str:
    """Check that one seed gives one result, and that evaluation draws nothing."""
    rows = made_up(subject.widths)
    fusion = subject.made()
    expect_same_state(fusion, subject.made(), "an instance from the same seed to be the same")
    for training, mode in MODES.items():
        once, again = (subject.call(fusion, rows, training=training) for _ in range(2))
        expect_same(again, once, f"the same output {mode} from the same seed", "called twice")
    other = subject.call(fusion, rows, seed=SEED + 1)
    expect_same(
        other,
        subject.call(fusion, rows),
        "evaluation to draw nothing at random",
        "with another state of torch's generator",
    )
    return "from the same seed, and in evaluation from any"


def rows_are_not_mixed(subject: FusionSubject) -> str:
    """Check that what is said of a row depends on that row alone, in either mode."""
    for widths in subject.worlds:
        rows, fusion = made_up(widths), subject.made(widths)
        expected = "what is said of a row to depend on that row alone"
        others = range(1, len(rows))
        for training, mode in MODES.items():
            before = subject.call(fusion, rows, training=training)
            after = subject.call(fusion, rows.first_changed(), training=training)
            seen = f"{mode}, with other numbers in row 0"
            expect_same_rows(after, before, others, expected, seen)
        together = subject.call(fusion, rows)
        for row in (0, len(rows) - 1):
            alone = subject.call(fusion, rows.alone(row))
            expect_same(alone[0], together[row], expected, f"row {row} in a batch of its own")
        order = torch.arange(len(rows)).roll(3)
        turned = subject.call(fusion, rows.pick(order))
        expect_same(turned, together[order], expected, "in another order of rows")
    return "with other rows beside it, alone and in another order"


def absent_rows_are_not_read(subject: FusionSubject) -> str:
    """Check that nothing depends on what stands where a modality is absent."""
    fusion, rows = subject.made(), made_up(subject.widths)
    if len(subject.widths) == 1:
        raise Untested("with one modality no row lacks any")
    expected = "what stands in the rows of an absent modality not to be read"
    for training, mode in MODES.items():
        clean = subject.call(fusion, rows.with_junk(0.0), training=training)
        for junk in JUNK:
            dirty = subject.call(fusion, rows.with_junk(junk), training=training)
            expect_same(dirty, clean, expected, f"{mode}, with {junk:g} there instead of 0")
            _expect_clean_gradients(subject, fusion, rows.with_junk(junk), training)
    first = next(iter(subject.widths))
    lonely = {name: torch.full_like(here, name == first) for name, here in rows.present.items()}
    output = subject.call(fusion, Rows(rows.features, lonely).with_junk(float("nan")))
    if not output.isfinite().all():
        raise Broken(f"expected {expected}; in a batch that has {first} alone, NaN comes out")
    return "NaN, infinity and 1e6 there change neither output nor gradients"


def _expect_clean_gradients(
    subject: FusionSubject, fusion: Fusion, rows: Rows, training: bool
) -> None:
    """Check that gradients are finite, and zero in the rows of an absent modality."""
    fusion = copy.deepcopy(fusion).train(training)
    rows = as_read(fusion, rows)
    leaves = {
        name: getattr(each, fusion.reads).clone().requires_grad_()
        for name, each in rows.features.items()
    }
    features = {name: _with(each, leaves[name], fusion) for name, each in rows.features.items()}
    torch.manual_seed(SEED)
    fusion(
        features, {n: here.clone() for n, here in rows.present.items()}
    ).square().sum().backward()
    for name, parameter in fusion.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise Broken(
                f"expected finite gradients whatever stands in absent rows; that of {name} is not"
            )
    for name, leaf in leaves.items():
        absent = ~rows.present[name]
        if leaf.grad is not None and not (leaf.grad[absent] == 0).all():
            raise Broken(f"expected no gradient in the absent rows of {name}; there is one")


def order_does_not_matter(subject: FusionSubject) -> str:
    """Check that neither the widths' order nor that of the features counts."""
    rows, fusion = made_up(subject.widths), subject.made()
    if len(subject.widths) == 1:
        raise Untested("one modality has no order")
    want = subject.call(fusion, rows)
    expected = "the same whatever the order of the modalities"
    expect_same(subject.call(fusion, rows.reversed()), want, expected, "with the features reversed")
    other = subject.made(dict(reversed(subject.widths.items())))
    expect_same_state(fusion, other, expected, "made from the widths reversed")
    expect_same(subject.call(other, rows), want, expected, "made from the widths reversed")
    return "the dicts reversed, the same numbers"


def state_goes_to_another_instance(subject: FusionSubject) -> str:
    """Check that all that is learned is in the state dict."""
    rows, fusion = made_up(subject.widths), subject.made()
    _live(fusion, subject.widths)
    other = load(subject.made(seed=3), fusion)
    for training, mode in MODES.items():
        expect_same(
            subject.call(other, rows, training=training),
            subject.call(fusion, rows, training=training),
            "a fresh instance with the state loaded to say the same",
            mode,
        )
    return f"{len(fusion.state_dict())} tensors"


def _live(fusion: Fusion, widths: dict[str, Widths]) -> None:
    """Change a fusion as training does: parameters, and what moves in forward."""
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        for seed in (5, 6):
            rows = as_read(fusion, made_up(widths, seed=seed)).copy()
            fusion.train()(rows.features, rows.present)


def inputs_stay(subject: FusionSubject) -> str:
    """Check that features and presence are not changed in place."""
    for training, mode in MODES.items():
        fusion = subject.made().train(training)
        rows = as_read(fusion, made_up(subject.widths))
        given = rows.copy()
        fusion(given.features, given.present)
        if list(given.features) != list(rows.features):
            raise Broken(f"expected the dict to stay as it is; {mode} its keys change")
        for name in rows.features:
            pairs = zip(_tensors(given, name), _tensors(rows, name), strict=True)
            if (
                any(distance(new, old) > 0 for new, old in pairs)
                or (given.present[name] != rows.present[name]).any()
            ):
                raise Broken(f"expected its inputs to stay as they are; {mode} {name} is changed")
    return "features and presence stay as they are"


def _tensors(rows: Rows, name: str) -> list[Tensor]:
    features = rows.features[name]
    return [features.tokens, features.mask, features.pooled, *features.levels]


def has_sound_options(subject: FusionSubject) -> str:
    """Check that a config can set the options, and that bad ones are refused."""

    def attempt(part: Part) -> None:
        other = FusionSubject(part, part.make, subject.worlds, subject.outputs)
        fusion = other.made()
        if not other.call(fusion, made_up(other.widths)).isfinite().all():
            raise Broken("numbers that are not finite")

    return options_are_sound(subject.part, 1, ("outputs",), attempt)


def width_scales_the_parameters(subject: FusionSubject) -> str:
    """Check that ``match=params`` can choose the width."""
    option = subject.part.kind.width_option  # type: ignore[attr-defined]
    if option not in inspect.signature(subject.part.kind).parameters:
        raise Untested(f"without an option `{option}`, match=params cannot be used")
    counts = []
    for width in (16, 32, 64):
        torch.manual_seed(1)
        fusion = subject.make(subject.widths, outputs=subject.outputs, **{option: width})
        head = 0 if fusion.decides else (fusion.width + 1) * subject.outputs
        counts.append(head + sum(p.numel() for p in fusion.parameters() if p.requires_grad))
    if not counts[0] < counts[1] < counts[2]:
        raise Broken(
            f"expected more parameters with a larger {option}, for match=params; "
            f"16, 32 and 64 give {', '.join(str(each) for each in counts)}"
        )
    return f"{option}=16, 32, 64 gives {counts[0]:,}, {counts[1]:,}, {counts[2]:,} parameters"


def settles(subject: FusionSubject) -> str:
    """Check that what is fitted after training is in the state, and depends on its seed alone."""
    fusion = subject.made().eval()
    if not fusion.settles:
        raise Untested("it fits nothing after training")
    train, val = (training_rows(subject.widths, seed=seed) for seed in (11, 12))
    classes = [
        type(rows)(rows.features, rows.present, rows.target % OUTPUTS) for rows in (train, val)
    ]
    notes = fusion.settle(classes[0], classes[1], 0)
    if not all(isinstance(note, str) for note in notes):
        raise Broken("expected settle to return notes, a tuple of texts")
    rows = made_up(subject.widths)
    other = load(subject.made(seed=3), fusion)
    expect_same(
        subject.call(other, rows),
        subject.call(fusion, rows),
        "a fresh instance with the state loaded to say the same",
        "after settle",
    )
    return "what is fitted after training travels with the state"


_ON = (MADE, REPEATED)
CHECKS: tuple[Check[FusionSubject], ...] = (
    Check(MADE, is_made),
    Check("any number of modalities", takes_any_number, (MADE,)),
    Check(RIGHT_WIDTH, has_the_stated_width, (MADE, "any number of modalities")),
    Check("dtype", keeps_the_dtype, (MADE,)),
    Check("gradients", gradients_reach_all, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check(ROW_BY_ROW, rows_are_not_mixed, (*_ON, "any number of modalities")),
    Check(ABSENT, absent_rows_are_not_read, _ON),
    Check(ORDER, order_does_not_matter, _ON),
    Check("state dict", state_goes_to_another_instance, _ON),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
    Check("match=params", width_scales_the_parameters, (MADE,)),
    Check("settle", settles, (MADE,)),
)
QUICK = tuple(
    each for each in CHECKS if each.name in (MADE, RIGHT_WIDTH, REPEATED, ROW_BY_ROW, ABSENT, ORDER)
)
"""What ``mmx train`` looks at before it opens data."""
