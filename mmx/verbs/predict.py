"""``mmx predict RUN [DATA]``: a run's predictions, as CSV.

Without DATA: for the run's own test split. DATA is a table (CSV, Parquet or JSONL) for runs
on ``target=table``, which needs no label column; or images or sounds, a file or a folder
of them, for runs on one such modality. Each line names the row or file, the predicted class
(or labels, or number) and each class's probability.

Every row is answered that can be. A row that cannot has an empty prediction; the column
``reason`` says why, and also which files a row names that do not exist: it is predicted
without them. Both are counted on stderr; with --strict they fail. --keep carries columns of
the table over, such as an id. data_dir=DIR, target.path=FILE and the like say where the
run's own data has moved. stdout carries one line, the CSV file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmx.errors import DataError, UsageError
from mmx.evaluation.predict import predict
from mmx.experiment import Experiment, assemble
from mmx.experiment.inputs import name_modality
from mmx.modalities.audio import AudioColumn
from mmx.modalities.image import ImageColumn
from mmx.modalities.suffixes import MEDIA_SUFFIXES, list_visible_files
from mmx.modalities.video import VideoColumn
from mmx.printable import printable, shorten
from mmx.runs.atomic import make_folder, write_text
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role
from mmx.stages import Loaded, load_trained, open_trained
from mmx.stages.core.readable_rows import find_empty_rows, find_lost_files, find_unreadable_rows
from mmx.tasks import Task, TaskData
from mmx.training.data import Rows
from mmx.training.precision import Precision, choose_device
from mmx.training.randomness import make_deterministic
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import Parser, list_allowed_packages
from mmx.verbs.opening import NOTHING_IS_MADE, open_config, read_typed
from mmx.verbs.predict_rows import RowAnswers

SUMMARY = "write a run's predictions for new data"
PLACE = 40
COMPLETES = {"runs": 1}

FileColumn = type[ImageColumn] | type[AudioColumn] | type[VideoColumn]
FILES: dict[str, FileColumn] = {"image": ImageColumn, "audio": AudioColumn, "video": VideoColumn}
"""Modalities with one file for each row."""


@dataclass(frozen=True)
class Asked:
    """The rows to predict.

    Attributes:
        data: Opened; only rows of its ``test`` split are predicted.
        rows: ``(N,)`` rows that get a line each.
        names: ``(N,)`` names of the lines: files, or row numbers counted from 1.
        task: What the rows come from; None for files.
        own: Whether this is the run's own test split.
    """

    data: TaskData
    rows: Rows
    names: Sequence[object]
    task: Task | None = None
    own: bool = False


@dataclass(frozen=True)
class OpenedModel:
    """The trained model of a run, ready to predict.

    Attributes:
        run: The run directory.
        experiment: Assembled from the run's config.
        trained: The model, on its device.
        precision: What it computes in.
    """

    run: Path
    experiment: Experiment
    trained: Loaded
    precision: Precision


def main(arguments: Sequence[str]) -> int:
    """Predict, and return the exit code."""
    given = _parser().parse_args(arguments)
    data, typed = _read_words(given.words, given.run)
    directory = RunDirectory.open(given.run)
    opened = open_model(directory, typed, given.allow, device=given.device)
    asked, answers = answer_rows(opened, data, given.keep)
    if given.strict:
        answers.require_all()
    path = given.output or directory.path / "predictions.csv"
    make_folder(path.parent, tip="--output FILE   (in a folder that can be made)")
    write_text(path, answers.csv())
    print_notes(asked, answers)
    print(path)
    return 0


def open_model(
    directory: RunDirectory,
    typed: Mapping[str, Any],
    allow: Sequence[str] = (),
    *,
    device: str | None = None,
) -> OpenedModel:
    """Return the trained model of a run, and prepare torch to compute as the run did.

    Args:
        directory: The run.
        typed: Settings on where its data is, as :func:`~mmx.verbs.opening.read_typed` returns them.
        allow: Packages whose classes its config may name, besides those of the environment.
        device: The value of ``--device``.

    Raises:
        MmxError: The run is damaged or not finished, or does not have a setting.
    """
    directory.require_undamaged()
    directory.require_plain_files()
    config = open_config(directory, directory.config(), typed, device=device)
    experiment = assemble(config, list_allowed_packages(allow))
    place = choose_device(experiment.settings.device)
    make_deterministic(experiment.trainer.threads, place)
    precision = Precision.choose(experiment.settings.precision, place)
    trained = load_trained(experiment, directory, place)
    return OpenedModel(directory.path, experiment, trained, precision)


def answer_rows(
    opened: OpenedModel, data: Path | None, keep: Sequence[str] = ()
) -> tuple[Asked, RowAnswers]:
    """Return the rows of a file or folder, and the model's answers to them.

    Args:
        opened: The model.
        data: DATA of the command line; None for the run's own test split.
        keep: Columns of the table to carry over.

    Raises:
        MmxError: The run cannot read such data, or no row of it.
    """
    asked = _ask(opened.experiment.target, opened.trained, data, opened.run)
    kept = _read_kept_columns(keep, asked)
    found = _answer(opened.experiment, opened.trained, asked, opened.precision)
    return asked, replace(found, kept=kept)


def print_notes(asked: Asked, answers: RowAnswers) -> None:
    """Print on stderr what was noted of the data, and how many rows have no full answer."""
    for line in (*_list_notes(asked), *answers.warnings()):
        print(f"note: {printable(line)}", file=sys.stderr)


def _list_notes(asked: Asked) -> Iterator[str]:
    """Yield the notes of reading a given table, except those on files that do not exist.

    :class:`RowAnswers` counts such files itself.
    """
    if not asked.own:
        yield from (note for note in asked.data.notes if not note.endswith("do not exist"))


def _read_words(words: Sequence[str], run: Path) -> tuple[Path | None, dict[str, object]]:
    """Return the path of DATA, and the settings on where the run's own data has moved.

    Raises:
        UsageError: More than one file or folder was named.
    """
    settings = [word for word in words if "=" in word and not _is_there(word)]
    data = [word for word in words if word not in settings]
    if data and (reason := unusable_path(data[0])):
        raise UsageError(f"DATA: {shorten(data[0])} {reason}", tip="mmx predict --help")
    if len(data) > 1:
        raise UsageError(f"unrecognized arguments: {' '.join(data[1:])}", tip="mmx predict --help")
    typed = read_typed(settings, "predict", run, NOTHING_IS_MADE)
    return Path(data[0]) if data else None, typed


def _is_there(word: str) -> bool:
    return unusable_path(word) is None and Path(word).exists()


def _parser() -> Parser:
    parser = Parser("predict", description=__doc__).with_run().with_allow().with_device()
    parser.add_argument("words", nargs="*", metavar="DATA|key=value", help="see above")
    parser.add_argument("--output", type=Path, default=None, help="default: RUN/predictions.csv")
    parser.add_argument(
        "--keep",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN",
        help="columns of the table to carry over, such as an id; after RUN and DATA",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail where a row has no prediction, or names a file that does not exist",
    )
    return parser


def _answer(
    experiment: Experiment, trained: Loaded, asked: Asked, precision: Precision
) -> RowAnswers:
    """Return the predictions of all rows that can be read, and why the others have none."""
    modalities = experiment.modalities[Role.TARGET]
    usable = asked.data.splits["test"]
    unusable = find_empty_rows(asked.data, modalities, asked.rows)
    usable = _drop_rows(usable, unusable)
    try:
        outputs, values = _predict(experiment, trained, asked.data, usable, precision)
    except DataError:  # some row cannot be decoded: find out which, and predict the others
        broken = find_unreadable_rows(asked.data, modalities, trained.specs, usable)
        if not broken:
            raise
        unusable |= broken
        usable = _drop_rows(usable, broken)
        outputs, values = _predict(experiment, trained, asked.data, usable, precision)
    places = {int(row): place for place, row in enumerate(asked.rows)}
    lost = find_lost_files(asked.data, modalities, usable)
    return RowAnswers(
        names=asked.names,
        answered=[places[int(row)] for row in usable],
        outputs=outputs,
        target=trained.target,
        known=values if asked.own else None,
        unusable={places[row]: why for row, why in sorted(unusable.items())},
        incomplete={places[row]: why for row, why in lost.items()},
    )


def _drop_rows(rows: Rows, left_out: dict[int, str]) -> Rows:
    """Return the rows that are not left out.

    Raises:
        DataError: None remains.
    """
    kept = rows[~np.isin(rows, list(left_out))]
    if not len(kept):
        row, why = next(iter(left_out.items()))
        raise DataError(f"no row can be predicted; row {row + 1}: {why}")
    return kept


def _predict(
    experiment: Experiment, trained: Loaded, data: TaskData, rows: Rows, precision: Precision
) -> tuple[Tensor, Tensor]:
    """Return outputs ``(N, C)`` and targets of rows, without reading other test rows."""
    chosen = replace(data, splits={**data.splits, "test": rows})
    batches = open_trained(experiment, trained, chosen, precision).unlock_test()
    return predict(trained.model, batches, rows, precision)


def _ask(task: Task, trained: Loaded, given: Path | None, run: Path) -> Asked:
    """Return the rows to predict, with their data opened.

    Raises:
        UsageError: The run cannot read such data.
    """
    if given is None:
        own = task.load()
        rows = own.splits["test"]
        return Asked(own, rows, [int(row) + 1 for row in rows], task, own=True)
    if not given.exists():
        raise UsageError(f"{given} does not exist")
    other = task.with_path(str(given)) if given.is_file() else None
    if other is not None:
        data = other.load()
        rows = np.arange(len(data.values), dtype=np.int64)
        return Asked(data, rows, [int(row) + 1 for row in rows], other)
    name = next(iter(trained.specs)) if len(trained.specs) == 1 else ""
    modality = name_modality(name, task.modalities.get(name)) if name else ""
    if modality not in FILES:
        raise UsageError(
            f"the run's target {task.name} reads {', '.join(trained.specs)}: {given} does not say "
            "which is which",
            tip=f"mmx predict {run}   (its own test split), or train on target=table",
        )
    return _ask_files(given, name, modality, trained)


def _ask_files(given: Path, name: str, modality: str, trained: Loaded) -> Asked:
    """Return a file, or all files in a folder that training would read, as one test split.

    Raises:
        UsageError: There is none.
    """
    paths = list_visible_files(given, modality) if given.is_dir() else [given]
    if not paths:
        suffixes = ", ".join(sorted(MEDIA_SUFFIXES[modality]))
        raise UsageError(f"there is no file to read in {given}; accepted: {suffixes}")
    none, rows = np.arange(0), np.arange(len(paths))
    data = TaskData(
        name=given.name,
        columns={name: FILES[modality](paths)},
        values=torch.zeros(len(paths), dtype=torch.int64),
        target=trained.target,
        splits={"train": none, "val": none, "test": rows},
        fingerprint="",
        digests={},
    )
    return Asked(data, rows, [str(path) for path in paths])


def _read_kept_columns(names: Sequence[str], asked: Asked) -> dict[str, Sequence[str]]:
    """Return the columns to carry over, with a cell for each row to predict.

    Raises:
        UsageError: The data is not a table.
    """
    if not names:
        return {}
    cells = None if asked.task is None else asked.task.read_texts(names)
    if cells is None:
        raise UsageError(
            f"--keep {' '.join(names)}: only a table has columns to keep", tip="leave --keep out"
        )
    return {name: [column[int(row)] for row in asked.rows] for name, column in cells.items()}
