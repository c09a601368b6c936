"""Reading the target model of a finished run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import torch
from torch import Tensor

from mmx.calibration import attach
from mmx.errors import DamagedFileError, MmxError, RunError
from mmx.experiment import Experiment
from mmx.json_object import Json
from mmx.modalities import spec_from_json
from mmx.model import MultimodalModel
from mmx.runs import recorded
from mmx.runs.directory import RunDirectory
from mmx.runs.records import read_record
from mmx.runs.stage_facts import StageFacts
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Specs
from mmx.stages.core.opened_data import decode_task, drop_incomplete_rows, extract_features
from mmx.stages.core.published_tensors import fill_in_from_files
from mmx.stages.core.stage_model import make_model
from mmx.tasks import Target, TaskData
from mmx.training import checkpoint
from mmx.training.data import Data
from mmx.training.memory_format import use_channels_last
from mmx.training.precision import Precision

OF_TRAINING = ("criterion.", "companion.", "penalty.", "weighting.", "line.")
"""Prefixes of tensors that are needed only for training and its evaluation."""


@dataclass(frozen=True)
class Loaded:
    """The target model of a finished run.

    Attributes:
        model: The model in evaluation mode, with its best weights.
        specs: Modality to its spec.
        target: What it predicts.
        frozen_encoders: Modalities with a frozen encoder, whose features are computed once.
    """

    model: MultimodalModel
    specs: Specs
    target: Target
    frozen_encoders: tuple[str, ...]


def load_trained(experiment: Experiment, directory: RunDirectory, device: torch.device) -> Loaded:
    """Return the target model of a finished run.

    Raises:
        RunError: The run has no trained target, its checkpoint is damaged, or published weights
            that it leaves out are gone or others.
    """
    path = directory.stage_file(StageId.TARGET)
    if not path.exists():
        raise RunError(
            f"{directory.path} has no trained target yet", tip=f"mmx resume {directory.path}"
        )
    tensors, header = read_intact(directory, StageId.TARGET)
    facts = read_record(header, StageFacts, path)
    if strange := set(facts.frozen_encoders) - set(facts.specs):
        raise RunError(f"{path} is not what mmx wrote: no encoder {sorted(strange)[0]}")
    try:
        specs = {name: spec_from_json(spec) for name, spec in facts.specs.items()}
        target = facts.target.as_target()
        model = make_model(experiment, Role.TARGET, specs, target, experiment.transfer)
    except MmxError:
        raise
    except Exception as error:  # sizes from a foreign file may break a model in any way
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunError(f"{path} does not fit its run's config: {why}") from error
    tensors = fill_in_from_files(tensors, facts, experiment, specs, path)
    kept = {name: each for name, each in tensors.items() if not name.startswith(OF_TRAINING)}
    attach(model, kept, torch.device("cpu"))
    try:
        checkpoint.restore(model, kept, path)
    except DamagedFileError as error:
        raise _add_tip(directory, error) from error
    use_channels_last(model.to(device))  # as in training, for equal numbers
    return Loaded(model.eval(), specs, target, tuple(facts.frozen_encoders))


def read_intact(directory: RunDirectory, stage: StageId) -> tuple[dict[str, Tensor], Json]:
    """Return the tensors and facts of a stage of a finished run.

    Raises:
        RunError: They are damaged or missing; says what to type.
    """
    path = directory.stage_file(stage)
    try:
        recorded.check_file(directory.path, [path.relative_to(directory.path).as_posix()])
        return checkpoint.read_checkpoint(path)
    except DamagedFileError as error:
        raise _add_tip(directory, error) from error


def _add_tip(directory: RunDirectory, error: DamagedFileError) -> DamagedFileError:
    """Return the error with a tip on how to train a damaged stage again."""
    tip = f"mmx reproduce {shlex.quote(str(directory.path))}   (trains it again, in a new run)"
    return DamagedFileError(error.message, tip=tip)


def open_trained(
    experiment: Experiment, trained: Loaded, task: TaskData, precision: Precision
) -> Data:
    """Return a task's data as the trained model reads it."""
    data = decode_task(
        experiment, task, experiment.modalities[Role.TARGET], trained.specs, precision
    )
    if experiment.drops_rows and len(data.rows("train")):
        data, _ = drop_incomplete_rows(task, data)
    for name in trained.frozen_encoders:
        data = extract_features(data, trained.model, name, precision)
    return data
