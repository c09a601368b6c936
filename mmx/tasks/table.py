"""Your own data as a table: a row for each sample, columns for modalities, label and split."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmx.errors import DataError, closest
from mmx.modalities import Column, Modality
from mmx.modalities.audio import Audio
from mmx.modalities.image import Image
from mmx.modalities.sequence import Sequences
from mmx.modalities.tabular import Tabular
from mmx.modalities.tabular_kinds import USUAL_MISSING
from mmx.modalities.text import TextColumn
from mmx.modalities.vector import Vector
from mmx.modalities.video import Video
from mmx.printable import shorten
from mmx.tasks import label_sets, label_texts, labels
from mmx.tasks.absent_column import AbsentColumn
from mmx.tasks.base import CutTask, Kind, Samples, TaskData, list_names, type_task_option
from mmx.tasks.cells import ColumnCells
from mmx.tasks.column_uses import list_column_uses
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.open_table import OpenTable, join_tables, open_table
from mmx.tasks.row_keys import RowKeys, note_alike, read_row_groups
from mmx.tasks.split_names import SPLITS, find_split, note_synonyms
from mmx.tasks.splits import SplitRows
from mmx.tasks.table_columns import (
    ColumnsOption,
    TableInput,
    list_columns,
    list_inputs,
)
from mmx.tasks.table_files import PathOption, find_table_files, note_several_names
from mmx.tasks.table_inputs import NamedCells, find_with_suffix, make_column
from mmx.tasks.table_parts import TableParts, open_table_parts
from mmx.tasks.table_text import check_utf8
from mmx.tasks.times import read_times
from mmx.tasks.unusable import leave_out_unusable

ColumnTexts = dict[str, list[str | None]]


@dataclass(kw_only=True, eq=False)
class Table(CutTask):
    """Rows of a CSV, TSV, Parquet or JSON file.

    Use it for your own data of any modalities and any kind of target.

    A row with a missing cell, or with an image or sound that does not exist, lacks that
    modality; the number of such rows is noted for each split. A row that lacks all modalities
    is an error. Row numbers in messages count from 1, without the header.

    Args:
        name: Name in reports and in the names of runs; ``table`` stands for that of the file.
        path: The table, a list of tables, a pattern such as ``data/*.parquet``, a folder of
            shards or of ``datasets.save_to_disk``, or a mapping from splits to any of these.
            Tables are .csv, .tsv, .parquet, .arrow, .jsonl or .json (an object on each line, or a
            list of objects), text also compressed (.gz, .bz2, .xz, .zst, .zip).
        label: Column to predict; for ``multilabel`` also several columns of 0 and 1.
        columns: Modality (image, audio, video, text, tabular, vector, sequence) to its column.
            Text may have several columns, joined by a space; tabular and vector may have any
            number, also of lists of numbers. Images, sounds and videos are paths, or the bytes
            of files; ``audio`` may name a column of videos, for their sound. A vector or a
            sequence may also be the path of a ``.npy`` file. Several inputs of a modality have
            names: ``{image: {front: a, back: b}}`` are ``image_front`` and ``image_back``.
        split: Column that says train, val (or validation, valid, dev) or test. Without such a
            column or such rows, test and val are cut from the training rows.
        group: Column with the group of each row, such as a patient: none is in two splits.
        time: Column with the time of each row: the latest rows are ``test``, and the latest of
            the others ``val``.
        kind: One class for each row, several labels for each row, or a number.
        label_separator: Separator between the labels of one cell, for ``multilabel`` only; a
            cell may also be a list.
        root: Folder that paths in the table are relative to, or a .zip or .tar that stands for
            one; None: the folder of the table.
        missing: Cells that count as missing, in addition to null and NaN.
        unlabelled: Whether to refuse or to drop a row without a label.
        unusable: Whether to refuse a file that cannot be decoded, or to drop it and count it:
            the row then lacks that modality, and is dropped where it has no other.
        labelled: False for prediction: the label is not read and all rows are in ``test``.
        test_fraction: Share of the rows in ``test`` if the table has no test rows, the same
            rows for every seed.
        csv: How CSV and TSV files are written, where that is not to be found.
        image: How images are decoded.
        audio: How sounds are decoded.
        tabular: How other cells are encoded.
        vector: How vectors are scaled.
        sequence: How sequences are scaled and cut.
        video: Which frames of videos are read, and at which size.

    Raises:
        ValueError: Options contradict each other.
    """

    reads_alike: ClassVar[bool] = True
    path: PathOption
    label: str | list[str]
    columns: ColumnsOption
    split: str | None = None
    group: str | None = None
    time: str | None = None
    kind: Kind = "classes"
    label_separator: str = "|"
    root: str | None = None
    missing: list[str] = field(default_factory=lambda: list(USUAL_MISSING))
    unlabelled: Literal["refuse", "drop"] = "refuse"
    unusable: Literal["refuse", "drop"] = "refuse"
    labelled: bool = True
    csv: CsvFormat = field(default_factory=CsvFormat)
    image: Image = field(default_factory=Image)
    audio: Audio = field(default_factory=Audio)
    tabular: Tabular = field(default_factory=Tabular)
    vector: Vector = field(default_factory=Vector)
    sequence: Sequences = field(default_factory=Sequences)
    video: Video = field(default_factory=Video)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.inputs: dict[str, TableInput] = list_inputs(self.columns, MODALITIES)
        self._given: OpenTable | None = None
        self._check_label()
        self._check_keys()

    def _check_label(self) -> None:
        """Raise ValueError if the label is also an input, or does not fit the kind."""
        inputs = {name for each in self.inputs.values() for name in each.columns}
        if both := [name for name in list_columns(self.label) if name in inputs]:
            raise ValueError(f"`label` (={both[0]}) is also an input in `columns`")
        if not isinstance(self.label, str) and self.kind != "multilabel":
            raise ValueError(
                f"`label` (={self.label}) must be one column, unless kind is multilabel"
            )
        if not self.label or not self.label_separator:
            raise ValueError("`label` and `label_separator` must not be empty")

    def _check_keys(self) -> None:
        """Raise ValueError for several ways to split at once."""
        if self.group is not None and self.time is not None:
            raise ValueError(
                f"`group` (={self.group}) and `time` (={self.time}) are set; a group may have rows "
                "at any time, so set one of them"
            )
        if self.time is not None and self.folds is not None:
            raise ValueError(
                f"`folds` (={self.folds}) would train on rows later than those that it tests; with "
                f"`time` (={self.time}) the latest rows are tested, so set one of them"
            )

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The inputs of ``columns``."""
        return {name: getattr(self, each.modality, None) for name, each in self.inputs.items()}

    @property
    def type_anew(self) -> str | None:
        """What drops the column of splits; None where files are the splits, or there are none."""
        return None if self.split is None else type_task_option("split", None)

    def with_path(self, path: str) -> "Table":
        """Return the same task for the prediction of another table's rows."""
        return dataclasses.replace(self, path=path, labelled=False)

    def open_parts(self, path: str, kept: Sequence[str] = ()) -> TableParts | None:
        """Return another table's rows to predict, read in parts; see :class:`Task`."""
        file = find_table_files(self.name, path)[0].path
        cells = {name: MODALITIES[each.modality].cells for name, each in self.inputs.items()}
        other = self.with_path(path)

        def read(table: OpenTable) -> tuple[Samples, dict[str, list[str]]]:
            other._given = table
            return other.read(), other.read_texts(kept) if kept else {}

        uses = [(name, cells[key]) for key, each in self.inputs.items() for name in each.columns]
        return open_table_parts(file, self.csv, uses, kept, frozenset(self.missing), read)

    def read(self) -> Samples:
        """Return cells, labels and splits."""
        table = self._open()
        cells = self._read_cells(table)
        columns, notes = self._make_columns(table, cells)
        notes = [*table.notes, *notes]
        if not self.labelled:
            rows: SplitRows = np.arange(len(next(iter(columns.values()))), dtype=np.int64)
            values, classes = self._make_blank_values(len(rows))
            uses = list_column_uses(table, self._list_read_columns())
            return Samples(columns, values, classes, {"test": rows}, tuple(notes), column_uses=uses)
        missing, name_row = frozenset(self.missing), table.row_names
        (values, classes), texts, found = self._read_labels(table, cells)
        notes += found
        rows, dropped = self._find_labelled(cells, texts, name_row)
        said = table.splits
        if self.split is not None:
            said = table.to_texts(self.split, cells[self.split], missing)
        splits = self._read_splits(said, rows, name_row)
        if self.split is not None and said is not None:
            notes += note_synonyms(self.split, [said[row] or "" for row in rows.tolist()])
        used = np.concatenate(list(splits.values()))
        groups, times, of_keys = self._read_keys(table, cells, np.sort(used))
        notes = [*notes, *dropped, *of_keys]
        keys = {key: getattr(self, key) for key in ("label", "split", "group", "time")}
        uses = list_column_uses(table, {**self._list_read_columns(), **keys})
        samples = Samples(columns, values, classes, splits, tuple(notes), groups, times, uses)
        if self.unusable == "drop":
            return leave_out_unusable(samples, self.modalities)
        return samples

    def _list_read_columns(self) -> dict[str, tuple[str, ...]]:
        """Return input to its columns."""
        return {name: each.columns for name, each in self.inputs.items()}

    def list_files(self, data: TaskData) -> list[Path] | None:
        """Return the table and the files of its rows; None where more may be added to them."""
        path = Path(str(self.path)).expanduser()
        if not path.is_file():  # a folder, a pattern or several
            return None
        found = [path]
        for column in data.columns.values():
            if column.files is None or column.lost:
                return None
            found += column.files
        return found

    def _read_labels(
        self, table: OpenTable, cells: dict[str, ColumnCells]
    ) -> tuple[labels.LabelValues, ColumnTexts, list[str]]:
        """Return the targets of all rows, the texts that say which rows have any, and notes."""
        missing, name_row = frozenset(self.missing), table.row_names
        if self.kind == "multilabel" and isinstance(self.label, str):
            sets, found = label_sets.read_sets(
                self.label, cells[self.label], missing, self.label_separator, name_row
            )
            filled: ColumnTexts = {self.label: [None if one is None else "" for one in sets]}
            return labels.encode_sets(sets), filled, list(found)
        names = list_columns(self.label)
        texts = {name: table.to_texts(name, cells[name], missing) for name in names}
        if not isinstance(self.label, str):
            return labels.encode_flags(texts, name_row), texts, []
        own = texts[self.label]
        if self.kind == "regression":
            spelling, found = label_texts.find_label_spelling(
                self.label, own, self.csv.decimal, name_row
            )
            numbers = labels.parse_numbers(own, self.label, name_row, spelling)
            return numbers, texts, [*found, *labels.note_rounding(own, numbers[0])]
        own, found = label_texts.tidy_names(self.label, own)
        if self.classes is None:
            found = (*found, *label_texts.note_missing_words(self.label, own, self.missing))
            label_texts.refuse_numbers(self.label, own)
        return labels.encode_classes(own), {self.label: own}, list(found)

    def _read_keys(
        self, table: OpenTable, cells: dict[str, ColumnCells], rows: SplitRows
    ) -> tuple[RowKeys | None, RowKeys | None, tuple[str, ...]]:
        """Return groups and times of the rows, where the options name them, and notes."""
        missing = frozenset(self.missing)
        groups: RowKeys | None = None
        times: RowKeys | None = None
        notes: tuple[str, ...] = ()
        if self.group is not None:
            texts = table.to_texts(self.group, cells[self.group], missing)
            groups = read_row_groups(self.group, texts, rows, table.row_names)
            notes = tuple(note_alike(groups))
        if self.time is not None:
            texts = table.to_texts(self.time, cells[self.time], missing)
            times, notes = read_times(self.time, texts, rows, table.row_names)
        return groups, times, notes

    def read_texts(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the cells of any columns as text, "" where they are missing.

        Raises:
            DataError: A column does not exist.
        """
        table = self._open()
        cells = {}
        for name in names:
            found = table.find(name)
            if found is None:
                near = closest(name, table.names)
                raise DataError(
                    f"{table.path} has no column '{name}'; its columns: "
                    f"{list_names(table.names, 40)}",
                    tip=f"--keep {shlex.quote(near)}" if near else None,
                )
            texts = table.to_texts(found, table.read(found), frozenset())
            cells[name] = [text or "" for text in texts]
        return cells

    def _open(self) -> OpenTable:
        """Return the table of all files that ``path`` names."""
        if self._given is not None:
            return self._given
        files = find_table_files(self.name, self.path)
        tables = [open_table(file.path, self.csv) for file in files]
        notes = note_several_names(self.path, files)
        return join_tables(tables, [file.split for file in files], notes)

    def _read_cells(self, table: OpenTable) -> dict[str, ColumnCells]:
        """Return the columns that the task names."""
        wanted = [(each.option, name) for each in self.inputs.values() for name in each.columns]
        if self.labelled:
            wanted += [("label", name) for name in list_columns(self.label)]
            keys = {"split": self.split, "group": self.group, "time": self.time}
            wanted += [(option, name) for option, name in keys.items() if name is not None]
        cells: dict[str, ColumnCells] = {}
        for option, name in wanted:
            found = table.find(name)
            if found is None:
                check_utf8(table.path, table.names, [1] * len(table.names))
                values = {key: getattr(self, key) for key in ("label", "columns")}
                wrong = AbsentColumn(table, option, name, values)
                raise DataError(
                    f"{self.name}: {table.path} has no column '{name}' ({option}); "
                    f"its columns: {list_names(table.names, 40)}",
                    tip=wrong.advise() if self.labelled else wrong.advise_renaming(),
                )
            if name not in cells:
                cells[name] = table.read(found)
        if not len(next(iter(cells.values()))):
            raise DataError(f"{self.name}: {table.path} has no rows")
        return cells

    def _make_columns(
        self, table: OpenTable, cells: dict[str, ColumnCells]
    ) -> tuple[dict[str, Column], list[str]]:
        """Return a column for each input, and notes of files that do not exist."""
        columns: dict[str, Column] = {}
        notes = []
        missing = frozenset(self.missing)
        for name, each in self.inputs.items():
            names, mark = list(each.columns), self.csv.decimal
            given = NamedCells(table, names, cells, missing, self.root, mark)
            columns[name], lost = make_column(MODALITIES[each.modality], given)
            if not lost:
                continue
            # A wrong root loses all files; single lost files are only noted.
            if not columns[name].present.any() and self.labelled:
                self._refuse_lost_files(given.names[0], next(iter(lost.values())))
            count = len(lost) + int(columns[name].present.sum())
            notes.append(f"{name}: {len(lost)} of {count} files do not exist")
        for column in columns.values():
            column.row_names, column.decimal = table.row_names, self.csv.decimal
        if self.labelled and self.unusable == "refuse":  # ``mmx predict`` reports rows one by one
            self._refuse_empty_row(table, columns)
        return columns, notes

    def _refuse_lost_files(self, column: str, first: Path) -> None:
        """Refuse a column of which no file exists."""
        near = find_with_suffix(first)
        tip = type_task_option("root", "<folder that the paths are relative to>")
        raise DataError(
            f"{self.name}: none of the files in column '{column}' exists; "
            f"the first was expected at {shorten(str(first))}"
            + (f", where there is {near.name}" if near else ""),
            tip=f"write the names with {near.suffix}" if near else tip,
        )

    def _refuse_empty_row(self, table: OpenTable, columns: dict[str, Column]) -> None:
        """Refuse the first row that has no input at all, if there is one."""
        none = ~np.any([column.present for column in columns.values()], axis=0)
        if not none.any():
            return
        row = int(none.argmax())
        gone = [
            f"; {shorten(str(path))} does not exist"
            for c in columns.values()
            if (path := c.lost.get(row))
        ]
        raise DataError(
            f"{self.name}: {table.row_names(row)} has no modality at all: "
            f"{', '.join(columns)} {'is' if len(columns) == 1 else 'are'} missing" + "".join(gone),
            tip=type_task_option("unusable", "drop")
            + ", or remove the row (rows count from 1, the header not counted)",
        )

    def _make_blank_values(self, count: int) -> labels.LabelValues:
        """Return placeholder values of rows without known labels."""
        names = tuple(self.classes or ())
        if self.kind == "classes":
            return np.zeros(count, dtype=np.int64), names
        shape = (count, len(names)) if self.kind == "multilabel" else (count,)
        return np.zeros(shape, dtype=np.float32), names

    def _find_labelled(
        self, cells: dict[str, ColumnCells], texts: ColumnTexts, name_row: labels.NameRow
    ) -> tuple[SplitRows, tuple[str, ...]]:
        """Return the rows that have a label, and a note on those that do not."""
        names = list_columns(self.label)
        has = np.all([[text is not None for text in texts[name]] for name in names], axis=0)
        if has.all():
            return np.arange(len(has), dtype=np.int64), ()
        count = int((~has).sum())
        advice = label_texts.advise_missing(
            self.missing, [c for name in names for c in cells[name]]
        )
        if self.kind == "multilabel" and isinstance(self.label, str):
            advice = f"; write [] for a row without labels{advice}"
        if self.unlabelled == "refuse":
            row = int(has.argmin())
            name = next(name for name in names if texts[name][row] is None)
            raise DataError(
                f"{self.name}: {name_row(row)} has no label: '{name}' is {cells[name][row]!r}; "
                f"{count} of {len(has)} rows have none",
                tip=type_task_option("unlabelled", "drop") + advice,
            )
        note = f"{count} of {len(has)} rows have no label and are not used{advice}"
        return np.flatnonzero(has), (note,)

    def _read_splits(
        self, said: list[str | None] | None, rows: SplitRows, name_row: labels.NameRow
    ) -> dict[str, SplitRows]:
        """Return the splits that the table states; without any, all rows are ``train``."""
        if said is None:
            return {"train": rows}
        named = [find_split(said[row] or "") for row in rows.tolist()]
        if None in named:
            row = int(rows[named.index(None)])
            raise DataError(
                f"{self.name}: {name_row(row)}: split column '{self.split}' says "
                f"{said[row]!r}; accepted: {', '.join(SPLITS)}",
                tip=f"write one of these in each row, or cut anew: "
                f"{type_task_option('split', None)}",
            )
        names = np.array(named)
        splits = {name: rows[names == name] for name in ("train", "val", "test")}
        if not len(splits["train"]):
            where = "path" if self.split is None else f"no row of split column '{self.split}'"
            raise DataError(f"{self.name}: {where} says train")
        return {name: part for name, part in splits.items() if len(part)}


def _find_column_types() -> dict[str, type[Column]]:
    """Return modality to the class of its column, for each option that is a modality."""
    found: dict[str, type[Column]] = {}
    for option in dataclasses.fields(Table):
        kind = option.default_factory
        if isinstance(kind, type) and issubclass(kind, Modality):
            found[option.name] = kind.column_type
    return {"text": TextColumn, **found}  # text is read by its encoder, not by the task


MODALITIES = _find_column_types()
"""Modality to the class of its column."""
