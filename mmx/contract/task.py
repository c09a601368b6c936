"""The contract of a task, as checks; see :mod:`mmx.tasks`. It is tried on its own data.

Shape legend: ``N`` rows, ``C`` classes or labels.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmx.contract.base import REPEATED, Broken, Check, Part, Subject, Untested
from mmx.contract.differences import format_rows
from mmx.contract.opened_files import watch_opened
from mmx.contract.options import has_sound_options
from mmx.modalities import Modality, Stored, spec_from_json, spec_to_json
from mmx.modalities.text import Tokens
from mmx.tasks.base import Samples, Task, TaskData

SPLIT_NAMES = ("train", "val", "test")
DECODED_ROWS = 32
"""Rows that are decoded to see that they can be."""
READ, COLUMNS, LABELS, DISJOINT, LOADED = (
    "read",
    "columns",
    "labels",
    "splits disjoint",
    "loaded",
)


@dataclass
class TaskSubject(Subject):
    """A task and what it reads, which is read once.

    Attributes:
        part: The class and its options.
        task: An instance.
    """

    part: Part
    task: Task

    @classmethod
    def of(cls, part: Part) -> TaskSubject:
        """Return a part as the subject of the checks."""
        return cls(part, part.make())

    def try_part(self, part: Part) -> None:
        """Make the class with other options; its data are not read."""
        part.make()

    @cached_property
    def samples(self) -> Samples:
        """What the task reads."""
        return self.task.read()

    @cached_property
    def data(self) -> TaskData:
        """What loading it gives."""
        return self.task.load()

    @property
    def used_rows(self) -> npt.NDArray[Any]:
        """The numbers of the rows that the splits name and that there are."""
        rows = [np.asarray(each, dtype=np.int64) for each in self.samples.splits.values()]
        named = np.concatenate(rows or [np.empty(0, dtype=np.int64)])
        return named[(named >= 0) & (named < len(self.samples.values))]


def gives_samples(subject: TaskSubject) -> str:
    """Check that ``read`` gives samples, and that kind and modalities are known before."""
    task = subject.task
    if task.kind not in ("classes", "multilabel", "regression"):
        raise Broken(f"expected a kind: classes, multilabel or regression; seen {task.kind!r}")
    for name, modality in task.modalities.items():
        if modality is None and name.partition("_")[0] != "text":
            raise Broken(f"expected how {name} is decoded; None is for text alone")
        if modality is not None and not isinstance(modality, Modality):
            raise Broken(f"expected a Modality for {name}; seen a {type(modality).__name__}")
    if not re.fullmatch(r"\w[\w.+-]*", task.name):
        raise Broken(f"expected a name that can be part of a directory's; seen {task.name!r}")
    samples = subject.samples
    if not isinstance(samples, Samples):
        raise Broken(f"expected Samples of read; seen {type(samples).__name__}")
    return f"{len(samples.values)} rows with {', '.join(sorted(samples.columns))}"


def columns_are_whole(subject: TaskSubject) -> str:
    """Check that every modality has a column, as long as the labels, and every row something."""
    samples, count = subject.samples, len(subject.samples.values)
    if samples.columns.keys() != subject.task.modalities.keys():
        raise Broken(
            f"expected a column for each of {', '.join(sorted(subject.task.modalities))}; "
            f"seen {', '.join(sorted(samples.columns))}"
        )
    for name, column in samples.columns.items():
        if len(column) != count:
            raise Broken(f"expected {count} rows of {name}, as of the labels; seen {len(column)}")
        if column.present.dtype != np.bool_:
            raise Broken(f"expected present of {name} as bool; seen {column.present.dtype}")
    there = np.any([column.present for column in samples.columns.values()], axis=0)
    if empty := [int(row) for row in subject.used_rows if not there[row]]:
        raise Broken(
            f"expected some modality in each row of the splits; rows {format_rows(empty)} have none"
        )
    parts = [f"{name} {int(column.present.sum())}" for name, column in samples.columns.items()]
    return f"of {count} rows, present in {', '.join(parts)}"


def labels_are_sound(subject: TaskSubject) -> str:
    """Check dtype, shape and range of the labels."""
    kind, samples = subject.task.kind, subject.samples
    if kind == "regression":
        return _numbers_are_sound(samples.values, subject.used_rows)
    if len(set(samples.classes)) != len(samples.classes) or not samples.classes:
        raise Broken(f"expected the names of classes, each once; seen {samples.classes!r}")
    count = len(samples.classes)
    if kind == "multilabel":
        return _marks_are_sound(samples.values, count)
    return _indices_are_sound(samples.values, count, subject.used_rows)


def _numbers_are_sound(values: npt.NDArray[Any], used: npt.NDArray[Any]) -> str:
    """Check the labels of a regression."""
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.floating):
        raise Broken(f"expected (N,) numbers; seen {values.dtype} {values.shape}")
    if wrong := [int(row) for row in used if not np.isfinite(values[row])]:
        raise Broken(f"expected finite labels; those of rows {format_rows(wrong)} are not")
    return "finite numbers"


def _marks_are_sound(values: npt.NDArray[Any], count: int) -> str:
    """Check labels of which a row may have any number."""
    if values.shape != (len(values), count) or not np.isin(values, (0, 1)).all():
        raise Broken(f"expected (N, {count}) zeros and ones; seen {values.shape}")
    return f"{count} labels"


def _indices_are_sound(values: npt.NDArray[Any], count: int, used: npt.NDArray[Any]) -> str:
    """Check the labels of classes."""
    if values.ndim != 1 or values.dtype != np.int64:
        raise Broken(f"expected (N,) int64 class indices; seen {values.dtype} {values.shape}")
    if wrong := [int(row) for row in used if not 0 <= values[row] < count]:
        raise Broken(
            f"expected class indices from 0 to {count - 1}; rows {format_rows(wrong)} have "
            f"{', '.join(str(values[row]) for row in wrong[:6])}"
        )
    return f"{count} classes"


def splits_are_disjoint(subject: TaskSubject) -> str:
    """Check that splits name rows that exist, each once, and in one split only."""
    splits, count = subject.samples.splits, len(subject.samples.values)
    if unknown := sorted(splits.keys() - set(SPLIT_NAMES)):
        raise Broken(f"expected splits of the names {', '.join(SPLIT_NAMES)}; seen {unknown[0]}")
    if "train" not in splits and set(splits) != {"test"}:
        raise Broken(f"expected train, or test alone; seen {', '.join(sorted(splits)) or 'none'}")
    for name, rows in splits.items():
        if not np.issubdtype(np.asarray(rows).dtype, np.integer):
            raise Broken(f"expected row numbers of {name}; seen {np.asarray(rows).dtype}")
        if beyond := [int(row) for row in rows if not 0 <= row < count]:
            raise Broken(f"expected rows below {count} in {name}; seen {format_rows(beyond)}")
        numbers, times = np.unique(rows, return_counts=True)
        if (times > 1).any():
            raise Broken(
                f"expected each row of {name} once; {format_rows(list(numbers[times > 1]))}"
            )
    for one, other in itertools.combinations(splits, 2):
        if len(both := np.intersect1d(splits[one], splits[other])):
            raise Broken(
                f"expected no row in two splits; {one} and {other} share {len(both)}: "
                f"{format_rows([int(row) for row in both])}"
            )
    return ", ".join(f"{name} {len(rows)}" for name, rows in splits.items())


def is_loaded(subject: TaskSubject) -> str:
    """Check that it loads as it says: kind, and a validation split cut where none is given."""
    data, task = subject.data, subject.task
    if data.target.kind != task.kind:
        raise Broken(f"expected a target of kind {task.kind}; seen {data.target.kind}")
    if task.classes is not None and data.target.classes != tuple(task.classes):
        raise Broken(f"expected the classes {task.classes}; seen {list(data.target.classes)}")
    return ", ".join(f"{name} {len(rows)}" for name, rows in data.splits.items())


def is_read_the_same_again(subject: TaskSubject) -> str:
    """Check that reading it again gives the same rows, splits and fingerprint."""
    one, other = subject.data, subject.part.make().load()
    for name, rows in one.splits.items():
        if not np.array_equal(rows, other.splits[name]):
            raise Broken(f"expected the same splits when it is read again; {name} differs")
    if not torch.equal(one.values, other.values):
        raise Broken("expected the same labels when it is read again; they differ")
    if one.fingerprint != other.fingerprint:
        raise Broken(
            "expected the same fingerprint when it is read again, and splits and labels are the "
            "same; a column's digest differs"
        )
    return f"fingerprint {one.fingerprint[:12]}"


def fingerprint_is_of_the_content(subject: TaskSubject) -> str:
    """Check that the fingerprint does not change when the data lies elsewhere."""
    paths = {
        name: Path(value).absolute()
        for name, value in subject.part.options.items()
        if isinstance(value, (str, Path)) and name in ("path", "root", "data_dir", "folder")
        if Path(value).exists()
    }
    if not paths:
        raise Untested("no option path, root, data_dir or folder says where the data lies")
    with tempfile.TemporaryDirectory() as folder:
        moved = {name: _elsewhere(Path(folder) / name, path) for name, path in paths.items()}
        options = {n: type(subject.part.options[n])(str(path)) for n, path in moved.items()}
        part = dataclasses.replace(subject.part, options={**subject.part.options, **options})
        found = part.make().load().fingerprint
    if found != subject.data.fingerprint:
        raise Broken(
            "expected a fingerprint of the content, whatever its path; "
            f"through another path to the same {', '.join(paths)} it differs"
        )
    return f"the same through another {', '.join(paths)}"


def read_files_are_listed(subject: TaskSubject) -> str:
    """Check that ``list_files`` names every file that is read, so that none changes unnoticed."""
    if "list_files" not in vars(type(subject.task)):
        raise Untested("no list_files of its own: each run opens the data")
    task = subject.part.make()
    with watch_opened() as opened:
        data = task.load()
    listed = task.list_files(data)
    if listed is None:
        raise Untested("list_files returns None: each run opens the data")
    known = {Path(path).resolve() for path in listed}
    if unknown := [path for path in opened if path not in known]:
        raise Broken(
            f"expected list_files to name each file that is read; {unknown[0]} is read, and not "
            f"among its {len(known)}, so that a sweep would not see it change"
        )
    return f"{len(opened)} of {len(known)} files were seen being read, and all of them are listed"


def _elsewhere(link: Path, path: Path) -> Path:
    """Return another path to the same file or folder."""
    link.symlink_to(path.parent, target_is_directory=True)
    return link / path.name


def rows_can_be_decoded(subject: TaskSubject) -> str:
    """Check that each modality learns its spec from training rows and decodes some."""
    data = subject.data
    train = data.splits["train"] if len(data.splits["train"]) else data.splits["test"]
    for name, column in data.columns.items():
        modality: Modality[Any, Any] = subject.task.modalities[name] or Tokens()
        here = train[column.present[train]][:DECODED_ROWS]
        if not len(here):
            raise Untested(f"no training row has {name}")
        spec = modality.fit(column, here)
        if spec_from_json(spec_to_json(spec)) != spec:
            raise Broken(f"expected the spec of {name} to go to JSON and back; it changes")
        rows = train[:DECODED_ROWS]
        stored = modality.encode(column, rows, spec)
        if not isinstance(stored, Stored) or len(stored.values) != len(rows):
            raise Broken(f"expected {len(rows)} rows of {name} decoded")
        if not modality.prepare(stored, spec).isfinite().all():
            raise Broken(f"expected finite inputs of {name}; some are not")
    return f"{min(DECODED_ROWS, len(train))} training rows of {', '.join(sorted(data.columns))}"


CHECKS: tuple[Check[TaskSubject], ...] = (
    Check(READ, gives_samples),
    Check(COLUMNS, columns_are_whole, (READ,)),
    Check(LABELS, labels_are_sound, (READ,)),
    Check(DISJOINT, splits_are_disjoint, (READ,)),
    Check(LOADED, is_loaded, (COLUMNS, LABELS, DISJOINT)),
    Check(REPEATED, is_read_the_same_again, (LOADED,)),
    Check("fingerprint of content", fingerprint_is_of_the_content, (LOADED, REPEATED)),
    Check("files listed", read_files_are_listed, (LOADED,)),
    Check("decoded", rows_can_be_decoded, (LOADED,)),
    Check("options", has_sound_options),
)
