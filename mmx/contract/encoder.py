"""The contract of an encoder, as checks; see :mod:`mmx.encoders`.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmx.contract.base import BASICS, MADE, REPEATED, SEED, Broken, Check, Part, Untested
from mmx.contract.differences import expect_same, format_shape
from mmx.contract.example_inputs import (
    SEQUENCES,
    SPECS,
    EncoderInputs,
    change_first,
    find_spec,
    make_inputs,
    pick,
)
from mmx.contract.gradients import expect_gradients, find_gradient_that_is_not_finite
from mmx.contract.modules import (
    ModuleSubject,
    inputs_stay,
    is_the_same_again,
    rows_are_not_mixed,
    state_goes_to_another_instance,
)
from mmx.contract.options import has_sound_options
from mmx.encoders import Encoder
from mmx.encoders.narrow_convolutions import guard_narrow_convolutions
from mmx.modalities import Features, Spec

LOOSE = 3000.0
"""Tolerance for deep encoders, whose kernels depend on the batch size: 4e-4 in float32."""
SHAPES = "the stated widths"


@dataclass(frozen=True)
class EncoderSubject(ModuleSubject[Encoder, EncoderInputs, Features]):
    """An encoder and what it is tried on.

    Attributes:
        part: The class and its options.
        make: ``make(spec)``.
        spec: The spec of its inputs.
    """

    positional = 1
    # In training, batch normalisation reads the other rows of a batch.
    row_modes: ClassVar[Mapping[bool, str]] = {False: "in evaluation"}
    inputs_in_words = "input and lengths"
    part: Part
    make: Callable[..., Encoder]
    spec: Spec

    @classmethod
    def of(cls, part: Part) -> EncoderSubject:
        """Return a part as the subject of the checks, with a spec that its constructor accepts."""
        return cls(part, part.make, SPECS[find_spec(part.kind)])

    def build(self, seed: int = 1) -> Encoder:
        """Return an instance whose weights are drawn from a seed, guarded as in a model."""
        torch.manual_seed(seed)
        return guard_narrow_convolutions(self.make(self.spec))

    def make_inputs(self, seed: int | None = None) -> EncoderInputs:
        """Return random inputs of the spec."""
        return make_inputs(self.spec, seed=seed or 1)

    def run(self, module: Encoder, inputs: EncoderInputs) -> Any:
        """Call the module itself, on the inputs themselves."""
        return module(*inputs)

    def call(
        self, module: Encoder, inputs: EncoderInputs, *, training: bool = False, seed: int = SEED
    ) -> Features:
        """Return the features of copies of inputs from a copy of an encoder, with seeded draws."""
        module = copy.deepcopy(module).train(training)
        torch.manual_seed(seed)
        x, lengths = inputs
        features = module(x.clone(), None if lengths is None else lengths.clone())
        if not isinstance(features, Features):
            raise Broken(f"expected Features(tokens, mask, pooled); seen {type(features).__name__}")
        return features

    def numbers(self, output: Features) -> Tensor:
        """Return the pooled vectors."""
        return output.pooled

    def tensors(self, inputs: EncoderInputs) -> dict[str, list[Tensor]]:
        """Return the input and, of a sequence, its lengths."""
        x, lengths = inputs
        return {"the input": [x], **({} if lengths is None else {"lengths": [lengths]})}

    def pick_inputs(self, inputs: EncoderInputs, rows: Tensor) -> EncoderInputs:
        """Return some rows of inputs, by number."""
        return pick(inputs, rows)

    def pick_outputs(self, output: Features, rows: Tensor) -> Features:
        """Return some rows of features, by number."""
        return output.map(lambda x: x[rows])

    def change_first(self, inputs: EncoderInputs) -> EncoderInputs:
        """Return inputs with other values in row 0, of the same length."""
        return change_first(inputs)

    def expect_equal(self, got: Features, want: Features, expected: str, seen: str) -> None:
        """Raise Broken where pooled vectors, levels, or tokens where the masks are True differ."""
        # A batch without the longest row may have fewer steps T.
        steps = min(got.mask.shape[1], want.mask.shape[1])
        mask = want.mask[:, :steps]
        beyond = got.mask[:, steps:].any() or want.mask[:, steps:].any()
        if not torch.equal(got.mask[:, :steps], mask) or beyond:
            raise Broken(f"expected {expected}; {seen}, the mask differs")
        expect_same(got.pooled, want.pooled, expected, seen, LOOSE)
        # Only real tokens count: padding may hold anything. (B, T, D)[mask] -> (n, D)
        tokens = got.tokens[:, :steps][mask], want.tokens[:, :steps][mask]
        expect_same(*tokens, expected, f"{seen}, in the tokens", LOOSE)
        for one, other in zip(got.levels, want.levels, strict=True):
            expect_same(one, other, expected, f"{seen}, in a level", LOOSE)

    def try_part(self, part: Part) -> None:
        """Make the class with other options and use it once."""
        other = replace(self, part=part, make=part.make)
        if not other.call(other.build(), other.make_inputs()).pooled.isfinite().all():
            raise Broken("numbers that are not finite")


def encodes_inputs(subject: EncoderSubject) -> str:
    """Check that it can be made and called at all."""
    subject.call(subject.build(), subject.make_inputs())
    return f"of {type(subject.spec).__name__}"


def has_the_stated_widths(subject: EncoderSubject) -> str:
    """Check the shapes of tokens, mask, pooled vector and levels, for several rows and for one."""
    encoder = subject.build()
    width = getattr(encoder, "width", None)
    if not isinstance(width, int):
        raise Broken(f"expected the constructor to set self.width to an int; seen {width!r}")
    for rows in (4, 1):
        features = subject.call(encoder, make_inputs(subject.spec, rows))
        expect_shape("pooled", features.pooled, (rows, width))
        if features.tokens.dim() != 3:
            raise Broken(f"expected tokens (B, T, {width}); seen {format_shape(features.tokens)}")
        steps = features.tokens.shape[1]
        expect_shape("tokens", features.tokens, (rows, steps, width))
        expect_shape("mask", features.mask, (rows, steps))
        if features.mask.dtype != torch.bool or not features.mask.any(1).all():
            raise Broken("expected a mask of bool, with one real token at least in each row")
        levels = [tuple(level.shape) for level in features.levels]
        stated = [(rows, each) for each in encoder.level_widths]
        if levels != stated:
            raise Broken(f"expected levels {stated}, as level_widths states; seen {levels}")
    count = len(encoder.level_widths)
    return f"D = {width}, {count} {'level' if count == 1 else 'levels'}"


def expect_shape(what: str, x: Tensor, wanted: tuple[int, ...]) -> None:
    """Raise Broken where a tensor does not have the shape that its encoder states."""
    if tuple(x.shape) != wanted:
        raise Broken(f"expected {what} {wanted}, as its width states; seen {format_shape(x)}")


def features_keep_the_dtype(subject: EncoderSubject) -> str:
    """Check float32 out of float32, and finite values and gradients under autocast."""
    encoder, inputs = subject.build(), subject.make_inputs()
    features = subject.call(encoder, inputs)
    for what, x in _list_numbers(features):
        if x.dtype != torch.get_default_dtype():
            raise Broken(f"expected {torch.get_default_dtype()}; {what} is {x.dtype}")
    encoder.train()
    if not isinstance(subject.spec, SEQUENCES):  # of which one row is short, and one empty
        inputs = make_inputs(subject.spec, rows=2)  # a CPU may be very slow in bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(*inputs)
    half.pooled.float().sum().backward()
    if not half.pooled.isfinite().all():
        raise Broken("expected finite numbers under autocast to bfloat16")
    if (name := find_gradient_that_is_not_finite(encoder)) is not None:
        raise Broken(f"expected finite gradients under autocast; that of {name} is not")
    return f"{torch.get_default_dtype()}, and finite under autocast to bfloat16"


def _list_numbers(features: Features) -> list[tuple[str, Tensor]]:
    levels = [(f"level {index}", level) for index, level in enumerate(features.levels)]
    return [("tokens", features.tokens), ("pooled", features.pooled), *levels]


def gradients_reach_the_encoder(subject: EncoderSubject) -> str:
    """Check that every trainable parameter learns through the pooled vector."""
    encoder = subject.build().train()
    features = encoder(*subject.make_inputs())
    for what, x in _list_numbers(features):
        if not x.requires_grad:
            raise Broken(f"expected {what} to carry gradients; it is cut off from the parameters")
    # Random weights: a plain sum has no gradient through a LayerNorm.
    (features.pooled * torch.randn_like(features.pooled)).sum().backward()
    expected = "a gradient in every trainable parameter through the pooled vector"
    return f"of all {expect_gradients(encoder, expected)} parameters"


def padding_changes_nothing(subject: EncoderSubject) -> str:
    """Check that padding beyond a row's length is not read, in training and in evaluation."""
    if not isinstance(subject.spec, SEQUENCES):
        raise Untested(f"inputs of {type(subject.spec).__name__} have no lengths")
    x, lengths = subject.make_inputs()
    if lengths is None:
        raise Untested("the inputs have no lengths")
    expected = "steps beyond a row's length not to be read"
    encoder = subject.build()
    want = subject.call(encoder, (x, lengths))
    for junk in (0, 1):
        more = torch.full((len(x), 333, *x.shape[2:]), junk, dtype=x.dtype)
        longer = torch.cat([x, more], dim=1)
        seen = f"with 333 more steps of {junk}"
        subject.expect_equal(subject.call(encoder, (longer, lengths)), want, expected, seen)
    trimmed = subject.call(encoder, (x[1:2, : int(lengths[1])], None))
    one = want.map(lambda x: x[1:2])
    subject.expect_equal(trimmed, one, expected, "of one row, without its padding")
    states, outputs = [], []
    for extra in (0, 500):
        # Draws of dropout would differ with the shape; batch statistics must not.
        model = disable_dropout(subject.build()).train()
        padded = torch.cat([x, x.new_zeros(len(x), extra, *x.shape[2:])], dim=1)
        outputs.append(model(padded, lengths.clone()))
        states.append(model.state_dict())
    subject.expect_equal(outputs[1], outputs[0], expected, "in training, with 500 more steps")
    for name, tensor in states[0].items():
        seen = f"in training, with 500 more steps, in {name}"
        expect_same(states[1][name], tensor, expected, seen, LOOSE)
    return "more steps behind a row's end change nothing"


def disable_dropout(module: Encoder) -> Encoder:
    """Return the module with dropout off, since its draws depend on the shape of the input."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def empty_rows_are_finite(subject: EncoderSubject) -> str:
    """Check rows without a single step, such as a text without words."""
    if not isinstance(subject.spec, SEQUENCES):
        raise Untested(f"inputs of {type(subject.spec).__name__} have no lengths")
    encoder = subject.build()
    x, _ = subject.make_inputs()
    for steps in (0, 1):
        nothing = torch.zeros_like(x[:, :steps]), torch.zeros(len(x), dtype=torch.int64)
        features = subject.call(encoder, nothing)
        if not features.pooled.isfinite().all() or not features.mask.any(1).all():
            raise Broken(
                "expected finite features and one token in each row of a batch without any step; "
                f"seen neither, or one of them, with {steps} steps"
            )
    return "a batch of rows without any step is finite"


def depths_name_every_tensor(subject: EncoderSubject) -> str:
    """Check that ``depths`` names each tensor once, and ``input_tensors`` those at the input."""
    encoder = subject.build()
    state, depths = encoder.state_dict(), encoder.depths()
    named = [name for prefixes in depths for name in state if name.startswith(prefixes)]
    if wrong := sorted(name for name in state if named.count(name) != 1):
        raise Broken(
            f"expected depths() to name every tensor once; {', '.join(wrong[:5])} "
            "is named never or twice"
        )
    for prefix in [prefix for prefixes in depths for prefix in prefixes]:
        if not _names_a_part(prefix, state):
            raise Broken(
                f"expected depths() to hold names of tensors, or of parts that end in a dot; "
                f"{prefix!r} is neither"
            )
    for name, follows in encoder.input_tensors().items():
        first = name in state and name.startswith(depths[0])
        if not first or not _follows(state[name], follows):
            raise Broken(
                f"expected input_tensors() to name tensors of the first depth that follow the "
                f"{follows} of an input; {name} does not"
            )
    return f"{len(depths)} depths"


def _names_a_part(prefix: str, state: Mapping[str, Tensor]) -> bool:
    """Return whether a prefix is a tensor's whole name, or that of a part with tensors."""
    whole = prefix in state or prefix == "" or prefix.endswith(".")
    return whole and any(name.startswith(prefix) for name in state)


def _follows(x: Tensor, follows: str) -> bool:
    """Return whether a tensor has an axis for the property of the input that it depends on."""
    if follows == "channels":  # a kernel: (D, channels, …)
        return x.dim() >= 3
    return x.dim() == 3 and len(x) == 1  # positions: (1, T, D)


CHECKS: tuple[Check[EncoderSubject], ...] = (
    Check(MADE, encodes_inputs),
    Check(SHAPES, has_the_stated_widths, (MADE,)),
    Check("dtype", features_keep_the_dtype, (MADE,)),
    Check("gradients", gradients_reach_the_encoder, (MADE,)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check("rows not mixed", rows_are_not_mixed, BASICS),
    Check("padding not read", padding_changes_nothing, BASICS),
    Check("empty rows", empty_rows_are_finite, (MADE,)),
    Check("state dict", state_goes_to_another_instance, BASICS),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("depths", depths_name_every_tensor, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
)
ENCODER_START_CHECKS = CHECKS[:2]
"""The checks that ``mmx train`` makes before it opens data."""
