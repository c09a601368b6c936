"""Pickled features of clips by split, as MultiBench and MMSA publish CMU-MOSI and CMU-MOSEI."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError, UnreadableFileError, closest
from mmx.modalities import Column, Modality
from mmx.modalities.sequence import SequenceColumn, Sequences
from mmx.modalities.text import TextColumn
from mmx.modalities.vector import Vector, VectorColumn
from mmx.tasks.base import CutTask, Samples, TaskData, list_names, type_task_option
from mmx.tasks.labels import sort_classes
from mmx.tasks.plain_pickle import read_pickle
from mmx.tasks.row_names import RowNames
from mmx.tasks.split_names import SPLITS, find_split
from mmx.tasks.splits import SplitRows
from mmx.tasks.table_columns import ColumnsOption, TableInput, list_inputs

USUAL: ColumnsOption = {"sequence": {name: name for name in ("text", "audio", "vision")}}
"""The inputs where ``columns`` is null."""
MODALITIES: dict[str, type[Column]] = {
    "sequence": SequenceColumn,
    "vector": VectorColumn,
    "text": TextColumn,
}
NUMBERS = ("regression_labels", "labels")
CLASSES = ("classification_labels", "labels")
NAMES_OF_CLASSES = "annotations"
TOKEN_IDS = "text_bert"
PickledPart = dict[str, Any]
"""Key to the values of all rows of a split."""


@dataclass(kw_only=True, eq=False)
class PickledSequences(CutTask):
    """Features of clips in one ``.pkl`` file: ``train``, ``valid``, ``test``, each a dict.

    Use it for CMU-MOSI, CMU-MOSEI, CH-SIMS, UR-FUNNY and MUStARD as MultiBench or MMSA publish
    them. Nothing of the pickle is run: what is neither dict, list, text, number nor array of them
    is refused by its name.

    Steps of zeros before the first and after the last other step are padding and are cut, unless
    the file says how long rows are (``audio_lengths``); a row of zeros alone lacks that input.

    Args:
        path: The pickle, as MultiBench or MMSA write it.
        columns: Modality (``sequence``, ``vector`` or ``text``) to names to keys of the file, such
            as ``{sequence: {vision: vision}, text: raw_text}``. None: ``text``, ``audio`` and
            ``vision``, each a sequence.
        kind: Whether labels are read as numbers (``regression``) or as classes.
        label: Key of the labels; None: ``regression_labels`` or ``labels`` for numbers,
            ``classification_labels`` or ``labels`` for classes.
        not_finite: Whether to refuse features that are infinite or NaN, or to read them as zero.
        labelled: False for prediction: no label is read, and all rows are in ``test``.
        sequence: How sequences are scaled and cut.
        vector: How vectors are scaled.

    Raises:
        ValueError: ``columns`` names another modality.
    """

    path: str
    columns: ColumnsOption | None = None
    kind: Literal["classes", "regression"] = "regression"
    label: str | None = None
    not_finite: Literal["refuse", "zero"] = "refuse"
    labelled: bool = True
    sequence: Sequences = field(default_factory=Sequences)
    vector: Vector = field(default_factory=Vector)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.inputs: dict[str, TableInput] = list_inputs(self.columns or USUAL, MODALITIES)
        for each in self.inputs.values():
            if len(each.columns) != 1:
                raise ValueError(f"`{each.option}` (={list(each.columns)}) must be one key")

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The inputs of ``columns``."""
        return {name: getattr(self, each.modality, None) for name, each in self.inputs.items()}

    def with_path(self, path: str) -> "PickledSequences":
        """Return the same task for the prediction of another file's rows."""
        return replace(self, path=path, labelled=False)

    def list_files(self, data: TaskData) -> list[Path]:
        """Return the only file."""
        return [Path(self.path).expanduser()]

    def read(self) -> Samples:
        """Return features, labels and splits."""
        parts = self._read_parts()
        sizes = {split: self._count_rows(split, part) for split, part in parts.items()}
        starts = np.cumsum([0, *sizes.values()])
        name_row = RowNames(tuple(parts), tuple(int(start) for start in starts[:-1]))
        columns, notes = {}, list(self._note_unread())
        for name, each in self.inputs.items():
            columns[name], said = self._make_column(each, parts, name_row)
            columns[name].row_names = name_row
            notes += said
        count = int(starts[-1])
        if not self.labelled:
            blank = np.zeros(count, dtype=np.float64 if self.kind == "regression" else np.int64)
            rows: dict[str, SplitRows] = {"test": np.arange(count, dtype=np.int64)}
            return Samples(columns, blank, tuple(self.classes or ()), rows, tuple(notes))
        splits: dict[str, SplitRows] = {
            split: np.arange(start, start + sizes[split], dtype=np.int64)
            for split, start in zip(parts, starts.tolist(), strict=False)
            if sizes[split]
        }
        values, classes = self._read_labels(parts, sizes, name_row)
        return Samples(columns, values, classes, splits, tuple(notes))

    def _note_unread(self) -> Iterator[str]:
        """Yield a note on the keys of the file that name no split."""
        if self._unread:
            yield f"not read, since they name no split: {list_names(self._unread)}"

    def _read_parts(self) -> dict[str, PickledPart]:
        """Return the splits of the file, by mmx's names for them."""
        try:
            found = read_pickle(Path(self.path).expanduser())
        except UnreadableFileError as error:
            raise DataError(f"{self.name}: {error}") from error
        names = {key: find_split(str(key)) for key in found} if isinstance(found, dict) else {}
        self._refuse_equal_splits(names)
        parts = {split: found[key] for key, split in names.items() if split}
        self._unread = [str(key) for key, split in names.items() if not split]
        if not parts or not all(isinstance(part, dict) for part in parts.values()):
            seen = list_names([str(key) for key in names]) or type(found).__name__
            raise DataError(
                f"{self.name}: {self.path} holds {seen}; expected the splits train, valid and "
                "test, each a dict"
            )
        return parts

    def _refuse_equal_splits(self, names: Mapping[object, str | None]) -> None:
        """Refuse two keys of the file that are one split."""
        for split in dict.fromkeys(SPLITS.values()):
            if len(alike := [str(key) for key, each in names.items() if each == split]) > 1:
                raise DataError(
                    f"{self.name}: {' and '.join(alike)} of {self.path} are both the {split} split",
                    tip="leave one of them out of the file, or rename it",
                )

    def _count_rows(self, split: str, part: PickledPart) -> int:
        """Return the rows of a split, which all keys that are read must have."""
        counts = {
            key: len(self._find(part, split, key, each.option))
            for each in self.inputs.values()
            for key in each.columns
        }
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{key} {count}" for key, count in counts.items())
            raise DataError(f"{self.name}: {split} has another number of rows by key: {said}")
        return next(iter(counts.values()))

    def _find(self, part: PickledPart, split: str, key: str, option: str) -> Any:
        """Return the values of a key."""
        if key not in part or not isinstance(part[key], list | np.ndarray):
            known = [str(name) for name in part]
            near = closest(key, known)
            raise DataError(
                f"{self.name}: {split} of {self.path} has no '{key}' ({option}); it has "
                f"{list_names(known, 40)}",
                tip=type_task_option(option, near or "<key>") if self.columns or near else None,
            )
        return part[key]

    def _make_column(
        self,
        given: TableInput,
        parts: Mapping[str, PickledPart],
        name_row: RowNames,
    ) -> tuple[Column, list[str]]:
        """Return the column of an input, and notes on how it is read."""
        (key,) = given.columns
        if key == TOKEN_IDS:
            raise DataError(
                f"{self.name}: {key} ({given.option}) holds ids of BERT's tokens, which are no "
                "features",
                tip=type_task_option("columns", {"text": "raw_text"})
                + ", and encoder/text=transformers",
            )
        rows = [row for part in parts.values() for row in part[key]]
        if given.modality == "text":
            return TextColumn(
                [self._as_text(row, given, name_row(i)) for i, row in enumerate(rows)]
            ), []
        axes = 2 if given.modality == "sequence" else 1
        arrays = [self._as_array(row, axes, given, name_row(i)) for i, row in enumerate(rows)]
        arrays, notes = self._make_finite(given, arrays, name_row)
        if axes == 1:
            return VectorColumn(np.stack(arrays)), notes
        cut, said = self._cut_padding(given, parts, arrays, name_row)
        return SequenceColumn([row if len(row) else None for row in cut]), [*notes, *said]

    def _as_text(self, row: Any, given: TableInput, where: str) -> str | None:
        """Return a row's text; None where it has none."""
        if row is None:
            return None
        if isinstance(row, np.ndarray | list) and np.size(row) == 1:
            row = np.asarray(row).item()
        if not isinstance(row, str | bytes):
            what = f"{self.name}: {where}: {given.columns[0]} ({given.option})"
            raise DataError(
                f"{what} holds {_describe_type(row)}, where text is expected",
                tip=type_task_option(given.option, "raw_text"),
            )
        return _decode(row).strip() or None

    def _cut_padding(
        self,
        given: TableInput,
        parts: Mapping[str, PickledPart],
        rows: list[npt.NDArray[Any]],
        name_row: RowNames,
    ) -> tuple[list[npt.NDArray[Any]], list[str]]:
        """Return sequences without their padding, and a note where it had to be found."""
        (key,) = given.columns
        lengths = [self._read_lengths(key, split, part) for split, part in parts.items()]
        stated = [int(n) for each in lengths if each is not None for n in each]
        if len(stated) == len(rows):
            pairs = enumerate(zip(rows, stated, strict=True))
            return [self._cut(row, n, f"{key}_lengths", name_row(i)) for i, (row, n) in pairs], []
        cut = [_strip_zeros(row) for row in rows]
        padded = sum(len(a) > len(b) for a, b in zip(rows, cut, strict=True))
        note = (
            f"{given.name}: {padded} of {len(rows)} rows begin or end with steps of zeros, which "
            "are cut as padding"
        )
        return cut, [note] if padded else []

    def _as_array(self, row: Any, axes: int, given: TableInput, where: str) -> npt.NDArray[Any]:
        """Return a row's numbers, with as many axes as its modality has."""
        try:
            array = np.asarray(row)
            # float32 as it is: large files are in it, and every other kind of number is float64.
            numbers: npt.NDArray[Any] = array.astype(
                np.float32 if array.dtype == np.float32 else np.float64
            )
        except (TypeError, ValueError) as error:
            what = f"{self.name}: {where}: {given.columns[0]} ({given.option})"
            raise DataError(f"{what} holds no numbers") from error
        if numbers.ndim == axes:
            return numbers
        seen = "×".join(map(str, numbers.shape)) or "a single number"
        other = "vector" if numbers.ndim == 1 else "sequence"
        wanted = "steps × features" if axes == 2 else "features"
        raise DataError(
            f"{self.name}: {where}: {given.columns[0]} ({given.option}) is {seen}, where "
            f"{given.modality} reads {wanted}",
            tip=type_task_option("columns", {other: {given.columns[0]: given.columns[0]}})
            if numbers.ndim in (1, 2)
            else None,
        )

    def _make_finite(
        self, given: TableInput, rows: list[npt.NDArray[Any]], name_row: Callable[[int], str]
    ) -> tuple[list[npt.NDArray[Any]], list[str]]:
        """Return rows with finite numbers alone, and a note on those that were not."""
        wild = {i: n for i, row in enumerate(rows) if (n := int((~np.isfinite(row)).sum()))}
        if not wild:
            return rows, []
        first = next(iter(wild))
        said = f"{sum(wild.values())} numbers of {given.columns[0]} in {len(wild)} rows"
        if self.not_finite == "refuse":
            raise DataError(
                f"{self.name}: {said} are infinite or NaN, {name_row(first)} the first",
                tip=type_task_option("not_finite", "zero"),
            )
        finite = [np.nan_to_num(row, nan=0.0, posinf=0.0, neginf=0.0) for row in rows]
        return finite, [f"{given.name}: {said} are infinite or NaN, and are read as zero"]

    def _read_lengths(
        self, key: str, split: str, part: PickledPart
    ) -> npt.NDArray[np.int64] | None:
        """Return how many steps of each row are no padding; None where the file does not say."""
        given = part.get(f"{key}_lengths")
        if given is None:
            return None
        lengths = np.asarray(given)
        if lengths.shape != (len(part[key]),) or lengths.dtype.kind not in "iu":
            raise DataError(
                f"{self.name}: {key}_lengths of {split} must be a whole number for each of its "
                f"{len(part[key])} rows"
            )
        return lengths.astype(np.int64)

    def _cut(self, row: npt.NDArray[Any], length: int, key: str, where: str) -> npt.NDArray[Any]:
        """Return the first ``length`` steps of a row."""
        if not 0 <= length <= len(row):
            raise DataError(
                f"{self.name}: {where}: {key} says {length}, and the row has {len(row)} steps"
            )
        return row[:length]

    def _read_labels(
        self, parts: Mapping[str, PickledPart], sizes: Mapping[str, int], name_row: RowNames
    ) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
        """Return the labels of all rows, and the names of classes."""
        usual = NUMBERS if self.kind == "regression" else CLASSES
        known = [key for key in usual if all(key in part for part in parts.values())]
        key = self.label or next(iter(known), usual[-1])
        found = [np.asarray(self._find(part, split, key, "label")) for split, part in parts.items()]
        for (split, count), each in zip(sizes.items(), found, strict=True):
            if len(each) != count or each.size != count:
                raise DataError(
                    f"{self.name}: {key} of {split} has the shape {each.shape}, where one label "
                    f"for each of {count} rows is expected",
                    tip=type_task_option("label", "<key>"),
                )
        labels = np.concatenate([each.reshape(-1) for each in found])
        if self.kind == "regression":
            return self._as_numbers(labels, key), ()
        return self._as_classes(labels, key, parts, name_row)

    def _as_numbers(self, labels: npt.NDArray[Any], key: str) -> npt.NDArray[np.float64]:
        """Return labels that are numbers."""
        if labels.dtype.kind not in "iufb":
            raise DataError(
                f"{self.name}: {key} holds {labels[0]!r}, which is no number",
                tip=type_task_option("kind", "classes"),
            )
        return labels.astype(np.float64)

    def _as_classes(
        self,
        labels: npt.NDArray[Any],
        key: str,
        parts: Mapping[str, PickledPart],
        name_row: RowNames,
    ) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
        """Return the class of each row, and the names of classes."""
        odd = labels.dtype.kind == "f" and (labels != np.round(labels)) | np.isinf(labels)
        if np.any(odd):
            row = int(np.flatnonzero(odd)[0])
            raise DataError(
                f"{self.name}: {name_row(row)}: {key} is {labels[row]:g}, a number and no class",
                tip=type_task_option("kind", "regression")
                + " and objective=mean_squared_error, or "
                + type_task_option("label", "<key>"),
            )
        names = _name_classes(labels, _list_annotations(parts, key, len(labels)))
        classes = sort_classes(set(names))
        index = {name: place for place, name in enumerate(classes)}
        return np.array([index[name] for name in names], dtype=np.int64), classes


def _list_annotations(parts: Mapping[str, PickledPart], key: str, count: int) -> list[str] | None:
    """Return what each row's class is called, where the file says it."""
    if key != CLASSES[0]:
        return None
    said = [_decode(each) for part in parts.values() for each in part.get(NAMES_OF_CLASSES, ())]
    return said if len(said) == count else None


def _name_classes(labels: npt.NDArray[Any], annotations: list[str] | None) -> list[str]:
    """Return the class of each row: its annotation, if that names the labels one to one."""
    plain = [str(int(each)) if labels.dtype.kind in "iufb" else _decode(each) for each in labels]
    if annotations is not None:
        pairs = set(zip(plain, annotations, strict=True))
        if len(pairs) == len(set(plain)) == len(set(annotations)):
            return annotations
    return plain


def _decode(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _describe_type(value: Any) -> str:
    """Return in words what a row holds that is no text."""
    if isinstance(value, list | np.ndarray):
        return f"an array of {'×'.join(map(str, np.shape(value)))}"
    return f"the number {value}"


def _strip_zeros(row: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the steps from the first to the last that is not all zeros."""
    there = np.flatnonzero(row.any(axis=1))
    return row[there[0] : there[-1] + 1] if len(there) else row[:0]
