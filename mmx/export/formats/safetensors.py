"""safetensors: the tensors by name, with the config by which mmx builds the model again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from mmx.export.formats.base import ExportFormat, Loader, Program, Written
from mmx.export.graph import ExportGraph
from mmx.export.rebuild import CONFIG, SPECS, TENSORS, keep_model_keys, rebuild
from mmx.json_object import Json
from mmx.modalities import spec_to_json
from mmx.runs.stage_facts import TargetFacts


class Safetensors(ExportFormat):
    """Tensors alone: for those who read a model's weights, or have mmx."""

    name = "safetensors"
    file = TENSORS
    packages = ("mmx",)
    loader = Loader(
        "import torch\nfrom mmx.export.rebuild import rebuild",
        "rebuild(HERE)",
        "MODEL(*map(torch.from_numpy, feed.values()))[1].numpy()",
    )

    def require(self) -> None:
        """Check for nothing: safetensors is what checkpoints are written with."""

    def write(self, graph: ExportGraph, config: Json, folder: Path) -> Written:
        """Write ``model.safetensors`` and ``config.yaml``; see :class:`ExportFormat`."""
        tensors = {
            name: tensor.detach().clone().contiguous()
            for name, tensor in graph.model.state_dict().items()
        }
        save_file(tensors, folder / self.file, metadata={"format": "pt"})
        text = yaml.safe_dump(keep_model_keys(config), sort_keys=False, allow_unicode=True)
        (folder / CONFIG).write_text(text, encoding="utf-8")
        facts = {
            "specs": {name: spec_to_json(each.spec) for name, each in graph.list_inputs().items()},
            "target": TargetFacts.describe(graph.target).model_dump(),
        }
        (folder / SPECS).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
        shapes = {name: [str(each.dtype), *each.shape] for name, each in tensors.items()}
        rebuilt = "mmx.export.rebuild.rebuild(folder) returns the model, built by config.yaml"
        return Written({}, {"tensors": shapes, "rebuild": rebuilt})

    def open(self, folder: Path, allowed: Sequence[str]) -> Program:
        """Return the model, built again; see :class:`ExportFormat`."""
        graph = rebuild(folder, allowed)

        def run(tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                outputs, answers = graph(*tensors.values())
            return outputs, answers

        return run
