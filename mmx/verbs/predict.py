"""``mmx predict RUN [TABLE]``: a run's predictions, as CSV.

Without TABLE: for the run's own test split. With TABLE (CSV, Parquet or JSONL, for runs on
``target=table``): for its rows, which need no label column. Each line holds the row's
number, the predicted class (or labels, or number) and, for classes, each probability.
stdout carries one line, the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmx.errors import UsageError
from mmx.evaluation.metrics import decide
from mmx.evaluation.predict import predict
from mmx.experiment import assemble
from mmx.runs.atomic import write_text
from mmx.runs.directory import RunDirectory
from mmx.stages import load_trained, open_trained
from mmx.tasks import Target
from mmx.tasks.table import Table
from mmx.training.precision import Precision, choose_device
from mmx.training.randomness import make_deterministic
from mmx.verbs.arguments import Parser, allowed_packages, keep_threads


def main(arguments: Sequence[str]) -> int:
    """Predict, and return the exit code."""
    parser = Parser("predict", description=__doc__).with_run().with_allow()
    parser.add_argument("table", nargs="?", type=Path, metavar="TABLE")
    parser.add_argument("--output", type=Path, default=None, help="default: RUN/predictions.csv")
    given = parser.parse_args(arguments)
    directory = RunDirectory.open(given.run)
    experiment = assemble(directory.config(), allowed_packages(given.allow))
    keep_threads(directory)
    make_deterministic(experiment.trainer.threads)
    device = choose_device(experiment.settings.device)
    precision = Precision.choose(experiment.settings.precision, device)
    task = experiment.target
    if given.table is not None:
        if not isinstance(task, Table):
            raise UsageError(
                f"the run's target {task.name} is no table: it has no columns to look for",
                tip=f"mmx predict {given.run}   (its own test split)",
            )
        task = task.with_path(given.table)
    trained = load_trained(experiment, directory, device)
    data = task.load()
    rows = data.splits["test"]
    batches = open_trained(experiment, trained, data, precision).unlocked()
    outputs, _ = predict(trained.model, batches, rows, precision)
    path = given.output or directory.path / "predictions.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, as_csv([int(row) for row in rows], outputs, trained.target))
    print(path)
    return 0


def as_csv(rows: Sequence[int], outputs: Tensor, target: Target) -> str:
    """Return predictions as CSV text; rows are counted from 1, as in the table without its head."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    decided = decide(outputs, target).tolist()
    if target.kind == "regression":
        writer.writerow(["row", "prediction"])
        writer.writerows([row + 1, value] for row, value in zip(rows, decided, strict=True))
        return text.getvalue()
    writer.writerow(["row", "prediction", *(f"p({name})" for name in target.classes)])
    classes = target.kind == "classes"
    probabilities = outputs.softmax(1) if classes else torch.sigmoid(outputs)
    for row, value, chances in zip(rows, decided, probabilities.tolist(), strict=True):
        if classes:
            name = target.classes[value]
        else:
            name = "|".join(n for n, there in zip(target.classes, value, strict=True) if there)
        writer.writerow([row + 1, name, *(f"{chance:.6f}" for chance in chances)])
    return text.getvalue()
