"""What each artifact of the cache depends on: the whole config, except what cannot matter to it.

A key of the config counts unless a table here says why it cannot matter. So an option that is
added later counts from the start: at worst something is computed twice, but an artifact that was
made differently is never used. What the config does not contain is added: digests of the data,
its rows, weight files and trained weights, and what determines the last bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmx.experiment import Experiment
from mmx.experiment.identify import digest_packages
from mmx.json_object import Json
from mmx.modalities import spec_to_json
from mmx.model import MultimodalModel
from mmx.runs.essence import PLACES, WHERE_NOT_WHAT, essence, is_file_option
from mmx.stage_id import TASK_ROLES, Role, StageId
from mmx.stages.core.context import Context, Opened
from mmx.stages.core.shared_encoders import find_shared_values
from mmx.trackers import TOLD
from mmx.training.data import Rows
from mmx.training.precision import Precision
from mmx.transfer import Source, Transfer

Inputs = Json
Reasons = Mapping[str, str]
"""Root key of the config to why it cannot matter."""

EVERYWHERE: Reasons = {
    **WHERE_NOT_WHAT,
    **TOLD,
    "jobs": "how many runs share the machine; the threads of each are in `threads`",
    "budget": "when a run stops: a stage that it stops is not kept",
    "seeds": "stands for several runs; `seed` is that of each",
    "curve": "stands for several runs; the task's `fraction` is that of each",
    "modalities": "those that are read are in `specs` or `content`",
    "device": "its hardware is in `device`",
    "precision": "the number format that was chosen is in `precision`",
    "control": "what a run is compared with changes none of what is compared",
    "templates": "as control",
}
SOURCE: Reasons = {
    **EVERYWHERE,
    "target": "the source is trained without it",
    "balance": "weighs and draws the rows of the target alone",
    "metric": "selects for the target alone; a source is selected by the usual one",
    "calibration": "rescales the outputs of target and controls alone",
    "transfer": "takes from the source when it is trained; its fusion, if it asks for one, counts",
    "regularizer": "holds the target near a source that is trained already",
}
CONTROL: Reasons = {
    **EVERYWHERE,
    "source": "a control takes trained weights at most: `source` is their digest",
    "source_objective": "as the source",
    "source_weights": "as the source",
    "transfer": "a control has a transfer of its own: `transfer`",
    "regularizer": "holds the target near its source, and no control",
}
PLAIN_FUSION: Reasons = {
    "fusion": "the stage is trained with a plain one: `fusion` is its class",
    "match": "chooses the width of the config's own fusion alone",
    "match_params": "as match",
}
LABEL_FREE: Reasons = {
    "fusion": "an objective without labels is minimised on the encoded features",
    "match": "as the fusion",
    "match_params": "as the fusion",
    "mapping": "comes after what such an objective reads",
    "missing": "as the mapping; the rows that it drops are left out of `rows`",
}
TRAINED_WEIGHTS: Reasons = {
    **EVERYWHERE,
    "source": "the task that is read is `task`; what a source has taught is in `weights`",
    "target": "the task that is read is `task`",
    "source_objective": "changes `weights` at most",
    "source_weights": "changes `weights` at most",
    "objective": "changes `weights` at most",
    "optimizer": "changes `weights` at most",
    "trainer": "changes `weights` at most",
    "balance": "changes `weights` at most",
    "metric": "changes `weights` at most",
    "calibration": "comes after the outputs",
    "regularizer": "changes `weights` at most",
    "match": "chooses the width of the fusion, which comes after",
    "match_params": "as match",
    "missing": "comes after; the rows that it drops are left out of `rows`",
}
"""For artifacts computed from trained weights: how they were trained is in their digest."""
FEATURES: Reasons = {
    **TRAINED_WEIGHTS,
    "seed": "nothing is drawn; what was drawn before is in `weights` and `rows`",
    "sharing": "a trunk comes after the encoder",
    "mapping": "comes after the encoder",
    "fusion": "comes after the encoder; whether it reads tokens is in `reads`",
    "transfer": "changes `weights` at most",
}
CHANNEL_WEIGHTS: Reasons = {
    **TRAINED_WEIGHTS,
    "regularizer": "the only option that changes them is `probe_rows`",
    "sharing": "a trunk comes after the encoder",
    "mapping": "comes after the encoder",
    "fusion": "comes after the encoder",
    "transfer": "changes `weights` at most",
}
MAPPING: Reasons = {
    **TRAINED_WEIGHTS,
    "fusion": "comes after the mapping; whether a trunk reads tokens for it is in `reads`",
}
WITHOUT_TRUNK: Reasons = {"sharing": "there is no trunk before the mapping"}
NOTHING_ADDED: Reasons = {"transfer": "adds nothing to the model; changes `weights` at most"}


def list_ignored_by_source(experiment: Experiment) -> Reasons:
    """Return the root keys that cannot matter to the trained source of an experiment."""
    own = {}
    if experiment.config.get("source_objective"):
        own = {"objective": "the source has an objective of its own: source_objective"}
    return {**SOURCE, **own, **_list_ignored_by_role(experiment, Role.SOURCE)}


def list_ignored_by_control(experiment: Experiment) -> Reasons:
    """Return the root keys that cannot matter to a control of an experiment."""
    return {**CONTROL, **_list_ignored_by_role(experiment, Role.CONTROL)}


def list_ignored_by_mapping(experiment: Experiment, role: Role, model: MultimodalModel) -> Reasons:
    """Return the root keys that cannot matter to the fitted mapping of a model."""
    adds = role is not Role.SOURCE and type(experiment.transfer).equip is not Transfer.equip
    return {
        **MAPPING,
        **({} if model.trunk is not None else WITHOUT_TRUNK),
        **({} if adds else NOTHING_ADDED),
    }


def _list_ignored_by_role(experiment: Experiment, role: Role) -> Reasons:
    parts = experiment.role(role)
    if parts.objective.label_free:
        return LABEL_FREE
    return {} if parts.own_fusion else PLAIN_FUSION


def describe_source(context: Context, opened: Opened) -> Inputs:
    """Return all that a trained source depends on.

    Target and transfer do not count, nor does the fusion if the source is trained without one or
    with a fixed one: one source then serves a whole sweep over these.
    """
    experiment, names = context.experiment, list(opened.specs)
    return {
        **describe_unopened_source(experiment, names, context.precision, torch.get_num_threads()),
        **_describe_opened(opened),
    }


def describe_unopened_source(
    experiment: Experiment, names: Collection[str], precision: Precision, threads: int
) -> Inputs:
    """Return what of :func:`describe_source` is known before its data is opened.

    Args:
        experiment: The experiment that trains it.
        names: Its modalities.
        precision: The number format and device.
        threads: CPU threads that compute.
    """
    config = _make_config(experiment, Role.SOURCE, names, list_ignored_by_source(experiment))
    # Under one key, so that sources with the same objective are the same, however it was given.
    if objective := config.pop("source_objective"):
        config["objective"] = objective
    return {
        **_describe_training(experiment, Role.SOURCE, names, precision, threads),
        "config": essence(config),
    }


def describe_control(
    context: Context, opened: Opened, transfer: Transfer, source: Source | None
) -> Inputs:
    """Return all that a control depends on: the target and how it is trained, not the transfer.

    One control then serves all transfers of a sweep. A control that uses a source, such as the
    linear probe, depends on that source's weights.
    """
    experiment, names = context.experiment, list(opened.specs)
    config = _make_config(experiment, Role.CONTROL, names, list_ignored_by_control(experiment))
    return {
        **_describe_training(
            experiment, Role.CONTROL, names, context.precision, torch.get_num_threads()
        ),
        **_describe_opened(opened),
        "config": essence(config),
        "transfer": [_qualify(type(transfer)), repr(sorted(vars(transfer).items()))],
        # With the classes: the same head means something else where they are in another order.
        "source": None if source is None else [digest_tensors(source.state), list(source.classes)],
    }


def describe_features(
    context: Context, opened: Opened, model: MultimodalModel, name: str
) -> Inputs:
    """Return all that a frozen encoder's features of the target depend on."""
    return {
        **_describe_encoded(context, opened, name, model.encoders[name], FEATURES),
        # A search has no test rows, so that its features have fewer rows than those of a run.
        "rows": {split: _digest_of_rows(rows) for split, rows in opened.task.splits.items()},
        "reads": model.fusion.reads,
    }


def describe_channel_weights(
    context: Context, opened: Opened, name: str, encoder: nn.Module, rows: int
) -> Inputs:
    """Return all that the weights of an encoder's channels for the target depend on.

    Args:
        context: The run's context.
        opened: The target.
        name: The modality.
        encoder: The encoder with the channels, at the weights at which they are measured.
        rows: How many training rows, drawn with the run's seed, they are measured on.
    """
    return {
        **_describe_encoded(context, opened, name, encoder, CHANNEL_WEIGHTS),
        "rows": _digest_of_rows(opened.data.rows("train")),
        "probe_rows": rows,
    }


def describe_mapping(
    context: Context, stage: StageId, opened: Opened, model: MultimodalModel, held: Collection[str]
) -> Inputs:
    """Return all that a fitted mapping depends on.

    Args:
        context: The run's context.
        stage: The stage with the mapping.
        opened: The task, with the features of frozen encoders.
        model: The model, with the mapping and the encoders before it.
        held: Modalities with frozen encoders, whose features are computed once.
    """
    ignored = list_ignored_by_mapping(context.experiment, stage.role, model)
    config = _make_config(context.experiment, stage.role, list(opened.specs), ignored)
    read = {k: v for k, v in model.state_dict().items() if k.startswith(("encoders.", "trunk."))}
    return {
        "config": essence(config),
        "task": essence(_remove_places(context.experiment.config[stage.task])),
        "data": opened.task.fingerprint,
        "rows": _digest_of_rows(opened.data.rows("train")),
        "held": sorted(held),
        "specs": {name: spec_to_json(spec) for name, spec in opened.specs.items()},
        "reads": model.fusion.reads if model.trunk is not None else None,
        "weights": digest_tensors(read),
        **_describe_numerics(context.precision, torch.get_num_threads()),
    }


def add_code(context: Context, inputs: Inputs) -> Inputs | None:
    """Return inputs with the digests of the allowed packages whose classes they name.

    The digest of mmx's own code is in every key. None if a package has no files, since what its
    classes make cannot be kept safely.
    """
    code = digest_packages(inputs, context.experiment.allowed)
    if not code:
        return inputs
    return None if None in code.values() else {**inputs, "code": code}


def digest_tensors(tensors: dict[str, Tensor]) -> str:
    """Return the digest of tensors by name, type, shape and bits."""
    whole = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # As bytes, since NumPy has no bfloat16.
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def _make_config(
    experiment: Experiment, role: Role, names: Collection[str], ignored: Reasons
) -> Inputs:
    """Return the config of an artifact without the ignored keys.

    Settings and trainer are complete, including values that the config leaves at their defaults.
    """
    config = {
        **experiment.config,
        **asdict(experiment.settings),
        "trainer": asdict(experiment.trainer.of(role)),
        "encoder": {name: _remove_places(experiment.config["encoder"][name]) for name in names},
        **{str(each): _remove_places(experiment.config[each] or {}) for each in TASK_ROLES},
    }
    return {key: value for key, value in config.items() if key not in ignored}


def _describe_training(
    experiment: Experiment, role: Role, names: Collection[str], precision: Precision, threads: int
) -> Inputs:
    """Return what a trained stage depends on besides its config and its data."""
    parts, digests = experiment.role(role), experiment.encoder_digests
    return {
        "fusion": None if parts.objective.label_free else _qualify(parts.fusion.func),
        "weights": {name: digests[name] for name in names if name in digests},
        **_describe_numerics(precision, threads),
    }


def _describe_opened(opened: Opened) -> Inputs:
    """Return what a trained stage depends on in its data."""
    return {
        "specs": {name: spec_to_json(spec) for name, spec in opened.specs.items()},
        "data": opened.task.fingerprint,
        # Validation rows choose the epoch whose weights are kept; test rows choose nothing.
        "rows": [_digest_of_rows(opened.data.rows(split)) for split in ("train", "val")],
    }


def _describe_encoded(
    context: Context, opened: Opened, name: str, encoder: nn.Module, ignored: Reasons
) -> Inputs:
    """Return what the output of one encoder depends on, except which rows it encodes."""
    config = _make_config(context.experiment, Role.TARGET, list(opened.specs), ignored)
    return {
        "config": essence({**config, "encoder": config["encoder"][name]}),
        "task": essence(_remove_places(context.experiment.config["target"])),
        "data": opened.task.fingerprint,
        # Not the name: two inputs with the same content and encoder have the same features.
        "content": hashlib.blake2b(opened.task.digests[name].tobytes(), digest_size=16).hexdigest(),
        "spec": spec_to_json(opened.specs[name]),
        "weights": _digest_encoder(encoder),
        **_describe_numerics(context.precision, torch.get_num_threads()),
    }


def _digest_encoder(encoder: nn.Module) -> str:
    """Return the digest of an encoder's tensors, of those that runs share computed once."""
    tensors, values = encoder.state_dict(), find_shared_values(encoder)
    compute = partial(digest_tensors, tensors)
    return compute() if values is None else values.digest(list(tensors), compute)


def _describe_numerics(precision: Precision, threads: int) -> Inputs:
    """Return what determines the last bits of every number."""
    device = precision.device
    return {
        "precision": precision.name,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability(),
        "threads": threads,  # sums are split between them
    }


def _remove_places(node: Inputs) -> Inputs:
    """Return the config node of a task or an encoder without the places of its files.

    The digest of their content is in the key, so that a moved file gives the same key.
    """

    def names_files(key: str, value: Any) -> bool:
        return is_file_option(key, value) or (key in PLACES and isinstance(value, str))

    return {key: "" if names_files(key, value) else value for key, value in node.items()}


def _qualify(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _digest_of_rows(rows: Rows) -> str:
    return hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
