"""What ``mmx explain`` found, and its numbers as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmx.evaluation.gain_intervals import LEVEL
from mmx.explanations import Attribution
from mmx.explanations.explained_rows import ExplainedInput, ExplainedRow
from mmx.explanations.shares import Shares
from mmx.json_object import Json
from mmx.metrics.base import Answers
from mmx.tasks import Target

MOST_NUMBERS = 4096
"""Numbers of a map that are written as they are; larger maps are summed over blocks."""
DIGITS = 6
"""Significant digits of a map's numbers."""


@dataclass(frozen=True)
class Explanation:
    """What was found of one run, or of several that differ in their seed.

    Attributes:
        runs: Names of the runs; rows are explained by the first.
        target_name: The target task.
        split: The split of the rows.
        target: What is predicted.
        shares: What each input contributes to the metric, over all runs.
        shares_of_runs: The same for each run, in the order of ``runs``.
        answers: Of the first run, for all rows of the split.
        rows: The explained rows.
        asked: Whether the rows were asked for by number.
        methods: Names of the methods that were tried.
        command: What was typed.
        notes: What a reader must know.
    """

    runs: tuple[str, ...]
    target_name: str
    split: str
    target: Target
    shares: Shares
    shares_of_runs: tuple[Shares, ...]
    answers: Answers
    rows: tuple[ExplainedRow, ...]
    asked: bool
    methods: tuple[str, ...]
    command: str
    notes: tuple[str, ...] = ()

    def name_output(self, output: int) -> str:
        """Return the class or label of an output; of a number what is predicted."""
        return self.target.classes[output] if self.target.classes else "the number"

    def name_truth(self, place: int) -> str:
        """Return the true class, labels or number of a row of the split."""
        return self._name(self.answers.truth, place)

    def name_answer(self, place: int) -> str:
        """Return the class, labels or number that the first run answers."""
        return self._name(self.answers.decided, place)

    def _name(self, values: npt.NDArray[np.generic], place: int) -> str:
        if self.target.kind == "regression":
            return f"{float(values[place]):.6g}"
        if self.target.kind == "multilabel":
            return ", ".join(self.target.classes[each] for each in np.flatnonzero(values[place]))
        return self.target.classes[int(values[place])]


def explanation_to_json(found: Explanation) -> Json:
    """Return all numbers of an explanation as data that JSON can hold."""
    pooled, single = found.shares, found.shares_of_runs
    return {
        "runs": list(found.runs),
        "target": found.target_name,
        "split": found.split,
        "rows_of_split": len(pooled.rows),
        "metric": pooled.metric,
        "lower_is_better": pooled.lower_is_better,
        "shares": {
            **_shares_to_json(pooled),
            "level": LEVEL,
            "interval_over": "rows" if len(single) == 1 else "runs and rows",
            "exact": pooled.exact,
        },
        "shares_of_runs": [
            {"run": run, **_shares_to_json(each)}
            for run, each in zip(found.runs, single, strict=True)
        ],
        "methods": list(found.methods),
        "explained": [_row_to_json(found, each) for each in found.rows],
        "notes": list(found.notes),
    }


def _shares_to_json(shares: Shares) -> Json:
    return {
        "empty": _finite(shares.empty),
        "full": _finite(shares.full),
        "inputs": {
            name: {"value": each.value, "low": _finite(each.low), "high": _finite(each.high)}
            for name, each in shares.values.items()
        },
    }


def _row_to_json(found: Explanation, row: ExplainedRow) -> Json:
    chosen = row.chosen
    return {
        "row": chosen.row + 1,
        "truth": found.name_truth(chosen.place),
        "answer": found.name_answer(chosen.place),
        "right": chosen.right,
        "confidence": chosen.confidence,
        "explained": found.name_output(chosen.output),
        "value": row.full,
        "value_without_inputs": row.empty,
        "shares": dict(row.shares),
        "inputs": [_input_to_json(each) for each in row.inputs],
    }


def _input_to_json(given: ExplainedInput) -> Json:
    return {
        "input": given.name,
        "modality": given.modality,
        "axes": list(given.axes),
        "parts": None
        if given.names is None
        else [{"name": each.name, "text": each.text} for each in given.names],
        "baseline": given.baseline,
        "maps": {name: _map_to_json(each) for name, each in given.maps.items()},
        "not_used": dict(given.misfits),
    }


def _map_to_json(found: Attribution) -> Json:
    blocks, values = sum_blocks(found.values)
    complete = found.completeness
    return {
        "signed": found.signed,
        "shape": list(found.values.shape),
        "block": list(blocks),
        "values": round_numbers(values).tolist(),
        "completeness": None
        if complete is None
        else {
            "total": complete.total,
            "gap": complete.gap,
            "steps": complete.steps,
            "holds": complete.holds,
        },
        "note": found.note,
    }


def sum_blocks(
    values: npt.NDArray[np.float32], most: int = MOST_NUMBERS
) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    """Return a map that is summed over blocks until it is small enough, and the block's sides.

    The sum over all stays the same. Only the last two axes are summed over.
    """
    found = values.astype(np.float64)
    blocks = [1] * found.ndim
    while found.size > most:
        axes = range(max(0, found.ndim - 2), found.ndim)
        axis = max(axes, key=lambda each: found.shape[each])
        if found.shape[axis] == 1:
            break
        found = np.add.reduceat(found, np.arange(0, found.shape[axis], 2), axis=axis)
        blocks[axis] *= 2
    return tuple(blocks), found


def round_numbers(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return numbers with few significant digits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(values == 0, 0, np.floor(np.log10(np.abs(values))))
    scale = 10.0 ** (DIGITS - 1 - size)
    found: npt.NDArray[np.float64] = np.round(values * scale) / scale
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def describe_shares(shares: Shares) -> Sequence[str]:
    """Return one line for each input: its name, share and interval; the full score first."""
    lines = [f"{shares.metric} {shares.full:.3f}, {shares.empty:.3f} without any input"]
    width = max(map(len, shares.values))
    for name, each in shares.values.items():
        interval = f"  ({each.low:+.3f} … {each.high:+.3f})" if math.isfinite(each.low) else ""
        lines.append(f"  {name:{width}s} {each.value:+.3f}{interval}")
    return lines
