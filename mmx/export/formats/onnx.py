"""ONNX: a graph of operators that onnxruntime and many other runtimes read, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmx.errors import RunError
from mmx.export.formats.base import ExportFormat, Loader, Program, Written
from mmx.export.graph import ANSWERS, OUTPUTS, ExportGraph
from mmx.export.quiet import keep_exporters_quiet
from mmx.export.recurrent import whole_recurrent_layers
from mmx.export.tracing import trace
from mmx.extras import import_extra
from mmx.json_object import Json

ERRORS_ALONE = 3
"""The level of onnxruntime's log at which it is silent about everything else."""


def measure_distances(one: Tensor, other: Tensor, p: float = 2, mode: Any = None) -> Tensor:
    """Return the Euclidean distances ``(B, R)`` of rows ``(B, D)`` and ``(R, D)``; ``p`` is 2."""
    return (one.unsqueeze(1) - other).square().sum(2).sqrt()


def sort_stably(
    x: Tensor, *, stable: bool | None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """Return a tensor sorted, and the places: ONNX takes the first of equal values first."""
    found = x.topk(x.shape[dim], dim, largest=descending)
    return found.values, found.indices


def choose_truths(condition: Tensor, x: Tensor, y: Tensor) -> Any:
    """Return ``x`` where a condition holds and ``y`` elsewhere, of bools alone."""
    if x.dtype != torch.bool or y.dtype != torch.bool:
        return NotImplemented  # onnxruntime has an operator for other dtypes
    return (condition & x) | (~condition & y)


WITHOUT_OPERATOR: dict[Any, Any] = {
    torch.ops.aten.cdist.default: measure_distances,
    torch.ops.aten.sort.stable: sort_stably,
    torch.ops.aten.where.self: choose_truths,
}
"""Operations of torch without an operator of the exporter or of onnxruntime on the CPU, to what
computes the same."""


class Onnx(ExportFormat):
    """Written by torch's exporter from the traced graph, run by onnxruntime."""

    name = "onnx"
    file = "model.onnx"
    packages = ("onnxruntime",)
    loader = Loader(
        "import onnxruntime",
        'onnxruntime.InferenceSession(HERE / ABOUT["file"])',
        'MODEL.run(["answers"], feed)[0]',
    )

    def require(self) -> None:
        """Check for onnx, onnxscript and onnxruntime; see :class:`ExportFormat`."""
        for library in ("onnx", "onnxscript", "onnxruntime"):
            import_extra(library, "export", "--format onnx")

    def write(self, graph: ExportGraph, config: Json, folder: Path) -> Written:
        """Write ``model.onnx``; see :class:`ExportFormat`."""
        traced = trace(graph)
        try:
            with torch.no_grad(), whole_recurrent_layers(), keep_exporters_quiet():
                program: Any = torch.onnx.export(
                    traced.program.run_decompositions(WITHOUT_OPERATOR),
                    (),
                    dynamo=True,
                    verbose=False,
                    input_names=graph.names,
                    output_names=[OUTPUTS, ANSWERS],
                )
                program.save(str(folder / self.file))
        except Exception as error:  # of torch and onnxscript, each with types of its own
            raise RunError(
                f"ONNX cannot hold the model: {find_reason(error)}",
                tip="--format pt2, which holds whatever torch can trace",
            ) from error
        opset = {
            each or "ai.onnx": version for each, version in program.model.opset_imports.items()
        }
        return Written(traced.fixed, {"opset": opset})

    def open(self, folder: Path, allowed: Sequence[str]) -> Program:
        """Return the model as onnxruntime runs it on the CPU; see :class:`ExportFormat`."""
        onnxruntime = import_extra("onnxruntime", "export")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ALONE
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(
            str(folder / self.file), options, providers=["CPUExecutionProvider"]
        )

        def run(tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            feed = {name: tensor.numpy() for name, tensor in tensors.items()}
            outputs, answers = session.run([OUTPUTS, ANSWERS], feed)
            return torch.from_numpy(outputs), torch.from_numpy(answers)

        return run


def find_reason(error: BaseException) -> str:
    """Return the innermost reason of an exporter's error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
