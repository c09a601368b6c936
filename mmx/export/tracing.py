"""Tracing the graph of a model, with batches of any size, and rows of any length where it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmx.errors import RunError
from mmx.export.graph import ExportGraph
from mmx.export.quiet import keep_exporters_quiet
from mmx.export.recurrent import whole_recurrent_layers

ROWS, STEPS = 3, 7
"""Of the example that is traced; every size is traced as any other, but 0 and 1 are special."""


@dataclass(frozen=True)
class Traced:
    """A traced graph.

    Attributes:
        program: As torch has traced it.
        fixed: Input to its number of steps, where the graph takes that number alone.
    """

    program: ExportedProgram
    fixed: dict[str, int]


def trace(graph: ExportGraph) -> Traced:
    """Return the traced graph.

    Where rows have any length and the model cannot be traced so, they are traced at the longest
    length that the run reads.

    Raises:
        RunError: The model computes what depends on values, such as a loop until something holds.
    """
    refuse_untraceable(graph)
    longest = {
        name: each.longest
        for name, each in graph.list_inputs().items()
        if each.has_lengths and each.longest is not None
    }
    fixed = {n: steps for n, steps in longest.items() if not graph.list_inputs()[n].any_length}
    tries = [fixed] if fixed == longest else [fixed, longest]
    reason: Exception | None = None
    for steps in tries:
        try:
            program = _trace(graph, steps)
            _try_sizes(program, graph, steps)
            return Traced(program, steps)
        except Exception as error:  # of torch, which has many for what cannot be traced
            reason = error
    raise RunError(
        f"the model cannot be traced: {type(reason).__name__}: {str(reason).splitlines()[0]}",
        tip="--format safetensors, which mmx reads; --debug shows where",
    ) from reason


def refuse_untraceable(model: nn.Module) -> None:
    """Refuse a model with a part that says of itself that it leaves torch.

    Raises:
        RunError: There is one; names it.
    """
    for name, part in model.named_modules():
        if why := getattr(part, "leaves_torch", ""):
            raise RunError(
                f"the model cannot be traced: {name or type(part).__name__} {why}, not in torch",
                tip="--format safetensors, which mmx reads",
            )


def _trace(graph: ExportGraph, fixed: dict[str, int]) -> ExportedProgram:
    example, dynamic = make_example(graph, fixed)
    with torch.no_grad(), whole_recurrent_layers(), keep_exporters_quiet():
        return torch.export.export(
            graph, tuple(example), dynamic_shapes={"tensors": tuple(dynamic)}, strict=False
        )


def _try_sizes(program: ExportedProgram, graph: ExportGraph, fixed: dict[str, int]) -> None:
    """Run a program on batches and rows of other sizes, which fails where it is for some alone."""
    module = program.module()
    for rows, steps in ((1, 1), (2, 2), (5, STEPS + 1)):
        tensors, _ = make_example(graph, fixed, rows, steps)
        with torch.no_grad():
            module(*tensors)


def make_example(
    graph: ExportGraph, fixed: dict[str, int], rows: int = ROWS, steps: int = STEPS
) -> tuple[list[Tensor], list[dict[int, Any]]]:
    """Return made-up tensors of a few rows, and which of their axes have any size.

    Args:
        graph: Which reads them.
        fixed: Input to the number of steps that it takes alone.
        rows: Of the batch.
        steps: Of the inputs whose rows have any length.
    """
    example: list[Tensor] = []
    dynamic: list[dict[int, Any]] = []
    for name, each in graph.list_inputs().items():
        length = fixed.get(name) or min(steps, each.longest or steps)
        shape = [length if size is None else size for size in each.shape]
        example.append(torch.zeros(rows, *shape, dtype=each.dtype))
        axes = {0: Dim.DYNAMIC}
        if each.has_lengths and name not in fixed:
            axes[1] = Dim.DYNAMIC
        dynamic.append(axes)
        if each.has_lengths:
            example.append(torch.full((rows,), length))
            dynamic.append({0: Dim.DYNAMIC})
    example.append(torch.ones(rows, len(graph.inputs), dtype=torch.bool))
    dynamic.append({0: Dim.DYNAMIC})
    return example, dynamic
