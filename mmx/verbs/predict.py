"""``mmx predict RUN [DATA]``: a run's predictions, as CSV.

Without DATA: for the run's own test split. DATA is a table (CSV, Parquet or JSONL) for runs
on ``target=table``, which needs no label column; or pictures or sounds, a file or a folder
of them, for runs on one such modality. Each line names the row or file, the predicted class
(or labels, or number) and each class's probability. stdout carries one line, the CSV file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmx.csv_text import csv_text
from mmx.errors import UsageError
from mmx.evaluation.metrics import decide
from mmx.evaluation.predict import predict
from mmx.experiment import assemble
from mmx.modalities.audio import AudioColumn
from mmx.modalities.image import ImageColumn
from mmx.runs.atomic import make_folder, write_text
from mmx.runs.directory import RunDirectory
from mmx.stages import Loaded, load_trained, open_trained
from mmx.tasks import Target, Task, TaskData
from mmx.tasks.table import Table
from mmx.training.precision import Precision
from mmx.training.randomness import make_deterministic
from mmx.verbs.arguments import Parser, allowed_packages, device_of, keep_threads

FileColumn = type[ImageColumn] | type[AudioColumn]
FILES: dict[str, FileColumn] = {"image": ImageColumn, "audio": AudioColumn}
"""Modalities of which one row is one file."""


def main(arguments: Sequence[str]) -> int:
    """Predict, and return the exit code."""
    parser = Parser("predict", description=__doc__).with_run().with_allow().with_device()
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA")
    parser.add_argument("--output", type=Path, default=None, help="default: RUN/predictions.csv")
    given = parser.parse_args(arguments)
    directory = RunDirectory.open(given.run)
    directory.require_plain_files()
    experiment = assemble(directory.config(), allowed_packages(given.allow))
    keep_threads(directory)
    device = device_of(given.device, experiment.settings.device)
    make_deterministic(experiment.trainer.threads, device)
    precision = Precision.choose(experiment.settings.precision, device)
    trained = load_trained(experiment, directory, device)
    data, names = _data(experiment.target, trained, given.data, given.run)
    rows = data.splits["test"]
    batches = open_trained(experiment, trained, data, precision).unlocked()
    outputs, values = predict(trained.model, batches, rows, precision)
    known = values if given.data is None else None
    path = given.output or directory.path / "predictions.csv"
    make_folder(path.parent, tip="--output FILE   (in a folder that can be made)")
    write_text(path, as_csv(names or [row + 1 for row in rows], outputs, trained.target, known))
    print(path)
    return 0


def _data(
    task: Task, trained: Loaded, given: Path | None, run: Path
) -> tuple[TaskData, list[str] | None]:
    """Return what to predict as a test split, and its file names where it consists of files.

    Raises:
        UsageError: The run cannot read such data.
    """
    if given is None:
        return task.load(), None
    if not given.exists():
        raise UsageError(f"{given} does not exist")
    if isinstance(task, Table) and given.is_file():
        return task.with_path(str(given)).load(), None
    column = FILES.get(next(iter(trained.specs))) if len(trained.specs) == 1 else None
    if column is None:
        raise UsageError(
            f"the run's target {task.name} reads {', '.join(trained.specs)}: {given} does not say "
            "which is which",
            tip=f"mmx predict {run}   (its own test split), or train on target=table",
        )
    return _files(given, column, trained)


def _files(given: Path, column: FileColumn, trained: Loaded) -> tuple[TaskData, list[str]]:
    """Return a file, or all files below a folder, as one test split."""
    paths = sorted(p for p in given.rglob("*") if p.is_file()) if given.is_dir() else [given]
    if not paths:
        raise UsageError(f"there is no file in {given}")
    none = np.arange(0)
    data = TaskData(
        name=given.name,
        columns={next(iter(trained.specs)): column(paths)},
        values=torch.zeros(len(paths), dtype=torch.int64),
        target=trained.target,
        splits={"train": none, "val": none, "test": np.arange(len(paths))},
        fingerprint="",
        digests={},
    )
    return data, [str(path) for path in paths]


def as_csv(
    names: Sequence[object], outputs: Tensor, target: Target, known: Tensor | None = None
) -> str:
    """Return predictions as CSV text, one line for each name.

    Args:
        names: ``(N,)`` file names, or row numbers counted from 1 as in the table without its head.
        outputs: ``(N, C)``.
        target: What the outputs mean.
        known: The true targets, where they are known, as the task has them.
    """
    first = "file" if isinstance(names[0], str) else "row"
    columns: dict[str, Sequence[object]] = {first: names}
    columns["prediction"] = readable(decide(outputs, target), target)
    if known is not None:
        columns["target"] = readable(known, target)
    if target.kind != "regression":
        chances = outputs.softmax(1) if target.kind == "classes" else torch.sigmoid(outputs)
        for index, name in enumerate(target.classes):
            columns[f"p({name})"] = [f"{chance:.6f}" for chance in chances[:, index].tolist()]
    return csv_text([list(columns), *zip(*columns.values(), strict=True)])


def readable(values: Tensor, target: Target) -> list[object]:
    """Return class names, labels joined by ``|``, or numbers."""
    if target.kind == "regression":
        return [float(value) for value in values]
    if target.kind == "classes":
        return [target.classes[int(value)] for value in values]
    return [
        "|".join(n for n, there in zip(target.classes, row, strict=True) if there)
        for row in values.tolist()
    ]
