"""Opening tasks: from files to data on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from mmx.errors import DataError, RunError
from mmx.experiment import Experiment, Modalities
from mmx.experiment.inputs import find_alike_origin, name_as_target
from mmx.experiment.opened_tasks import open_data
from mmx.modalities import Batch, Column, Features, Modality, Spec
from mmx.model import MultimodalModel
from mmx.runs.manifest import RecordedOrigin
from mmx.stage_id import TASK_ROLES, Role, StageId
from mmx.stages.core.context import Context, Opened, Specs
from mmx.stages.core.data_checks import check_labels, check_metric, check_modalities
from mmx.tasks import Task, TaskData
from mmx.training.data import Data, ModalityReader, Rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.events import Event, EventKind
from mmx.training.frozen_features import count_rows, measure_activations
from mmx.training.precision import Precision


def load_task(
    context: Context, task: Task, role: Role, fingerprints: dict[str, str], notes: list[str]
) -> TaskData:
    """Open a task's data; in a resumed run, check that it has not changed."""
    context.note(StageId(role), f"opening {role} {task.name}")
    loaded = open_data(task, context.experiment.config[role])
    manifest = context.directory.manifest()
    seen = manifest.data.get(role)
    if seen is not None and seen != loaded.fingerprint:
        raise RunError(
            f"the data of {role}={task.name} has changed since this run began",
            tip="start a new run with mmx reproduce, which says what drifted",
        )
    check_labels(context.experiment, role, task, loaded)
    if role is Role.TARGET:
        check_metric(context.experiment, loaded)
    manifest = manifest.with_data(role, loaded.fingerprint)
    if loaded.origin is not None:
        origin = RecordedOrigin(**dataclasses.asdict(loaded.origin))
        manifest = manifest.with_origin(role, origin)
    context.directory.write_manifest(manifest)
    fingerprints[role] = loaded.fingerprint
    notes.extend(f"{task.name}: {note}" for note in loaded.notes)
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in loaded.splits.items())
    context.listen(Event(EventKind.NOTE, StageId(role), text=f"{role} {task.name}: {sizes}"))
    return loaded


def open_task(
    context: Context, task: TaskData, modalities: Modalities, source_specs: Specs
) -> Opened:
    """Decode a task's rows onto the device.

    Raises:
        DataError: A row has none of the modalities, or at most one training row has one of them.
    """
    few = check_modalities(context.experiment, task, modalities)
    groups = context.experiment.parts.encoder_groups
    specs = _fit_specs(task, modalities, source_specs, groups)
    data = decode_task(context.experiment, task, modalities, specs, context.precision)
    _refuse_empty_rows(task, data)
    splits = task.splits
    remarks = few + tuple(
        f"{task.name}: {text}"
        for name, modality in modalities.items()
        for column, spec in [(task.columns[name], specs[name])]
        for text in (
            *modality.remarks(column, splits["train"], spec),
            *modality.remarks_on_other_rows(column, splits["val"], spec, "validation"),
        )
    )
    if not context.experiment.drops_rows:
        return Opened(task, data, specs, remarks)
    complete, note = drop_incomplete_rows(task, data)
    return Opened(task, complete, specs, (*remarks, note))


def decode_task(
    experiment: Experiment,
    task: TaskData,
    modalities: Modalities,
    specs: Specs,
    precision: Precision,
) -> Data:
    """Return a task's rows, decoded with these specs."""
    return Data(
        {
            name: ModalityReader(task.columns[name], modalities[name], specs[name])
            for name in modalities
        },
        task.target.standardize(task.values),
        task.splits,
        truth=task.values,
        device=precision.device,
        resident=experiment.trainer.resident,
        workers=experiment.trainer.workers,
    )


def extract_features(data: Data, model: MultimodalModel, name: str, precision: Precision) -> Data:
    """Return the data with a frozen encoder's features in place of its inputs.

    Tokens are kept only where the fusion reads them. A batch has as many rows as fit into a
    memory that is the same for every run on a kind of device.
    """

    @torch.no_grad()
    def extract(batch: Batch) -> Features:
        with precision.autocast():
            features = model.for_fusion(model.encode_one(name, batch))
        # Not in bf16: what reads them later may compute without autocast.
        kept = features.map(lambda part: part if part.dtype == torch.bool else part.float())
        return model.for_fusion(kept)  # so that the only token and the pooled vector are one

    model.eval()
    alone = data.read_once(name)
    lengths = alone.lengths(name)
    largest = _find_largest_row(alone, name, lengths)
    _, stored = next(iter(alone.batches([largest])))
    batch = alone.assemble(largest, stored, augment=False)
    row_bytes = measure_activations(model.encoders[name], lambda: extract(batch))
    size = count_rows(row_bytes, precision.device, BATCH_SIZE)
    if lengths is None:
        return data.compute_features(name, extract, size)
    return data.compute_features(name, extract, BATCH_SIZE, size * int(lengths[largest[0]]))


def _find_largest_row(data: Data, name: str, lengths: Rows | None) -> Rows:
    """Return ``(1,)`` the training row that takes most memory to encode.

    What is computed of training rows may not depend on rows of other splits, such as the test's.
    """
    rows = data.splits.get("train", np.zeros(0, np.int64))
    if not len(rows):
        rows = np.concatenate(list(data.splits.values()))
    sizes = data.present(name, rows) if lengths is None else lengths[rows]
    return rows[[int(np.argmax(sizes))]]


def list_source_specs(experiment: Experiment, source_specs: Specs) -> Specs:
    """Return the specs of a source by the target's inputs that start from each of its inputs."""
    source, target = (experiment.modalities.get(role, {}) for role in TASK_ROLES)
    return name_as_target(source_specs, source, target, experiment.transfer.modality_map)


def say_other_scales(context: Context, specs: Specs, source_specs: Specs) -> list[str]:
    """Report, and return, the modalities whose inputs have another scale in the source.

    It matters only if weights are taken over; those of an architecture alone are fresh.
    """
    experiment = context.experiment
    if not (experiment.trains_source or experiment.joint):
        return []
    modalities, others = experiment.modalities[Role.TARGET], experiment.modalities[Role.SOURCE]
    origins = experiment.transfer.modality_map
    found = [
        f"{name}: {text}"
        for name, spec in specs.items()
        if name in source_specs
        # Otherwise it starts from another modality anyway.
        and find_alike_origin(name, others, modalities, origins) is not None
        and (text := modalities[name].other_scale(spec, source_specs[name])) is not None
    ]
    for text in found:
        context.note(StageId.TARGET, text)
    return found


def _fit_specs(
    task: TaskData, modalities: Modalities, source_specs: Specs, groups: Mapping[str, str]
) -> Specs:
    """Return each input's spec, learned from the training rows or taken from the source.

    Inputs that share an encoder have one spec, learned from the rows of all of them.
    """
    specs: Specs = {}
    for name, modality in modalities.items():
        alike = [name]
        if name in groups:
            alike = [each for each in modalities if groups.get(each) == groups[name]]
        columns, given = [task.columns[each] for each in alike], source_specs.get(name)
        if alike[0] in specs:
            specs[name] = specs[alike[0]]
        elif given is not None and all(modality.inherits(each, given) for each in columns):
            specs[name] = given
        else:
            specs[name] = _fit_together(modality, columns, task.splits["train"])
    return specs


def _fit_together(modality: Modality[Any, Any], columns: Sequence[Column], rows: Rows) -> Spec:
    """Return the spec of one or several columns, learned from the same rows of each."""
    first, *others = columns
    if not others:
        return cast(Spec, modality.fit(first, rows))
    count = len(first)
    stacked = first.stack(others)
    # Row n of the k-th column is row k · count + n of the stack: messages name it as n.
    stacked.row_names = lambda row: first.name_row(row % count)
    stacked.decimal = first.decimal
    every = np.concatenate([rows + count * place for place in range(len(columns))])
    return cast(Spec, modality.fit(stacked, every))


def _refuse_empty_rows(task: TaskData, data: Data) -> None:
    """Refuse rows that have none of the modalities in use, which no model could answer."""
    rows = np.concatenate(list(data.splits.values()))
    here = np.any([view.column.present[rows] for view in data.views.values()], axis=0)
    if not here.all():
        first = int(rows[~here].min()) + 1
        raise DataError(
            f"{task.name}: {int((~here).sum())} of {len(rows)} rows have no "
            f"{' and no '.join(sorted(data.views))}, row {first} the first",
            tip="let modalities=[...] name more of them, or leave such rows out of the data",
        )


def drop_incomplete_rows(task: TaskData, data: Data) -> tuple[Data, str]:
    """Return the data without training rows that lack a modality, and a note with their number."""
    rows = data.rows("train")
    complete = data.find_complete(rows)
    if not len(complete):
        raise DataError(
            f"{task.name}: missing=drop leaves no training row: each lacks some modality",
            tip="missing=mask trains on all of them",
        )
    left = len(rows) - len(complete)
    note = f"{task.name}: missing=drop leaves out {left} of {len(rows)} training rows"
    return data.restrict_split("train", complete), note
