"""``mmx predict RUN [DATA]``: a run's predictions, as CSV or Parquet.

Without DATA: for the run's own test split. DATA is a table (CSV, Parquet or JSONL) for runs
on ``target=table``, which needs no label column; or images or sounds, a file or a folder
of them, for runs on one such modality. Each line names the row or file, the predicted class
(or labels, or number) and each class's probability.

Every row is answered that can be. A row that cannot has an empty prediction; the column
``reason`` says why, and also which files a row names that do not exist: it is predicted
without them. Both are counted on stderr; with --strict they fail. --keep carries columns of
the table over, such as an id. target.csv.encoding=utf-8, target.csv.delimiter=";" and
target.csv.quoting=… say how DATA is written, where the run's table was written otherwise.
data_dir=DIR, target.path=FILE and the like say where the run's own data has moved. stdout
carries one line, the file that was written.

Rows are read, answered and written in parts, so that a table of any size takes the same
memory. --output names a .csv or a .parquet; an interrupted call leaves no file of that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmx.errors import UsageError
from mmx.experiment import assemble
from mmx.printable import shorten
from mmx.runs.atomic import make_folder
from mmx.runs.directory import RunDirectory
from mmx.stages import load_trained
from mmx.training.precision import choose_device
from mmx.training.randomness import make_deterministic
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import Parser, list_allowed_packages
from mmx.verbs.opening import (
    HOW_WRITTEN,
    NOTHING_IS_MADE,
    choose_precision,
    open_config,
    read_typed,
)
from mmx.verbs.predict_answers import AskedRows, OpenedModel, answer_rows, print_notes
from mmx.verbs.predict_file import open_predictions, require_format

__all__ = ["AskedRows", "OpenedModel", "answer_rows", "main", "open_model", "print_notes"]

SUMMARY = "write a run's predictions for new data"
PLACE = 40
COMPLETES = {"runs": 1}


def main(arguments: Sequence[str]) -> int:
    """Predict, and return the exit code."""
    given = _parser().parse_args(arguments)
    data, typed = _read_words(given.words, given.run)
    directory = RunDirectory.open(given.run)
    path = given.output or directory.path / "predictions.csv"
    require_format(path)
    opened = open_model(directory, typed, given.allow, device=given.device)
    asked = AskedRows(opened, data, given.keep)
    make_folder(path.parent, tip="--output FILE   (in a folder that can be made)")
    with open_predictions(path) as file:
        for answers in asked.answer():
            file.write(answers)
        if given.strict:
            asked.counts.require_all()
    print_notes(asked)
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
    precision = choose_precision(directory, experiment)
    trained = load_trained(experiment, directory, place)
    return OpenedModel(directory.path, experiment, trained, precision)


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
    more = HOW_WRITTEN if data else ()
    typed = read_typed(settings, "predict", run, NOTHING_IS_MADE, more)
    return Path(data[0]) if data else None, typed


def _is_there(word: str) -> bool:
    return unusable_path(word) is None and Path(word).exists()


def _parser() -> Parser:
    parser = Parser("predict", description=__doc__).with_run().with_allow().with_device()
    parser.add_argument("words", nargs="*", metavar="DATA|key=value", help="see above")
    parser.add_argument(
        "--output",
        "--out",
        type=Path,
        default=None,
        metavar="FILE",
        help=".csv or .parquet; default: RUN/predictions.csv",
    )
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
