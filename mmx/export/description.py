"""``model.json``: all that a reader of an exported model must know, in plain data."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from mmx.calibration import Rescaling
from mmx.export.check import TOLERANCE, Agreement
from mmx.export.formats.base import ExportFormat, Written
from mmx.export.graph import ANSWERS, OUTPUTS, PRESENT, ExportGraph, name_lengths
from mmx.json_object import Json
from mmx.printable import one_line
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest, RecordedWeights

MODEL_FORMAT = 1
"""Of ``model.json``; readers refuse a larger one."""
MEANING = {
    "classes": "the probability of each class; they sum to 1",
    "multilabel": "the probability of each label, each between 0 and 1",
    "regression": "the number, in the target's own unit",
}


@dataclass(frozen=True)
class Exported:
    """What is known of an exported model.

    Attributes:
        directory: The run.
        written: The format.
        graph: The model.
        made: What the format has written.
        agreement: How far it answers as its run.
    """

    directory: RunDirectory
    written: ExportFormat
    graph: ExportGraph
    made: Written
    agreement: Agreement

    def describe(self) -> Json:
        """Return ``model.json``."""
        target = self.graph.target
        numbers = target.kind == "regression"
        return {
            "format": MODEL_FORMAT,
            "kind": self.written.name,
            "file": self.written.file,
            "inputs": {
                name: {**self._describe_tensors(name), **each.describe()}
                for name, each in self.graph.list_inputs().items()
            },
            PRESENT: {
                "dtype": "bool",
                "shape": ["batch", len(self.graph.inputs)],
                "meaning": "which inputs a row has, in the order of `inputs`; at least one. What a "
                "row lacks holds padding, and a length of 0",
            },
            "outputs": {
                OUTPUTS: "standardised number" if numbers else "logits, after calibration",
                ANSWERS: MEANING[target.kind],
            },
            "target": {
                "kind": target.kind,
                "classes": list(target.classes),
                **({"mean": target.mean, "std": target.std} if numbers else {}),
            },
            "calibration": self._describe_calibration(),
            "checked": {
                "rows": self.agreement.rows,
                "ways_to_leave_inputs_out": self.agreement.patterns,
                "largest_difference": self.agreement.difference,
                "allowed": TOLERANCE,
            },
            "packages": list_needed_packages(self.written, self.graph),
            "written": self.made.facts,
            "provenance": self._describe_provenance(),
        }

    def _describe_tensors(self, name: str) -> Json:
        """Return dtype and shape of an input's tensors, as the graph takes them."""
        each = self.graph.list_inputs()[name]
        fixed = self.made.fixed.get(name)
        shape = [fixed or "steps" if size is None else size for size in each.shape]
        lengths = {"lengths": name_lengths(name)} if each.has_lengths else {}
        return {
            "dtype": str(torch.empty(0, dtype=each.dtype).numpy().dtype),
            "shape": ["batch", *shape],
            **lengths,
            "padding": each.padding,
            "reader": each.reader,
        }

    def _describe_calibration(self) -> Json | None:
        found = self.graph.model.calibration
        if not isinstance(found, Rescaling):
            return None
        scale, offset = found.scale.tolist(), found.offset.tolist()
        return {"scale": scale, "offset": offset, "in_graph": "scale · logit + offset"}

    def _describe_provenance(self) -> Json:
        manifest, summary = self.directory.manifest(), self.directory.summary()
        task = summary.get("target", {})
        return {
            "run": self.directory.path.name,
            "fingerprint": manifest.fingerprint,
            "seed": manifest.seed,
            "choices": manifest.names,
            "source": summary.get("source", {}).get("task"),
            "target": task.get("task"),
            "test_metrics": task.get("metrics", {}).get("test"),
            "data": manifest.data,
            "data_origins": {role: each.model_dump() for role, each in manifest.origins.items()},
            "weights": {name: describe_weights(each) for name, each in manifest.published.items()},
            "code": manifest.identity.code,
            "versions": manifest.versions,
            "exported_with": {"mmx": metadata.version("mmx"), "torch": torch.__version__},
        }


def describe_weights(weights: RecordedWeights) -> Json:
    """Return the facts of published weights, without where they lie on this machine."""
    origin = weights.origin if weights.revision else weights.name
    adapter = None if weights.adapter is None else describe_weights(weights.adapter)
    return {
        "name": weights.name,
        "origin": origin,
        "revision": weights.revision,
        "licence": weights.licence,
        "digest": weights.digest,
        "adapter": adapter,
    }


def write_classes(names: Sequence[str]) -> str:
    """Return names of classes as the card shows them: text, also where they look like HTML."""
    return ", ".join(html.escape(one_line(str(name)), quote=False) for name in names)


def list_needed_packages(written: ExportFormat, graph: ExportGraph) -> list[str]:
    """Return what a machine needs to run the model on raw inputs."""
    readers = [name for each in graph.list_inputs().values() for name in each.packages]
    return list(dict.fromkeys(["numpy", *written.packages, *readers]))


def list_licences(manifest: Manifest) -> dict[str, str]:
    """Return what the model is made of, with the licence of each part; "" where it is unknown."""
    found = {"the files of mmx (run_model.py, readers)": "MIT"}
    for name, weights in manifest.published.items():
        found[f"published weights {weights.name} ({name})"] = weights.licence or ""
        if weights.adapter is not None:
            found[f"adapter {weights.adapter.name} ({name})"] = weights.adapter.licence or ""
    for role, origin in manifest.origins.items():
        found[f"data {origin.name} ({role})"] = origin.licence or ""
    return found


def format_json(data: Any, indent: int = 0) -> str:
    """Return data as JSON that people can read: lists of plain values are on one line."""
    inner = "  " * (indent + 1)
    if isinstance(data, dict) and data:
        items = (
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {format_json(each, indent + 1)}"
            for key, each in data.items()
        )
        return "{\n" + ",\n".join(items) + "\n" + "  " * indent + "}"
    if isinstance(data, list) and any(isinstance(each, dict | list) for each in data):
        items = (f"{inner}{format_json(each, indent + 1)}" for each in data)
        return "[\n" + ",\n".join(items) + "\n" + "  " * indent + "]"
    return json.dumps(data, ensure_ascii=False, allow_nan=False)
