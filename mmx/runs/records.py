"""The types of the JSON files in a run directory, on which all readers rely.

A run may come from anybody, so a file is checked against its record once, where it is read. A
value of a wrong type is reported with its file, and no later code has to check again. Unknown
keys are kept, since later versions may write more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmx.errors import RunError
from mmx.json_object import Json
from mmx.printable import shorten

SHOWN = 60
"""Characters of a wrong value that an error shows."""
Metrics = dict[str, float]
BySplit = dict[str, Metrics]
Count = Annotated[int, Field(ge=0)]
Process = Annotated[int, Field(ge=1, lt=2**31)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """Base of all records: a typed JSON object, without conversion: ``"7"`` is not a number.

    Example:
        >>> class Beat(Record):
        ...     stage: str
        ...     epoch: Count = 0
        >>> Beat.from_json({"stage": "target"})
        Beat(stage='target', epoch=0)
        >>> Beat.from_json({"stage": "target", "extra": 1}).to_json()
        {'stage': 'target', 'extra': 1}
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    @classmethod
    def from_json(cls: type[R], data: Json) -> R:
        """Return the record for a JSON object.

        Raises:
            ValidationError: A value has a wrong type, or is missing.
        """
        return cls.model_validate(data)

    def to_json(self) -> Json:
        """Return the JSON object to write: entries that were set, without defaults."""
        return self.model_dump(exclude_unset=True)


class Status(Record):
    """``status.json``."""

    status: str
    since: str | None = None
    pid: Process | None = None
    host: str | None = None
    heartbeat: str | None = None
    error: str | None = None
    signal: int | None = None
    expected: bool | None = None


class MetricLine(Record):
    """One line of ``metrics.jsonl``."""

    stage: str
    epoch: Count
    step: Count | None = None
    split: str
    name: str
    value: float | None
    seconds: float | None = None


def check_record(data: Json, record: type[Record], path: Path) -> Json:
    """Return data as it was read, after checking it against its record.

    Raises:
        RunError: A value has a wrong type, or is missing.
    """
    read_record(data, record, path)
    return data


def read_record(data: Json, record: type[R], path: Path) -> R:
    """Return the record for data from a file.

    Raises:
        RunError: A value has a wrong type, or is missing.
    """
    try:
        return record.from_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = shorten(".".join(str(part) for part in first["loc"]))
        why = str(first["msg"])
        if first["type"] != "missing":
            why += f", not {shorten(repr(first['input']), SHOWN)}"
        raise RunError(f"{path} is not what mmx wrote: {key}: {why}") from error
