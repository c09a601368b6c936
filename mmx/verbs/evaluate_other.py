"""``mmx eval RUN other.csv``: a run's model measured on another labelled table."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from mmx.errors import DataError, MmxError, UsageError
from mmx.evaluation.data_statistics import TrainingStatistics, measure_statistics
from mmx.evaluation.every_metric import find_intervals, measure_every, measure_labels
from mmx.evaluation.metrics import find_primary
from mmx.evaluation.predict import predict
from mmx.evaluation.shift import find_shifts
from mmx.experiment import Experiment
from mmx.json_object import Json
from mmx.printable import one_line
from mmx.runs.atomic import make_folder, write_json
from mmx.runs.directory import RunDirectory
from mmx.runs.training_statistics import read_statistics
from mmx.stage_id import Role
from mmx.stages import Loaded, load_trained, open_trained
from mmx.stages.pipeline.kept_statistics import measure_training
from mmx.tasks import TaskData
from mmx.tasks.other_table import load_other_table
from mmx.tasks.table import Table
from mmx.terminal import Console
from mmx.training.precision import choose_device
from mmx.training.randomness import make_deterministic
from mmx.verbs.opening import choose_precision


def evaluate_other(
    experiment: Experiment, directory: RunDirectory, path: Path, out: Path | None, console: Console
) -> Json:
    """Measure a run's model on another table, write the result, and return it.

    Args:
        experiment: Assembled from the run's config.
        directory: The run.
        path: The table.
        out: Where the result goes; None: ``eval/on_<table>_<digest>.json`` in the run directory.
        console: Where notes are printed.

    Raises:
        UsageError: The run's target is no table.
        DataError: The table cannot be read, or has an unknown class.
    """
    task = experiment.target
    if not isinstance(task, Table):
        raise UsageError(
            f"the run's target {task.name} is no table, and {path} is one",
            tip=f"mmx eval {directory.path}   (its own splits)",
        )
    if not path.is_file():
        raise UsageError(f"{path} is not a file", tip=f"mmx eval {directory.path} <table>")
    device = choose_device(experiment.settings.device)
    make_deterministic(experiment.trainer.threads, device)
    precision = choose_precision(directory, experiment)
    trained = load_trained(experiment, directory, device)
    data = load_other_table(task, str(path), trained.target)
    rows = data.splits["test"]
    opened = open_trained(experiment, trained, data, precision).unlock_test()
    outputs, values = predict(trained.model, opened, rows, precision)
    shifts, notes = _compare_with_training(experiment, directory, trained, data)
    said = {
        "table": str(path),
        "rows": len(rows),
        "calibrated": trained.model.calibration is not None,
        **_measure(experiment, outputs, values, trained),
        "shift": shifts,
        "notes": [*data.notes, *notes],
    }
    place = out or directory.path / "eval" / f"on_{path.stem}_{_digest(path)}.json"
    make_folder(place.parent, tip="--out FILE   (in a folder that can be made)")
    write_json(place, said)
    for text in (*said["notes"], *(f"shift: {each}" for each in shifts)):
        console.print(f"note: {one_line(text)}", highlight=False, markup=False, soft_wrap=True)
    console.print(str(place), highlight=False, markup=False, soft_wrap=True)
    return said


def _measure(experiment: Experiment, outputs: Tensor, values: Tensor, trained: Loaded) -> Json:
    """Return all metrics with their intervals, the primary one named."""
    target, chosen = trained.target, experiment.metric
    found: Json = {
        "primary": find_primary(target.kind, chosen),
        "metrics": measure_every(outputs, values, target, chosen),
        "intervals": find_intervals(outputs, values, target, chosen),
    }
    if labels := measure_labels(outputs, values, target):
        found["labels"] = labels
    return found


def _compare_with_training(
    experiment: Experiment, directory: RunDirectory, trained: Loaded, data: TaskData
) -> tuple[list[str], list[str]]:
    """Return in what the rows differ from the training rows, and notes on the comparison."""
    modalities = experiment.modalities[Role.TARGET]
    training: TrainingStatistics | None = read_statistics(directory)
    if training is None:  # made before statistics were kept
        try:
            own = experiment.target.load()
            training = measure_training(own, modalities, trained.specs)
        except MmxError as error:
            why = f"the run keeps no statistics of its training rows: {error}"
            return [], [f"the rows are not compared with the training rows: {why}"]
    try:
        here = measure_statistics(data, data.splits["test"], modalities, trained.specs)
    except DataError as error:  # decoding would have failed before
        return [], [f"the rows are not compared with the training rows: {error.message}"]
    return find_shifts(training, here), []


def _digest(path: Path) -> str:
    found: Any = hashlib.blake2b(digest_size=4)
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return str(found.hexdigest())
