"""What a client may send: the inputs of a run's model, and how they become rows.

A client sends content, never a path: pictures, sounds and videos are bytes. Each row is read by
itself, so that an answer does not depend on who else is asking.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mmx.errors import DataError, closest
from mmx.experiment.inputs import name_modality
from mmx.modalities import Column, Modality
from mmx.modalities.clips import describe_clip
from mmx.modalities.image import Image
from mmx.modalities.sequence import SequenceColumn, SequenceSpec
from mmx.modalities.sounds import holds_more
from mmx.modalities.tabular import TabularColumn, TabularSpec
from mmx.modalities.tabular_kinds import USUAL_MISSING
from mmx.modalities.text import TextColumn
from mmx.modalities.vector import VectorColumn, VectorSpec
from mmx.printable import shorten
from mmx.stage_id import Role
from mmx.tasks import TaskData
from mmx.tasks.cells import as_text
from mmx.tasks.spelling import find_bit, unify_spelling
from mmx.tasks.table_parts import RowsToPredict
from mmx.verbs.predict_answers import OpenedModel
from mmx.verbs.predict_source import FILES

MISSING = frozenset(USUAL_MISSING)
"""Texts that stand for a missing cell where the task does not say which do."""
DATA_ADDRESS = "data:"
RequestRow = Mapping[str, Any]
"""Input to its content: bytes, a text, cells by column, or an array."""


class RefusedError(ValueError):
    """What a client has sent cannot be read.

    Args:
        given: Where it stands, such as ``rows[0].image``.
        reason: What is wrong with it.
        accepted: What would do.
        near: The closest name that there is.
    """

    def __init__(self, given: str, reason: str, accepted: str = "", near: str | None = None):
        super().__init__(f"{given}: {reason}")
        self.problem = {"given": given, "reason": reason}
        self.problem |= {"accepted": accepted} if accepted else {}
        self.problem |= {"closest": near} if near else {}


@dataclass(frozen=True)
class Input:
    """An input of the model.

    Attributes:
        name: Such as ``image`` or ``text_title``.
        modality: ``image``, ``audio``, ``video``, ``text``, ``tabular``, ``vector``, ``sequence``.
        columns: Of a tabular input; empty for others.
        width: Numbers of a vector, or of a step of a sequence; 0 for others.
    """

    name: str
    modality: str
    columns: tuple[str, ...] = ()
    width: int = 0

    @property
    def is_file(self) -> bool:
        """Whether its content is that of a file."""
        return self.modality in FILES

    @property
    def accepted(self) -> str:
        """What a client may send for it."""
        return {
            "text": "a text",
            "tabular": f"an object with {', '.join(self.columns)}: numbers, texts or null",
            "vector": f"a list of {self.width} numbers, null where one is missing",
            "sequence": f"a list of steps, each a list of {self.width} numbers",
        }.get(self.modality, f"the bytes of a file of kind {self.modality}, as base64")

    def describe(self) -> dict[str, Any]:
        """Return its JSON schema."""
        cell = {"type": ["number", "string", "null"]}
        kinds: dict[str, dict[str, Any]] = {
            "text": {"type": ["string", "null"]},
            "tabular": {
                "type": ["object", "null"],
                "properties": dict.fromkeys(self.columns, cell),
                "additionalProperties": False,
            },
            "vector": {"type": ["array", "null"], "items": {"type": ["number", "null"]}},
            "sequence": {
                "type": ["array", "null"],
                "items": {"type": "array", "items": {"type": "number"}},
            },
        }
        file = {"type": ["string", "null"], "contentEncoding": "base64"}
        return {**kinds.get(self.modality, file), "description": self.accepted}


def list_model_inputs(opened: OpenedModel) -> dict[str, Input]:
    """Return the inputs of a run's model by name."""
    readers, found = opened.experiment.modalities[Role.TARGET], {}
    for name, spec in opened.trained.specs.items():
        columns: tuple[str, ...] = ()
        width = 0
        if isinstance(spec, TabularSpec):
            columns = (*spec.numeric, *spec.categorical)
        elif isinstance(spec, (VectorSpec, SequenceSpec)):
            width = len(spec.means)
        found[name] = Input(name, name_modality(name, readers[name]), columns, width)
    return found


def bound_pixels(opened: OpenedModel, most: int) -> OpenedModel:
    """Return the model with readers that refuse images of more pixels than ``most``."""

    def bound(reader: Modality[Any, Any]) -> Modality[Any, Any]:
        if not isinstance(reader, Image):
            return reader
        bounded = copy.copy(reader)
        least = min(most, reader.decoding.max_pixels)
        bounded.decoding = replace(reader.decoding, max_pixels=least)
        return bounded

    every = opened.experiment.modalities
    readers = {name: bound(reader) for name, reader in every[Role.TARGET].items()}
    experiment = replace(opened.experiment, modalities={**every, Role.TARGET: readers})
    return replace(opened, experiment=experiment)


class RowReader:
    """Turns what clients send into rows of the model.

    Args:
        opened: The model.
        most_pixels: Width times height of the largest frame of a video.
        most_samples: Of a sound, over all channels.
    """

    def __init__(self, opened: OpenedModel, most_pixels: int, most_samples: int) -> None:
        self._most_pixels, self._most_samples = most_pixels, most_samples
        self.inputs = list_model_inputs(opened)
        self._specs, self._target = opened.trained.specs, opened.trained.target
        given = getattr(opened.experiment.target, "missing", None)
        self._missing = frozenset(given) if isinstance(given, list) else MISSING

    def read(self, given: Any, where: str) -> RequestRow:
        """Return a row of a JSON request.

        Args:
            given: The row.
            where: Where it stands, for messages.

        Raises:
            RefusedError: It is not a row of this model.
        """
        names = ", ".join(self.inputs)
        if not isinstance(given, dict):
            raise RefusedError(where, "is no object", f"an object with {names}")
        row = {}
        for name, value in given.items():
            if name not in self.inputs:
                near = closest(name, self.inputs)
                raise RefusedError(f"{where}.{shorten(name)}", "is no input", names, near)
            content = self._read_value(self.inputs[name], value, f"{where}.{name}")
            if content is not None:
                row[name] = content
        if not row:
            raise RefusedError(where, "has no input that is there", f"one of {names} at least")
        return row

    def _read_value(self, about: Input, value: Any, where: str) -> Any:
        if value is None:
            return None
        if about.is_file:
            content = value if isinstance(value, bytes) else _decode(about, value, where)
            self._refuse_large(about, content, where)
            return content
        if about.modality == "text":
            if not isinstance(value, str):
                raise RefusedError(where, f"is {_name(value)}", about.accepted)
            return self._read_text(value, where)
        if about.modality == "tabular":
            return self._read_cells(about, value, where)
        return _read_numbers(about, value, where)

    def _read_text(self, value: Any, where: str) -> str | None:
        try:
            return as_text(value, self._missing)
        except TypeError as error:
            raise RefusedError(where, f"is {error}", "a text") from error

    def _refuse_large(self, about: Input, content: bytes, where: str) -> None:
        """Refuse a sound or a video that would unfold to fill the memory."""
        with contextlib.suppress(DataError):  # what cannot be opened is named where it is read
            if about.modality == "audio" and holds_more(content, 0, self._most_samples):
                reason = f"has more than {self._most_samples:,} samples over all channels"
                raise RefusedError(where, reason, "a shorter sound")
            if about.modality == "video":
                _, _, width, height = describe_clip(content, 0)
                if width * height > self._most_pixels:
                    reason = f"has frames of {width * height:,} pixels"
                    raise RefusedError(where, reason, f"at most {self._most_pixels:,}")

    def _read_cells(self, about: Input, value: Any, where: str) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            raise RefusedError(where, f"is {_name(value)}", about.accepted)
        spec, cells = self._specs[about.name], dict.fromkeys(about.columns)
        for column, cell in value.items():
            if column not in cells:
                near = closest(column, cells)
                accepted = ", ".join(cells)
                raise RefusedError(f"{where}.{shorten(column)}", "is no column", accepted, near)
            if isinstance(cell, (dict, list)):
                raise RefusedError(f"{where}.{column}", f"is {_name(cell)}", "a number or a text")
            if isinstance(cell, (int, float)) and not _is_finite(cell):
                raise RefusedError(f"{where}.{column}", "is too large", "a finite number")
            text = None if cell is None else self._read_text(cell, f"{where}.{column}")
            if text is not None and isinstance(spec, TabularSpec):
                cells[column] = _spell(text, column, spec)
        return cells if any(cell is not None for cell in cells.values()) else None

    def collect(self, rows: Sequence[RequestRow]) -> RowsToPredict:
        """Return rows as the model reads them."""
        none, every = np.arange(0), np.arange(len(rows))
        columns = {name: self._make_column(each, rows) for name, each in self.inputs.items()}
        data = TaskData(
            name="a request",
            columns=columns,
            values=torch.zeros(len(rows), dtype=torch.int64),
            target=self._target,
            splits={"train": none, "val": none, "test": every},
            fingerprint="",
            digests={},
        )
        return RowsToPredict(data, every, [int(row) + 1 for row in every])

    def _make_column(self, about: Input, rows: Sequence[RequestRow]) -> Column:
        values = [row.get(about.name) for row in rows]
        if about.modality == "tabular":
            return TabularColumn(
                {name: [(each or {}).get(name) for each in values] for name in about.columns}
            )
        others: dict[str, Callable[[Any], Column]] = {
            "text": TextColumn,
            "vector": VectorColumn,
            "sequence": SequenceColumn,
        }
        make: Callable[[Any], Column] = others.get(about.modality) or FILES[about.modality]
        return make(values)


def _decode(about: Input, value: Any, where: str) -> bytes:
    """Return the bytes that base64 stands for."""
    if not isinstance(value, str):
        raise RefusedError(where, f"is {_name(value)}", about.accepted)
    text = value.partition(",")[2] if value.startswith(DATA_ADDRESS) else value
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        reason = f"is no base64 ({error}); names of files are not read"
        raise RefusedError(where, reason, about.accepted) from error
    if not content:
        raise RefusedError(where, "is empty", about.accepted)
    return content


def _read_numbers(about: Input, value: Any, where: str) -> Any:
    """Return a vector ``(D,)``, NaN where an item is null, or a sequence ``(T, D)``."""
    axes = 1 if about.modality == "vector" else 2
    _refuse_other_than_numbers(about, value, where, axes)
    try:
        found = np.array(value, dtype=np.float64)
    except ValueError as error:
        reason = "has steps of different lengths"
        raise RefusedError(where, reason, about.accepted) from error
    if found.ndim == 1 and axes == 2 and about.width == 1:
        found = found[:, None]
    if found.ndim != axes or found.shape[-1] != about.width or not found.size:
        raise RefusedError(where, f"has the shape {list(found.shape)}", about.accepted)
    return found


def _refuse_other_than_numbers(about: Input, value: Any, where: str, axes: int) -> None:
    """Refuse lists that hold anything but finite numbers, and null in a vector.

    NumPy would read texts and booleans as numbers.
    """
    if not isinstance(value, list):
        raise RefusedError(where, f"is {_name(value)}", about.accepted)
    for place, each in enumerate(value):
        at = f"{where}[{place}]"
        if isinstance(each, list) and axes > 1:
            _refuse_other_than_numbers(about, each, at, axes - 1)
        elif each is None and about.modality == "vector":
            continue
        elif isinstance(each, bool) or not isinstance(each, (int, float)):
            raise RefusedError(at, f"is {_name(each)}", about.accepted)
        elif not _is_finite(each):
            raise RefusedError(at, "is too large, or no number", "a finite number")


def _is_finite(number: float) -> bool:
    """Return whether a number of JSON, which may have any number of digits, is a finite float."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _spell(text: str, column: str, spec: TabularSpec) -> str:
    """Return a cell as the training rows spell it, whatever other rows of a request hold."""
    (alone,) = unify_spelling([text])
    spelled = alone if alone is not None else text
    if column in spec.categorical:
        known = spec.categories[spec.categorical.index(column)]
        for each in (text, spelled, find_bit(text)):
            if each in known:
                return str(each)
    return spelled


def _name(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", bytes: "a file"}
    kinds |= {type(None): "null"}
    return kinds.get(type(value), "a number")
