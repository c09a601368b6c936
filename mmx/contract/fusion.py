"""The contract of a fusion, as checks; see :mod:`mmx.fusion`.

Shape legend: ``B`` batch, ``D`` width, ``C`` outputs, ``M`` modalities.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmx.contract.base import BASICS, MADE, REPEATED, Broken, Check, Part, Untested
from mmx.contract.differences import expect_same, expect_same_rows, format_shape
from mmx.contract.example_features import FeatureRows, make_training_rows
from mmx.contract.gradients import expect_gradients
from mmx.contract.modules import (
    inputs_stay,
    is_the_same_again,
    rows_are_not_mixed,
    state_goes_to_another_instance,
)
from mmx.contract.multimodal import (
    FeatureSubject,
    absent_rows_are_not_read,
    count_modalities,
    order_does_not_matter,
    run_on_leaves,
    takes_any_number,
)
from mmx.contract.options import has_sound_options
from mmx.contract.state_dicts import load_state
from mmx.fusion import Fusion, Widths
from mmx.model import without_tokens

OUTPUTS = 3
RIGHT_WIDTH, ROW_BY_ROW = "the stated width", "rows not mixed"
ANY_NUMBER = "any number of modalities"
ABSENT, ORDER = "absent rows not read", "any order of the dict"


@dataclass(frozen=True)
class FusionSubject(FeatureSubject[Fusion, Tensor]):
    """A fusion and what it is tried on.

    Attributes:
        make: ``make(widths, outputs=C)``.
        outputs: C.
    """

    supplied = ("outputs",)
    outputs: int = OUTPUTS

    @classmethod
    def of(cls, part: Part) -> FusionSubject:
        """Return a part as the subject of the checks."""
        return cls(part, part.make)

    def make_for(self, widths: dict[str, Widths]) -> Fusion:
        """Return an instance for these modalities."""
        return self.make(widths, outputs=self.outputs)

    def row_cases(self) -> Iterator[FeatureSubject[Fusion, Tensor]]:
        """Yield the subject for each set of modalities."""
        yield from self.each_world()

    def read(self, module: Fusion, inputs: FeatureRows) -> FeatureRows:
        """Return rows as the model passes them: with one token where no tokens are read."""
        if module.reads == "tokens":
            return inputs
        features = {name: without_tokens(each) for name, each in inputs.features.items()}
        return FeatureRows(features, inputs.present)

    def receive(self, output: Any, rows: FeatureRows) -> Tensor:
        """Return an output after checking that it has one vector for each row."""
        if not isinstance(output, Tensor):
            raise Broken(f"expected a tensor (B, D); seen a {type(output).__name__}")
        if output.dim() != 2 or len(output) != len(rows):
            raise Broken(
                f"expected one vector for each of {len(rows)} rows; seen {format_shape(output)}"
            )
        return output

    def numbers(self, output: Tensor) -> Tensor:
        """Return the output: all of it counts."""
        return output

    def pick_outputs(self, output: Tensor, rows: Tensor) -> Tensor:
        """Return some rows of an output, by number."""
        return output[rows]

    def expect_same_others(
        self, got: Tensor, want: Tensor, rows: Tensor, expected: str, seen: str
    ) -> None:
        """Raise Broken, with their numbers, where rows differ that were not changed."""
        expect_same_rows(got, want, rows.tolist(), expected, seen)


def fuses_features(subject: FusionSubject) -> str:
    """Check that it can be made and called at all."""
    subject.call(subject.build(), subject.make_inputs())
    return f"with {count_modalities(subject.widths)}"


def has_the_stated_width(subject: FusionSubject) -> str:
    """Check that the output has the stated width, which is C where the fusion decides."""
    for case in subject.each_world():
        fusion = case.build()
        stated = getattr(fusion, "width", None)
        if not isinstance(stated, int):
            raise Broken(f"expected the constructor to set self.width to an int; seen {stated!r}")
        output = case.call(fusion, case.make_inputs())
        if output.shape[1] != stated:
            raise Broken(
                f"expected (B, {stated}), as its width states; seen {format_shape(output)} "
                f"of {len(output)} rows with {count_modalities(case.widths)}"
            )
        _expect_outputs(fusion, subject.outputs)
    return f"(B, {fusion.width})"


def _expect_outputs(fusion: Fusion, outputs: int) -> None:
    """Check width and label tensors of a fusion that decides without a head."""
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
            raise Broken(f"expected {outputs} rows of {name}; seen {format_shape(state[name])}")
    if fusion.level == "decision" and not fusion.label_tensors:
        raise Broken("expected label_tensors to name what holds a row for each output; it is empty")


def output_keeps_the_dtype(subject: FusionSubject) -> str:
    """Check that float32 comes out where it goes in, and finite numbers under autocast."""
    fusion, rows = subject.build(), subject.make_inputs()
    output, given = subject.call(fusion, rows), torch.get_default_dtype()
    if output.dtype != given:
        raise Broken(f"expected {given} of {given} features; seen {output.dtype}")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = subject.call(fusion, rows, training=True)
    if half.dtype not in (torch.bfloat16, given) or not half.isfinite().all():
        raise Broken(f"expected finite numbers under autocast to bfloat16; seen {half.dtype}")
    return f"{output.dtype}, and finite under autocast to bfloat16"


def gradients_reach_every_modality(subject: FusionSubject) -> str:
    """Check that every trainable parameter and modality gets a gradient, of any number of them."""
    counts = [_expect_gradients_of(case) for case in reversed(list(subject.each_world()))]
    return f"of all {counts[0]} parameters and of {count_modalities(subject.widths)}"


def _expect_gradients_of(subject: FeatureSubject[Fusion, Tensor]) -> int:
    """Return how many parameters train; raise Broken where a parameter or modality is dead."""
    fusion, where = subject.build().train(), count_modalities(subject.widths)
    rows = subject.make_inputs().with_all_present()
    leaves, output = run_on_leaves(subject, fusion, rows)
    (output * torch.randn_like(output)).sum().backward()
    unread = [name for name in leaves.features if not _is_read(fusion, leaves, name)]
    if unread:
        raise Broken(
            f"expected every modality to be read, of {where}; no gradient reaches "
            f"{', '.join(unread)}"
        )
    expected = f"a gradient in every trainable parameter after one step, with {where}"
    if len(subject.widths) == 1:
        expected += " (what weighs one against others is made only where len(widths) > 1)"
    return expect_gradients(fusion, expected, shut=fusion.shut_at_start)


def _is_read(fusion: Fusion, leaves: FeatureRows, name: str) -> bool:
    """Return whether a gradient reaches what the fusion says it reads of a modality."""
    features = leaves.features[name]
    # Where no tokens are read, the pooled vector is passed as the only token too.
    read = [features.tokens] + [features.pooled] * (fusion.reads == "pooled")
    return any(x.grad is not None and bool(x.grad.any()) for x in read)


def width_scales_the_parameters(subject: FusionSubject) -> str:
    """Check that ``match=params`` can choose the width."""
    option = subject.part.kind.width_option  # type: ignore[attr-defined]
    if option not in inspect.signature(subject.part.kind).parameters:
        raise Untested(f"without an option `{option}`, match=params cannot be used")
    counts = []
    for width in (16, 32, 64):
        torch.manual_seed(1)
        fusion = subject.make(subject.widths, outputs=subject.outputs, **{option: width})
        # The head's parameters count too: weights (C, D) and biases (C,).
        head = 0 if fusion.decides else (fusion.width + 1) * subject.outputs
        counts.append(head + sum(p.numel() for p in fusion.parameters() if p.requires_grad))
    if not counts[0] < counts[1] < counts[2]:
        raise Broken(
            f"expected more parameters with a larger {option}, for match=params; "
            f"16, 32 and 64 give {', '.join(str(each) for each in counts)}"
        )
    return f"{option}=16, 32, 64 gives {counts[0]:,}, {counts[1]:,}, {counts[2]:,} parameters"


def settles_into_the_state(subject: FusionSubject) -> str:
    """Check that what is fitted after training is in the state, and depends on its seed alone."""
    fusion = subject.build().eval()
    if not fusion.settles:
        raise Untested("it fits nothing after training")
    train, val = (make_training_rows(subject.widths, seed=seed) for seed in (11, 12))
    classes = [
        type(rows)(rows.features, rows.present, rows.target % OUTPUTS) for rows in (train, val)
    ]
    notes = fusion.settle(classes[0], classes[1], 0)
    if not all(isinstance(note, str) for note in notes):
        raise Broken("expected settle to return notes, a tuple of texts")
    rows = subject.make_inputs()
    other = load_state(subject.build(seed=3), fusion)
    expect_same(
        subject.call(other, rows),
        subject.call(fusion, rows),
        "a fresh instance with the state loaded to say the same",
        "after settle",
    )
    return "what is fitted after training travels with the state"


CHECKS: tuple[Check[FusionSubject], ...] = (
    Check(MADE, fuses_features),
    Check(ANY_NUMBER, takes_any_number, (MADE,)),
    Check(RIGHT_WIDTH, has_the_stated_width, (MADE, ANY_NUMBER)),
    Check("dtype", output_keeps_the_dtype, (MADE,)),
    Check("gradients", gradients_reach_every_modality, (MADE, ANY_NUMBER)),
    Check(REPEATED, is_the_same_again, (MADE,)),
    Check(ROW_BY_ROW, rows_are_not_mixed, (*BASICS, ANY_NUMBER)),
    Check(ABSENT, absent_rows_are_not_read, BASICS),
    Check(ORDER, order_does_not_matter, BASICS),
    Check("state dict", state_goes_to_another_instance, BASICS),
    Check("inputs not changed", inputs_stay, (MADE,)),
    Check("options", has_sound_options, (MADE,)),
    Check("match=params", width_scales_the_parameters, (MADE,)),
    Check("settle", settles_into_the_state, (MADE,)),
)
FUSION_START_CHECKS = tuple(
    each for each in CHECKS if each.name in (MADE, RIGHT_WIDTH, REPEATED, ROW_BY_ROW, ABSENT, ORDER)
)
"""The checks that ``mmx train`` makes before it opens data."""
