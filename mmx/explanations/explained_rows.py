"""The explanation of one row: each of its inputs by each method that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmx.explanations.base import Attribution, Method, Question, Values
from mmx.explanations.chosen_rows import ChosenRow
from mmx.explanations.inputs import Named, find_parts
from mmx.modalities import Batch
from mmx.model import MultimodalModel
from mmx.training.data import Data


@dataclass(frozen=True)
class ExplainedInput:
    """One input of one row.

    Attributes:
        name: Of the input.
        modality: What kind of data it is.
        maps: Method to what it found, for the methods that fit.
        misfits: Method to why it does not fit, for the others.
        axes: What the axes of the parts stand for.
        names: The parts by name; None where their place says what they are.
        in_order: Whether the names, one after the other, are the input.
        baseline: From what integrated gradients count, in words.
        shown: The input as a page draws it; see
            :meth:`~mmx.explanations.inputs.base.InputParts.show`.
    """

    name: str
    modality: str
    maps: Mapping[str, Attribution]
    misfits: Mapping[str, str]
    axes: tuple[str, ...]
    names: tuple[Named, ...] | None
    in_order: bool
    baseline: str
    shown: Values | None


@dataclass(frozen=True)
class ExplainedRow:
    """One row.

    Attributes:
        chosen: The row, and which output is explained.
        inputs: Those that the row has.
        shares: Input to its Shapley value for the answer; absent inputs contribute nothing.
        empty: The answer without any input, which is the prior's.
        full: The answer with all inputs: a probability, or a number in the task's own unit.
    """

    chosen: ChosenRow
    inputs: tuple[ExplainedInput, ...]
    shares: Mapping[str, float]
    empty: float
    full: float


def explain_inputs(
    model: MultimodalModel, data: Data, chosen: ChosenRow, methods: Mapping[str, Method]
) -> tuple[ExplainedInput, ...]:
    """Return the explanation of each input that a row has.

    Args:
        model: In evaluation mode.
        data: With the row in one of its splits, and without features computed before.
        chosen: The row, and which output is explained.
        methods: Name to method, of those that are tried.
    """
    batch = read_row(data, chosen.row)
    found = []
    for name in sorted(data.views):
        if not bool(batch.present[name][0]):
            continue
        question = Question(model, batch, name, data.views[name], chosen.output)
        misfits = {key: each.explain_misfit(question) for key, each in methods.items()}
        parts = find_parts(question)
        found.append(
            ExplainedInput(
                name=name,
                modality=question.view.modality.name,
                maps={
                    key: each.attribute(question)
                    for key, each in methods.items()
                    if not misfits[key]
                },
                misfits={key: why for key, why in misfits.items() if why},
                axes=parts.axes,
                names=parts.list_names(question, chosen.row),
                in_order=parts.is_in_order(question),
                baseline=parts.baseline,
                shown=parts.show(question),
            )
        )
    return tuple(found)


def read_row(data: Data, row: int) -> Batch:
    """Return one row as a batch of its own, without padding."""
    ((rows, stored),) = data.batches([np.array([row], dtype=np.int64)])
    return data.assemble(rows, stored, augment=False)


def list_unused(rows: Sequence[ExplainedRow], methods: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return each method that fits no input of any row, with the reason for each input."""
    unused = {}
    for method in methods:
        inputs = [each for row in rows for each in row.inputs]
        if inputs and not any(method in each.maps for each in inputs):
            unused[method] = {each.name: each.misfits[method] for each in inputs}
    return unused
