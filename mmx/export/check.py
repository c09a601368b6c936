"""Checking an exported model against the run: the same answers on rows of the test split.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmx.errors import DataError, RunError
from mmx.experiment import Experiment
from mmx.export.formats import ExportFormat
from mmx.export.formats.base import Program
from mmx.export.graph import PRESENT, ExportGraph, name_lengths
from mmx.modalities import Batch
from mmx.stages import Loaded, open_trained
from mmx.stages.core.readable_rows import find_empty_rows
from mmx.tasks import TaskData
from mmx.training.data import Data, Rows, split_rows
from mmx.training.precision import Precision

ROWS, AT_ONCE = 100, 32
TOLERANCE = 1e-5
"""Largest difference: of probabilities; of outputs, in parts of one that is larger than 1."""


@dataclass(frozen=True)
class Agreement:
    """How far an exported model answers as its run.

    Attributes:
        rows: Rows of the test split.
        patterns: Ways in which inputs were left out of them, none among them.
        difference: The largest.
    """

    rows: int
    patterns: int
    difference: float


@dataclass(frozen=True)
class CheckedRows:
    """Rows on which an exported model is compared with its run.

    Attributes:
        task: The opened data.
        data: The same as the trained model reads it.
        rows: ``(N,)`` row numbers.
    """

    task: TaskData
    data: Data
    rows: Rows


def choose_checked_rows(experiment: Experiment, trained: Loaded) -> CheckedRows:
    """Return rows of the test split of the run's own data, evenly spaced.

    Raises:
        DataError: The data cannot be read, or no row has an input.
    """
    task = experiment.target.load()
    test = task.splits["test"]
    empty = find_empty_rows(task, trained.specs, test)
    usable = test[~np.isin(test, list(empty))]
    if not len(usable):
        raise DataError("no row of the test split has an input, so that nothing can be compared")
    places = np.unique(np.linspace(0, len(usable) - 1, min(ROWS, len(usable))).round())
    rows = usable[places.astype(np.int64)]
    none = np.zeros(0, dtype=np.int64)
    only = dataclasses.replace(task, splits={"train": none, "val": none, "test": rows})
    precision = Precision("fp32", torch.device("cpu"))
    return CheckedRows(task, open_trained(experiment, trained, only, precision).unlock_test(), rows)


def compare_answers(
    written: ExportFormat,
    program: Program,
    graph: ExportGraph,
    trained: Loaded,
    checked: CheckedRows,
    fixed: dict[str, int],
) -> Agreement:
    """Return how far an exported model agrees with the run's own, on rows that lack inputs too.

    Each row is answered as it is, without each of its inputs, and by each input alone.

    Args:
        written: The format.
        program: The exported model, read again.
        graph: Of the same model, which knows its inputs.
        trained: The run's model, on the CPU.
        checked: The rows.
        fixed: Input to its number of steps, where the model takes that number alone.

    Raises:
        RunError: They differ; says where and by how much.
    """
    patterns = list_patterns(list(graph.inputs))
    worst = 0.0
    # The last row alone: a batch of one row is a size that programs treat apart.
    for rows in [*split_rows(checked.rows[:-1], AT_ONCE), checked.rows[-1:]]:
        tensors = collect(graph, checked, rows, fixed)
        for _, stored in checked.data.batches([rows]):
            batch = checked.data.assemble(rows, stored, augment=False)
            for kept in patterns:
                difference = _compare_batch(program, graph, trained, tensors, _drop(batch, kept))
                if not difference <= TOLERANCE:  # also True for NaN
                    first, last = int(rows[0]) + 1, int(rows[-1]) + 1
                    raise RunError(
                        f"the {written.name} model answers otherwise than the run, by up to "
                        f"{difference:.2g} on rows {first} to {last} with {', '.join(kept)} "
                        f"({TOLERANCE:g} is allowed): nothing is written",
                        tip="--format pt2, which computes as torch does"
                        if written.name != "pt2"
                        else "--format safetensors",
                    )
                worst = max(worst, difference)
    return Agreement(len(checked.rows), len(patterns), worst)


def list_patterns(names: list[str]) -> list[tuple[str, ...]]:
    """Return which inputs are kept: all, all but one, each alone; no pattern twice."""
    without = [tuple(each for each in names if each != name) for name in names]
    found = [tuple(names), *without, *((name,) for name in names)]
    return [pattern for pattern in dict.fromkeys(found) if pattern]


def collect(
    graph: ExportGraph, checked: CheckedRows, rows: Rows, fixed: dict[str, int]
) -> dict[str, Tensor]:
    """Return the tensors of rows as the graph takes them, without presence."""
    found: dict[str, Tensor] = {}
    for name, each in graph.list_inputs().items():
        column = checked.task.columns[name]
        found[name], lengths = each.collect(column, rows, fixed.get(name))
        if lengths is not None:
            found[name_lengths(name)] = lengths
    return found


def _drop(batch: Batch, kept: tuple[str, ...]) -> Batch:
    """Return a batch whose rows lack all inputs but some."""
    present = {
        name: here if name in kept else torch.zeros_like(here)
        for name, here in batch.present.items()
    }
    complete = frozenset(name for name, here in present.items() if bool(here.all()))
    return dataclasses.replace(batch, present=present, complete=complete)


@torch.no_grad()
def _compare_batch(
    program: Program,
    graph: ExportGraph,
    trained: Loaded,
    tensors: dict[str, Tensor],
    batch: Batch,
) -> float:
    """Return the largest difference on the rows of a batch that have an input."""
    present = torch.stack([batch.present[name] for name in graph.inputs], dim=1)
    some = present.any(1)
    if not bool(some.any()):
        return 0.0
    wanted = trained.model(batch).float()
    outputs, answers = program({**tensors, PRESENT: present})
    if outputs.shape != wanted.shape:
        return float("inf")
    return max(_measure(wanted, outputs, some), _measure(graph.answer(wanted), answers, some))


def _measure(wanted: Tensor, found: Tensor, rows: Tensor) -> float:
    """Return the largest difference, in parts of a number that is larger than 1."""
    one, other = wanted[rows].double(), found[rows].double()
    equal = one == other  # also where both are infinite
    parts = ((one - other).abs() / one.abs().clamp(min=1)).masked_fill(equal, 0.0)
    return float(parts.max())
