"""The contract of a calibration, as checks; see :mod:`mmx.calibration`.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmx.calibration import Calibration, Rescaling, attach
from mmx.calibration.base import LARGEST, PREFIX, measure_loss
from mmx.contract.base import BASICS, MADE, REPEATED, Broken, Check, Part, Subject
from mmx.contract.options import has_sound_options
from mmx.metrics import Floats
from mmx.tasks.contents import Kind

KINDS: tuple[Kind, ...] = ("classes", "multilabel")
ROWS, OUTPUTS = 120, 4
CLOSE = 1e-4
"""Differences of scales and offsets that rounding explains, in parts of one larger than 1."""


@dataclass(frozen=True)
class ValidationOutputs:
    """Made-up outputs of validation rows.

    Attributes:
        outputs: ``(N, C)``.
        values: ``(N,)`` class indices, or ``(N, C)`` 0 and 1 of several labels.
        kind: Which of both.
    """

    outputs: Floats
    values: npt.NDArray[Any]
    kind: Kind

    def take(self, rows: npt.NDArray[Any]) -> ValidationOutputs:
        """Return some of the rows."""
        return replace(self, outputs=self.outputs[rows], values=self.values[rows])


@dataclass(frozen=True)
class CalibrationSubject(Subject):
    """A calibration, and how it is fitted.

    Attributes:
        part: The class and its options.
        calibration: An instance.
    """

    part: Part
    calibration: Calibration

    @classmethod
    def of(cls, part: Part) -> CalibrationSubject:
        """Return a part as the subject of the checks."""
        return cls(part, part.make())

    def try_part(self, part: Part) -> None:
        """Make the class with other options, and fit it."""
        other = CalibrationSubject.of(part)
        for rows in other.list_rows():
            other.fit(rows)

    def list_rows(self) -> Iterator[ValidationOutputs]:
        """Yield rows of each kind of target that it is for."""
        for kind in KINDS:
            if kind in self.calibration.kinds:
                yield make_outputs(kind)

    def fit(self, rows: ValidationOutputs) -> tuple[Floats, Floats]:
        """Return scale and offset.

        Raises:
            Broken: They are not ``(C,)`` numbers, or out of bounds.
        """
        found = self.calibration.fit(rows.outputs, rows.values, rows.kind)
        if not isinstance(found, tuple) or len(found) != 2:
            raise Broken(f"expected scale and offset; seen {type(found).__name__}")
        wanted = (rows.outputs.shape[1],)
        for name, each in zip(("scale", "offset"), found, strict=True):
            if not isinstance(each, np.ndarray) or each.shape != wanted:
                seen = getattr(each, "shape", type(each).__name__)
                raise Broken(f"expected a {name} of shape {wanted}; seen {seen}")
            if not np.isfinite(each).all():
                raise Broken(f"expected a finite {name}; seen {each.tolist()}")
        scale, offset = found
        slack = 1 + CLOSE
        if scale.min() * LARGEST * slack < 1 or scale.max() > LARGEST * slack:
            raise Broken(
                f"expected scales from {1 / LARGEST:g} to {LARGEST:g}, so that a higher output "
                f"stays a higher probability; seen {scale.tolist()}"
            )
        if np.abs(offset).max() > LARGEST * slack:
            raise Broken(f"expected offsets within {LARGEST:g}; seen {offset.tolist()}")
        return scale, offset


def make_outputs(kind: Kind, confidence: float = 3.0) -> ValidationOutputs:
    """Return outputs that are as confident as they should be, times a factor."""
    random = np.random.default_rng(0)
    outputs = random.normal(0, 1.5, (ROWS, OUTPUTS))
    if kind == "classes":
        chances = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
        values = (chances.cumsum(1) < random.random((ROWS, 1))).sum(1).clip(max=OUTPUTS - 1)
    else:
        values = (random.random((ROWS, OUTPUTS)) < 1 / (1 + np.exp(-outputs))).astype(np.int64)
    return ValidationOutputs(confidence * outputs, values, kind)


def fits_a_line_for_each_output(subject: CalibrationSubject) -> str:
    """Check that it states the kinds it is for, and gives a scale and an offset within bounds."""
    kinds = subject.calibration.kinds
    if not kinds or not set(kinds) <= set(KINDS):
        raise Broken(f"expected `kinds` to be some of {', '.join(KINDS)}; seen {kinds!r}")
    for rows in subject.list_rows():
        subject.fit(rows)
    return f"a scale and an offset for each output, for {', '.join(sorted(kinds))}"


def fits_the_same_twice(subject: CalibrationSubject) -> str:
    """Check that the same rows give the same numbers, and stay as they are."""
    for rows in subject.list_rows():
        outputs, values = rows.outputs.copy(), rows.values.copy()
        one, two = subject.fit(rows), subject.fit(rows)
        if not all(np.array_equal(a, b) for a, b in zip(one, two, strict=True)):
            raise Broken(f"expected the same numbers again; seen {one}, then {two}")
        if not np.array_equal(outputs, rows.outputs) or not np.array_equal(values, rows.values):
            raise Broken("expected the rows to stay as they are; they were changed in place")
    return "the same numbers again"


def fits_rows_in_any_order(subject: CalibrationSubject) -> str:
    """Check that the order of the rows does not count, but for rounding."""
    for rows in subject.list_rows():
        one, two = subject.fit(rows), subject.fit(rows.take(np.arange(ROWS)[::-1]))
        for name, a, b in zip(("scale", "offset"), one, two, strict=True):
            if not np.allclose(a, b, rtol=CLOSE, atol=CLOSE):
                raise Broken(
                    f"expected any order of rows to give the {name} {a.tolist()}; seen {b.tolist()}"
                )
    return "rows in any order"


def makes_overconfident_outputs_no_worse(subject: CalibrationSubject) -> str:
    """Check that the log loss of overconfident outputs does not rise on the rows of the fit."""
    said = []
    for rows in subject.list_rows():
        scale, offset = subject.fit(rows)
        before = measure_loss(rows.outputs, rows.values, rows.kind)[0]
        after = measure_loss(rows.outputs * scale + offset, rows.values, rows.kind)[0]
        if not after <= before * (1 + CLOSE):
            raise Broken(
                f"expected a log loss of overconfident {rows.kind} of at most {before:.4g}, as "
                f"without it; seen {after:.4g}"
            )
        said.append(f"{before:.4g} to {after:.4g}")
    return f"log loss of overconfident outputs from {', '.join(said)}"


def copes_with_few_rows(subject: CalibrationSubject) -> str:
    """Check rows of one class, a single row, and outputs that are all right or all alike."""
    for rows in subject.list_rows():
        alike = (rows.values == rows.values[0]).reshape(ROWS, -1).all(1)
        truth = np.eye(OUTPUTS)[rows.values] if rows.kind == "classes" else rows.values
        for each in (
            rows.take(np.flatnonzero(alike)),
            rows.take(np.arange(1)),
            replace(rows, outputs=50.0 * (2 * truth - 1)),
            replace(rows, outputs=np.zeros_like(rows.outputs)),
        ):
            subject.fit(each)
    return "one class, one row, outputs that are all right or all alike"


def is_kept_with_the_model(subject: CalibrationSubject) -> str:
    """Check that what a checkpoint holds of it, attached to another model, answers the same."""
    for rows in subject.list_rows():
        outputs = torch.from_numpy(rows.outputs).float()
        module = subject.calibration.fit_module(outputs, torch.from_numpy(rows.values), rows.kind)
        if not isinstance(module, Rescaling):
            raise Broken(
                f"expected `fit_module` to return a Rescaling, which checkpoints and exports know; "
                f"seen {type(module).__name__}"
            )
        other = nn.Module()
        tensors = {f"{PREFIX}{name}": each for name, each in module.state_dict().items()}
        attach(other, tensors, torch.device("cpu"))  # type: ignore[arg-type]
        other.load_state_dict(tensors)
        if not torch.equal(other.calibration(outputs), module(outputs)):  # type: ignore[operator]
            raise Broken("expected a model that is loaded again to answer the same")
    return "answers the same when it is loaded again"


CHECKS = (
    Check(MADE, fits_a_line_for_each_output),
    Check(REPEATED, fits_the_same_twice, (MADE,)),
    Check("order of rows", fits_rows_in_any_order, BASICS),
    Check("overconfident outputs", makes_overconfident_outputs_no_worse, BASICS),
    Check("few rows", copes_with_few_rows, BASICS),
    Check("kept with the model", is_kept_with_the_model, BASICS),
    Check("options", has_sound_options),
)
