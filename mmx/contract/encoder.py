"""The contract of an encoder, as checks; see :mod:`mmx.encoders`.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmx.contract.base import Broken, Check, Part, Untested
from mmx.contract.compare import distance, expect_same, shape
from mmx.contract.inputs import (
    SEQUENCES,
    SPECS,
    Inputs,
    batch,
    first_changed,
    pick,
    spec_of,
)
from mmx.contract.options import options_are_sound
from mmx.contract.state import expect_same_state, load
from mmx.encoders import Encoder
from mmx.modalities import Features, Spec

SEED = 2
LOOSE = 3000.0
"""Rounding of deep encoders, whose kernels follow the size of a batch: about 4e-4 in float32."""
MODES = {False: "in evaluation", True: "in training"}
MADE, REPEATED, SHAPES = "made and called", "the same again", "the stated widths"


@dataclass(frozen=True)
class EncoderSubject:
    """An encoder and what it is tried on.

    Attributes:
        part: The class and its options.
        make: ``make(spec)``.
        spec: What is encoded.
    """

    part: Part
    make: Callable[..., Encoder]
    spec: Spec

    def made(self, seed: int = 1) -> Encoder:
        """Return an instance whose weights are drawn from a seed."""
        torch.manual_seed(seed)
        return self.make(self.spec)

    def call(
        self, encoder: Encoder, inputs: Inputs, *, training: bool = False, seed: int = SEED
    ) -> Features:
        """Return what a copy of an encoder says of copies of inputs, draws from a seed."""
        encoder = copy.deepcopy(encoder).train(training)
        torch.manual_seed(seed)
        x, lengths = inputs
        features = encoder(x.clone(), None if lengths is None else lengths.clone())
        if not isinstance(features, Features):
            raise Broken(f"expected Features(tokens, mask, pooled); seen {type(features).__name__}")
        return features


def subject(part: Part) -> EncoderSubject:
    """Return a part as the subject of the checks."""
    return EncoderSubject(part, part.make, SPECS[spec_of(part.kind)])


def is_made(subject: EncoderSubject) -> str:
    """Check that it can be made and called at all."""
    subject.call(subject.made(), batch(subject.spec))
    return f"of {type(subject.spec).__name__}"


def has_the_stated_widths(subject: EncoderSubject) -> str:
    """Check tokens, mask, pooled vector and levels, of several rows and of one."""
    encoder = subject.made()
    width = getattr(encoder, "width", None)
    if not isinstance(width, int):
        raise Broken(f"expected the constructor to set self.width to an int; seen {width!r}")
    for rows in (4, 1):
        features = subject.call(encoder, batch(subject.spec, rows))
        expect_shape("pooled", features.pooled, (rows, width))
        if features.tokens.dim() != 3:
            raise Broken(f"expected tokens (B, T, {width}); seen {shape(features.tokens)}")
        steps = features.tokens.shape[1]
        expect_shape("tokens", features.tokens, (rows, steps, width))
        expect_shape("mask", features.mask, (rows, steps))
        if features.mask.dtype != torch.bool or not features.mask.any(1).all():
            raise Broken("expected a mask of bool, with one real token at least in each row")
        levels = [tuple(level.shape) for level in features.levels]
        stated = [(rows, each) for each in encoder.level_widths]
        if levels != stated:
            raise Broken(f"expected levels {stated}, as level_widths states; seen {levels}")
    return f"D = {width}, {len(encoder.level_widths)} levels"


def expect_shape(what: str, x: Tensor, wanted: tuple[int, ...]) -> None:
    """Raise Broken where a tensor is of another shape than its encoder states."""
    if tuple(x.shape) != wanted:
        raise Broken(f"expected {what} {wanted}, as its width states; seen {shape(x)}")


def keeps_the_dtype(subject: EncoderSubject) -> str:
    """Check float32 out of float32, and finite values and gradients under autocast."""
    encoder, inputs = subject.made(), batch(subject.spec)
    features = subject.call(encoder, inputs)
    for what, x in _numbers(features):
        if x.dtype != torch.get_default_dtype():
            raise Broken(f"expected {torch.get_default_dtype()}; {what} is {x.dtype}")
    encoder.train()
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(*inputs)
    half.pooled.float().sum().backward()
    if not half.pooled.isfinite().all():
        raise Broken("expected finite numbers under autocast to bfloat16")
    for name, parameter in encoder.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise Broken(f"expected finite gradients under autocast; that of {name} is not")
    return f"{torch.get_default_dtype()}, and finite under autocast to bfloat16"


def _numbers(features: Features) -> list[tuple[str, Tensor]]:
    levels = [(f"level {index}", level) for index, level in enumerate(features.levels)]
    return [("tokens", features.tokens), ("pooled", features.pooled), *levels]


def gradients_reach_all(subject: EncoderSubject) -> str:
    """Check that every trainable parameter learns through the pooled vector."""
    encoder = subject.made().train()
    features = encoder(*batch(subject.spec))
    for what, x in _numbers(features):
        if not x.requires_grad:
            raise Broken(f"expected {what} to carry gradients; it is cut off from the parameters")
    (features.pooled * torch.randn_like(features.pooled)).sum().backward()
    trainable = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    dead = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
    if dead:
        raise Broken(
            "expected a gradient in every trainable parameter through the pooled vector; "
            f"none reaches {', '.join(dead[:5])}"
        )
    return f"of all {len(trainable)} parameters"


def is_the_same_again(subject: EncoderSubject) -> str:
    """Check that one seed gives one result, and that evaluation draws nothing."""
    encoder, inputs = subject.made(), batch(subject.spec)
    expect_same_state(encoder, subject.made(), "an instance from the same seed to be the same")
    for training, mode in MODES.items():
        once, again = (subject.call(encoder, inputs, training=training) for _ in range(2))
        expect_same(
            again.pooled, once.pooled, f"the same output {mode} from the same seed", "twice"
        )
    want = subject.call(encoder, inputs).pooled
    other = subject.call(encoder, inputs, seed=SEED + 1).pooled
    seen = "with another state of torch's generator"
    expect_same(other, want, "evaluation to draw nothing at random", seen)
    return "from the same seed, and in evaluation from any"


def rows_are_not_mixed(subject: EncoderSubject) -> str:
    """Check that in evaluation what is said of a row depends on that row alone."""
    encoder, inputs = subject.made(), batch(subject.spec)
    rows, together = len(inputs[0]), subject.call(encoder, inputs)
    every = torch.arange(rows)
    changed = subject.call(encoder, first_changed(inputs))
    _expect_rows(changed, every[1:], together, every[1:], "with other values in row 0")
    for row in every:
        alone = subject.call(encoder, pick(inputs, row[None]))
        _expect_rows(alone, every[:1], together, row[None], f"row {row} alone")
    order = every.roll(1)
    turned = subject.call(encoder, pick(inputs, order))
    _expect_rows(turned, every, together, order, "in another order of rows")
    return "with other rows beside it, alone and in another order"


def _expect_rows(got: Features, rows: Tensor, want: Features, same: Tensor, seen: str) -> None:
    """Check that what is valid of ``got[rows]`` is that of ``want[same]``."""
    expected = "what is said of a row to depend on that row alone"
    _expect_valid(got.map(lambda x: x[rows]), want.map(lambda x: x[same]), expected, seen)


def _expect_valid(got: Features, want: Features, expected: str, seen: str) -> None:
    """Check pooled vectors, levels, and tokens where the masks are True."""
    steps = min(got.mask.shape[1], want.mask.shape[1])
    mask = want.mask[:, :steps]
    beyond = got.mask[:, steps:].any() or want.mask[:, steps:].any()
    if not torch.equal(got.mask[:, :steps], mask) or beyond:
        raise Broken(f"expected {expected}; {seen}, the mask differs")
    expect_same(got.pooled, want.pooled, expected, seen, LOOSE)
    tokens = got.tokens[:, :steps][mask], want.tokens[:, :steps][mask]
    expect_same(*tokens, expected, f"{seen}, in the tokens", LOOSE)
    for one, other in zip(got.levels, want.levels, strict=True):
        expect_same(one, other, expected, f"{seen}, in a level", LOOSE)


def padding_changes_nothing(subject: EncoderSubject) -> str:
    """Check that steps beyond a row's length are not read, in either mode."""
    if not isinstance(subject.spec, SEQUENCES):
        raise Untested(f"a {type(subject.spec).__name__} has no lengths")
    x, lengths = batch(subject.spec)
    if lengths is None:
        raise Untested("the inputs have no lengths")
    expected = "steps beyond a row's length not to be read"
    encoder = subject.made()
    want = subject.call(encoder, (x, lengths))
    for junk in (0, 1):
        longer = torch.cat([x, torch.full((len(x), 333), junk, dtype=x.dtype)], dim=1)
        seen = f"with 333 more steps of {junk}"
        _expect_valid(subject.call(encoder, (longer, lengths)), want, expected, seen)
    trimmed = subject.call(encoder, (x[1:2, : int(lengths[1])], None))
    one = want.map(lambda x: x[1:2])
    _expect_valid(trimmed, one, expected, "of one row, without its padding")
    states, said = [], []
    for extra in (0, 500):
        model = without_dropout(subject.made()).train()
        padded = torch.cat([x, torch.zeros(len(x), extra, dtype=x.dtype)], dim=1)
        said.append(model(padded, lengths.clone()))
        states.append(model.state_dict())
    _expect_valid(said[1], said[0], expected, "in training, with 500 more steps")
    for name, tensor in states[0].items():
        seen = f"in training, with 500 more steps, in {name}"
        expect_same(states[1][name], tensor, expected, seen, LOOSE)
    return "more steps behind a row's end change nothing"


def without_dropout(module: Encoder) -> Encoder:
    """Return a module whose dropout layers drop nothing: their draws follow the shapes."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def empty_rows_are_finite(subject: EncoderSubject) -> str:
    """Check rows without a single step, such as a text without words."""
    if not isinstance(subject.spec, SEQUENCES):
        raise Untested(f"a {type(subject.spec).__name__} has no lengths")
    encoder = subject.made()
    x, _ = batch(subject.spec)
    for steps in (0, 1):
        nothing = torch.zeros_like(x[:, :steps]), torch.zeros(len(x), dtype=torch.int64)
        features = subject.call(encoder, nothing)
        if not features.pooled.isfinite().all() or not features.mask.any(1).all():
            raise Broken(
                "expected finite features and one token in each row of a batch without any step; "
                f"seen neither, or one of them, with {steps} steps"
            )
    return "a batch of rows without any step is finite"


def state_goes_to_another_instance(subject: EncoderSubject) -> str:
    """Check that all that is learned is in the state dict."""
    encoder, inputs = subject.made(), batch(subject.spec)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        for seed in (5, 6):
            encoder.train()(*batch(subject.spec, seed=seed))
    other = load(subject.made(seed=3), encoder)
    for training, mode in MODES.items():
        expect_same(
            subject.call(other, inputs, training=training).pooled,
            subject.call(encoder, inputs, training=training).pooled,
            "a fresh instance with the state loaded to say the same",
            mode,
        )
    return f"{len(encoder.state_dict())} tensors"


def inputs_stay(subject: EncoderSubject) -> str:
    """Check that the input is not changed in place."""
    for training, mode in MODES.items():
        encoder, (x, lengths) = subject.made().train(training), batch(subject.spec)
        given = x.clone(), None if lengths is None else lengths.clone()
        encoder(*given)
        same = lengths is None or given[1] is None or torch.equal(given[1], lengths)
        if distance(given[0], x) > 0 or not same:
            raise Broken(f"expected its input to stay as it is; {mode} it is changed")
    return "the input stays as it is"


def depths_name_every_tensor(subject: EncoderSubject) -> str:
    """Check that ``depths`` names each tensor once, and ``input_tensors`` some of the first."""
    encoder = subject.made()
    state, depths = encoder.state_dict(), encoder.depths()
    named = [name for prefixes in depths for name in state if name.startswith(prefixes)]
    if sorted(named) != sorted(state):
        wrong = sorted({n for n in state if named.count(n) != 1})
        raise Broken(
            f"expected depths() to name every tensor once; {', '.join(wrong[:5])} "
            "is named never or twice"
        )
    for prefix in [prefix for prefixes in depths for prefix in prefixes]:
        whole = prefix in state or prefix == "" or prefix.endswith(".")
        if not whole or not any(name.startswith(prefix) for name in state):
            raise Broken(
                f"expected depths() to hold names of tensors, or of parts that end in a dot; "
                f"{prefix!r} is neither"
            )
    for name, follows in encoder.input_tensors().items():
        fits = name in state and name.startswith(depths[0])
        if fits:
            x = state[name]
            fits = x.dim() >= 3 if follows == "channels" else x.dim() == 3 and len(x) == 1
        if not fits:
            raise Broken(
                f"expected input_tensors() to name tensors of the first depth that follow the "
                f"{follows} of an input; {name} does not"
            )
    return f"{len(depths)} depths"


def has_sound_options(subject: EncoderSubject) -> str:
    """Check that a config can set the options, and that bad ones are refused."""

    def attempt(part: Part) -> None:
        other = EncoderSubject(part, part.make, subject.spec)
        if not other.call(other.made(), batch(other.spec)).pooled.isfinite().all():
            raise Broken("numbers that are not finite")

    return options_are_sound(subject.part, 1, (), attempt)


_ON = (MADE, REPEATED)
CHECKS: tuple[Check[EncoderSubject], ...] = (
    Check(MADE, is_made),
    Check(SHAPES, has_the_stated_widths, (MADE,)),
    Check("dtype", keeps_the_dtype, (MADE,)),
    Check("gradients", gradients_reach_all, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("rows not mixed", rows_are_not_mixed, _ON),
    Check("padding not read", padding_changes_nothing, _ON),
    Check("empty rows", empty_rows_are_finite, (MADE,)),
    Check("state dict", state_goes_to_another_instance, _ON),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("depths", depths_name_every_tensor, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
)
QUICK = CHECKS[:2]
"""What ``mmx train`` looks at before it opens data."""
