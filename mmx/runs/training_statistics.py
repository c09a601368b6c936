"""``training_data.json``: what a run keeps of its training rows, to compare other rows with."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError

from mmx.errors import RunError
from mmx.evaluation.data_statistics import TrainingStatistics
from mmx.runs import recorded
from mmx.runs.atomic import write_json
from mmx.runs.directory import RunDirectory
from mmx.untrusted import read_json

FILE = "training_data.json"


def write_statistics(directory: RunDirectory, statistics: TrainingStatistics) -> None:
    """Write what a run keeps of its training rows."""
    write_json(directory.path / FILE, asdict(statistics))


def read_statistics(directory: RunDirectory) -> TrainingStatistics | None:
    """Return what a run keeps of its training rows; None for runs made before it was kept.

    Raises:
        RunError: The file is not what mmx wrote.
    """
    path = directory.path / FILE
    recorded.check_file(directory.path, [FILE])
    if not path.is_file():
        return None
    try:
        return TypeAdapter(TrainingStatistics).validate_python(read_json(path, dict), strict=False)
    except ValidationError as error:
        raise RunError(f"{path} is not what mmx wrote") from error
