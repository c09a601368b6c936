"""Building a model again from the tensors and the config of an exported folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from mmx.calibration import attach
from mmx.experiment import assemble
from mmx.export.graph import ExportGraph
from mmx.export.inputs import make_input
from mmx.json_object import Json
from mmx.modalities import spec_from_json
from mmx.runs.stage_facts import TargetFacts
from mmx.stage_id import Role
from mmx.stages.core.stage_model import make_model
from mmx.trackers import TOLD

CONFIG, TENSORS = "config.yaml", "model.safetensors"
SPECS = "specs.json"
"""What the run learned of its inputs, and what it predicts."""
OF_THE_RUN = (*TOLD, "output_dir", "cache", "cache_gb", "data_dir")
"""Root keys that say nothing of the model, but where its run wrote, and may hold a password."""


def keep_model_keys(config: Json) -> Json:
    """Return a run's config without its tracker, its callbacks and its folders."""
    return {key: value for key, value in config.items() if key not in OF_THE_RUN}


def rebuild(folder: Path, allow: Sequence[str] = ()) -> ExportGraph:
    """Return the model of a folder of ``--format safetensors``, from raw values to answers.

    Its part :attr:`~mmx.export.graph.ExportGraph.model` is the model as a run has it.

    Args:
        folder: The exported folder.
        allow: Packages besides mmx whose classes its config may name.
    """
    facts = json.loads((folder / SPECS).read_text(encoding="utf-8"))
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    # No data is read and nothing is kept; folders from before may name a tracker or callbacks.
    needed = {"data_dir": str(folder), "cache": "off"}
    experiment = assemble({**keep_model_keys(config), **needed}, allow)
    # Only now are the modalities imported that know their specs.
    specs = {name: spec_from_json(spec) for name, spec in facts["specs"].items()}
    target = TargetFacts(**facts["target"]).as_target()
    model = make_model(experiment, Role.TARGET, specs, target, experiment.transfer)
    tensors = load_file(folder / TENSORS)
    attach(model, tensors, torch.device("cpu"))
    model.load_state_dict(tensors)
    modalities = experiment.modalities[Role.TARGET]
    inputs = {name: make_input(name, modalities[name], spec) for name, spec in specs.items()}
    return ExportGraph(model, inputs, target)
