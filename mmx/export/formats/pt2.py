"""pt2: torch's own traced program, which torch alone runs, without mmx and without code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmx.export.formats.base import ExportFormat, Loader, Program, Written
from mmx.export.graph import ExportGraph
from mmx.export.quiet import keep_exporters_quiet
from mmx.export.tracing import trace
from mmx.json_object import Json


class Pt2(ExportFormat):
    """Written by ``torch.export.save``, read by ``torch.export.load``."""

    name = "pt2"
    file = "model.pt2"
    packages = ("torch",)
    loader = Loader(
        "import torch",
        'torch.export.load(HERE / ABOUT["file"]).module()',
        "MODEL(*map(torch.from_numpy, feed.values()))[1].numpy()",
    )

    def require(self) -> None:
        """Check for nothing: torch is there."""

    def write(self, graph: ExportGraph, config: Json, folder: Path) -> Written:
        """Write ``model.pt2``; see :class:`ExportFormat`."""
        traced = trace(graph)
        with keep_exporters_quiet():
            torch.export.save(traced.program, folder / self.file)
        return Written(traced.fixed, {"torch": torch.__version__})

    def open(self, folder: Path, allowed: Sequence[str]) -> Program:
        """Return the program; see :class:`ExportFormat`."""
        with keep_exporters_quiet():
            module = torch.export.load(folder / self.file).module()

        def run(tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                outputs, answers = module(*tensors.values())
            return outputs, answers

        return run
