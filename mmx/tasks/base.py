"""The contract of every task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from mmx.errors import DataError, closest
from mmx.modalities import Modality
from mmx.tasks import contract, remarks
from mmx.tasks import data_fingerprint as fingerprints
from mmx.tasks import splits as splitting
from mmx.tasks.advice import type_task_option
from mmx.tasks.contents import Kind, Samples, Target, TaskData
from mmx.tasks.cutting import Cuts, cut_splits, make_strata
from mmx.tasks.folds import Fold, FoldPool
from mmx.tasks.labels import measure_moments
from mmx.tasks.set_facts import SetFacts

if TYPE_CHECKING:
    from mmx.tasks.table_parts import TableParts  # imports pyarrow

__all__ = [
    "CutTask",
    "Kind",
    "Samples",
    "Share",
    "Target",
    "Task",
    "TaskData",
    "cut_test",
    "list_names",
    "type_task_option",
]

Share = Annotated[float, Field(gt=0, lt=1)]
RowCount = Annotated[int, Field(ge=1, le=10**10)]


@dataclass(kw_only=True, eq=False)
class Task(ABC):
    """Base of all tasks. A subclass implements :meth:`read`; splitting is done here.

    Write a task for data that ``table`` and ``image_folder`` cannot read, such as a data set
    with its own format.

    ``test`` is the test split of the data. ``val`` is its validation split or, without one, is
    cut from the training rows of each class with ``split_seed``. Then at most one of
    ``limit``, ``fraction`` and ``per_class`` keeps some of the training rows. ``val`` is
    reduced to at most as many rows as ``train``, so that selection never uses more labels than
    training.

    With ``folds``, the rows are divided into that many parts instead, and ``test`` is part
    ``fold``; ``val`` is cut from the others. The parts do not depend on ``split_seed``.

    Example:
        >>> from mmx.modalities.tabular import Tabular, TabularColumn
        >>> @dataclass(kw_only=True, eq=False)
        ... class Parity(Task):
        ...     @property
        ...     def modalities(self):
        ...         return {"tabular": Tabular()}
        ...
        ...     def read(self):
        ...         numbers = np.arange(40)
        ...         columns = {"tabular": TabularColumn({"number": numbers.tolist()})}
        ...         labels = numbers % 2
        ...         return Samples(columns, labels, ("even", "odd"), cut_test(labels, 0.25))
        >>> data = Parity(name="parity", per_class=5).load()
        >>> {split: len(rows) for split, rows in data.splits.items()}
        {'train': 10, 'val': 3, 'test': 10}

    Args:
        name: Name in reports and in the names of runs.
        val_fraction: Share of the training rows for ``val``, if the data has no ``val``.
        split_seed: Seed of the draws of ``val`` and of the kept training rows; ``test`` does
            not depend on it.
        classes: Use only these classes, in this order; None: all.
        limit: Number of training rows to keep, with the share of each class; all rows are kept
            if there are fewer.
        fraction: Share of the training rows to keep.
        per_class: Number of training rows to keep of each class.
        folds: Number of folds of a cross-validation, with the share of each class in each, and
            with groups whole where the data has them; None: no cross-validation.
        fold: The fold that is tested, from 1; ``mmx train`` runs all of them where it is None.
        repeat: Which partition into folds, from 1; None: the first.
        repeats: On a command line: number of partitions to run.
        pool: Rows that are divided into folds where the data has a test split of its own:
            ``train`` leaves its test rows out, ``all`` divides them too; None: refused.

    Raises:
        ValueError: Two of ``limit``, ``fraction`` and ``per_class`` are set, an option
            does not fit the kind of target, or options of folds contradict each other.
    """

    facts: ClassVar[SetFacts | None] = None
    """What is known of a public set before it is opened; None for data of one's own."""

    name: str
    val_fraction: Share = 0.1
    split_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    classes: list[str] | None = None
    limit: RowCount | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    per_class: RowCount | None = None
    folds: Annotated[int, Field(ge=2, le=10**6)] | None = None
    fold: Annotated[int, Field(ge=1, le=10**6)] | None = None
    repeat: Annotated[int, Field(ge=1, le=10**4)] | None = None
    repeats: Annotated[int, Field(ge=1, le=10**4)] | None = None
    pool: FoldPool | None = None

    def __post_init__(self) -> None:
        few = [key for key in ("limit", "fraction", "per_class") if getattr(self, key) is not None]
        if len(few) > 1:
            given = " and ".join(f"`{key}` (={getattr(self, key)})" for key in few)
            raise ValueError(f"{given} are set; set at most one of limit, fraction, per_class")
        if self.per_class is not None and self.kind != "classes":
            raise ValueError(f"`per_class` (={self.per_class}) needs classes, not {self.kind}")
        if self.classes is not None and self.kind == "regression":
            raise ValueError(f"`classes` (={self.classes}) cannot be used with regression")
        if self.classes is not None and len(set(self.classes)) < max(1, len(self.classes)):
            raise ValueError(f"`classes` (={self.classes}) must name each class once")
        self._check_folds()

    def _check_folds(self) -> None:
        """Raise ValueError for options of folds that do not say which rows are tested."""
        if self.folds is None:
            for key in ("fold", "repeat", "repeats", "pool"):
                if (value := getattr(self, key)) is not None:
                    raise ValueError(f"`{key}` (={value}) needs `folds`, such as folds=5")
            return
        if self.repeats is not None:
            raise ValueError(
                f"`repeats` (={self.repeats}) stands for several runs; one run has `repeat`, from "
                "1 (mmx train target.folds=… target.repeats=… runs them all)"
            )
        if self.fold is None:
            raise ValueError(
                f"`folds` (={self.folds}) stands for {self.folds} runs; one run has `fold` too, 1 "
                f"to {self.folds} (mmx train target.folds={self.folds} runs them all)"
            )
        if self.fold > self.folds:
            raise ValueError(f"`fold` (={self.fold}) must be at most `folds` (={self.folds})")

    @property
    def tested_fold(self) -> Fold | None:
        """The fold that is tested; None without cross-validation."""
        if self.folds is None or self.fold is None:
            return None
        return Fold(self.fold, self.folds, self.repeat or 1, self.pool)

    @property
    def share_of_test(self) -> float | None:
        """Share of the rows cut off as ``test`` where the data has none; None: it must have it."""
        return None

    @property
    def type_anew(self) -> str | None:
        """What to type to have splits of the data cut anew; None: there is no such option."""
        return None

    @property
    def kind(self) -> Kind:
        """The kind of target, known before the data is opened."""
        return "classes"

    @property
    @abstractmethod
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """Modality to the object that decodes its values.

        Text maps to None, since the text encoder determines its vectoriser.
        """

    @abstractmethod
    def read(self) -> Samples:
        """Read labels and find files, without decoding them.

        Raises:
            DataError: The data is absent (the tip says how to get it), or a row is unusable.
        """

    def with_path(self, path: str) -> "Task | None":
        """Return the same task on another file of rows to predict, all of them in ``test``.

        None for a task that does not read its rows from one file.
        """
        return None

    def open_parts(self, path: str, kept: Sequence[str] = ()) -> "TableParts | None":
        """Return another file's rows to predict, read in parts; None where that cannot be done.

        Args:
            path: The file.
            kept: Columns to carry over.

        Raises:
            DataError: The file is damaged.
        """
        return None

    def read_texts(self, names: Sequence[str]) -> dict[str, list[str]] | None:
        """Return the cells of any columns of the file as text; None for a task without columns.

        Args:
            names: Of columns; the task may not read them otherwise.

        Raises:
            DataError: There is no such column.
        """
        return None

    reads_alike: ClassVar[bool] = False
    """Whether :meth:`read` returns the same rows for every ``split_seed``, and so is called once
    for all seeds of a sweep. It is asked of a class that defines it, as :meth:`list_files` is."""

    def list_files(self, data: TaskData) -> Sequence[Path] | None:
        """Return all files on which opened data depends; None where that is not known.

        Where it is, the runs of a sweep open the data once, until one of the files changes. It is
        asked of a class that defines it, since a subclass may read further files.

        Args:
            data: As :meth:`load` returned it.
        """
        return None

    def load(self) -> TaskData:
        """Open the data.

        Raises:
            DataError: The data is absent (the tip says how to get it), or a row is unusable.
        """
        return self.divide(self.read())

    def divide(self, samples: Samples) -> TaskData:
        """Return what was read as opened data, with its splits. Raises what :meth:`load` raises.

        Args:
            samples: As :meth:`read` returned them; they are not changed.
        """
        samples = contract.check_samples(self.name, self.kind, self.modalities, samples)
        given = samples.splits
        cuts = Cuts(
            self.name,
            self.share_of_test,
            self.val_fraction,
            self.split_seed,
            self.tested_fold,
            self.type_anew,
        )
        if cuts.fold is None:
            samples, cut_notes = cut_splits(samples, cuts)
            samples = self._select_classes(samples)
        else:  # folds have the share of each class that is used
            samples, cut_notes = cut_splits(self._select_classes(samples), cuts)
        splits = self._keep_few(samples)
        if "train" in given:  # rows to predict have only ``test``
            self._check_splits(splits, samples.classes)
        first = next(iter(samples.columns.values()))
        values, target = self._make_target(samples, splits)
        contents = _digest_used_rows(samples, np.concatenate(list(splits.values())))
        meaning = [target.kind, list(target.classes)]
        notes = [*samples.notes, *cut_notes, *remarks.note_missing(samples.columns, splits)]
        if "train" in given:
            notes += remarks.note_labels(values, target, splits)
            notes += remarks.note_repeats(contents, values, splits, first.name_row)
        return TaskData(
            name=self.name,
            columns=samples.columns,
            values=torch.from_numpy(values),
            target=target,
            splits=splits,
            fingerprint=fingerprints.digest_task(contents, values, splits, meaning),
            digests={name: fingerprints.shorten_digests(rows) for name, rows in contents.items()},
            notes=tuple(notes),
            column_uses=samples.column_uses,
            origin=samples.origin,
        )

    def _check_splits(
        self, splits: dict[str, splitting.SplitRows], classes: Sequence[str] | None
    ) -> None:
        count = sum(map(len, splits.values()))
        for name, rows in splits.items():
            if not len(rows):
                told = f"; its {count:,} rows have {len(classes):,} classes" if classes else ""
                raise DataError(
                    f"{self.name}: the {name} split has no rows{told}",
                    tip="a split can only be cut from classes with at least two rows",
                )

    def _select_classes(self, samples: Samples) -> Samples:
        """Keep the chosen classes, renumbered in the order of ``classes``."""
        if self.classes is None or not samples.classes:
            return samples
        for name in self.classes:
            if name not in samples.classes:
                near = closest(name, samples.classes)
                # What to type: the closest class in its place, or all others.
                meant = [near if each == name else each for each in self.classes]
                left = [each for each in meant if each in samples.classes]
                raise DataError(
                    f"{self.name} has no class '{name}'; it has {list_names(samples.classes)}",
                    tip=type_task_option("classes", list(dict.fromkeys(left)) or None),
                )
        chosen = np.array([samples.classes.index(name) for name in self.classes])
        if self.kind == "multilabel":
            values, splits = samples.values[:, chosen], samples.splits
        else:
            new = np.full(len(samples.classes), -1)  # old index to new; -1 leaves the rows out
            new[chosen] = np.arange(len(chosen))
            values = new[samples.values]
            splits = {name: rows[values[rows] >= 0] for name, rows in samples.splits.items()}
            values = np.maximum(values, 0)  # rows in no split get 0, as everywhere
        return replace(samples, values=values, classes=tuple(self.classes), splits=splits)

    def _keep_few(self, samples: Samples) -> dict[str, splitting.SplitRows]:
        """Keep ``limit``, ``fraction`` or ``per_class`` of the training rows."""
        splits = dict(samples.splits)
        train, val = splits["train"], splits["val"]
        if not len(train):
            return splits
        labels, seed = make_strata(samples.values), self.split_seed
        # Draws are nested in the number of rows, so that few-shot runs of one seed compare.
        if self.per_class is not None:
            train = splitting.draw_per_class(
                train, labels[train], self.per_class, seed=seed, names=samples.classes
            )
        elif self.limit is not None:
            train = splitting.draw_stratified(train, labels[train], self.limit, seed=seed)
        elif self.fraction is not None:
            total = max(1, round(self.fraction * len(train)))
            train = splitting.draw_stratified(train, labels[train], total, seed=seed)
        # A model chosen on more labels than it was trained on would not be a few-shot model.
        if len(train) < len(splits["train"]):
            val = splitting.draw_stratified(
                val, labels[val], len(train), seed=seed, purpose="cap", every_class=False
            )
        return {"train": train, "val": val, "test": splits["test"]}

    def _make_target(
        self, samples: Samples, splits: dict[str, splitting.SplitRows]
    ) -> tuple[npt.NDArray[Any], Target]:
        """Return the values, with zeros for rows in no split, and their meaning."""
        used = np.concatenate(list(splits.values()))
        # Labels of rows in no split must not reach anything, not even by mistake.
        values = np.zeros_like(samples.values)
        values[used] = samples.values[used]
        train = splits["train"]
        if self.kind == "regression":
            name_row = next(iter(samples.columns.values())).name_row
            mean, std = (
                measure_moments(values, train, used, self.name, name_row)
                if len(train)
                else (0.0, 1.0)
            )
            return values, Target("regression", mean=mean, std=std)
        if self.kind == "classes" and len(train):
            for index, name in enumerate(samples.classes):
                if not (values[train] == index).any():
                    raise DataError(
                        f"{self.name}: class '{name}' has no training row",
                        tip=type_task_option("classes", [c for c in samples.classes if c != name])
                        + ", or add rows",
                    )
        return values, Target(self.kind, samples.classes)


@dataclass(kw_only=True, eq=False)
class CutTask(Task):
    """Base of tasks with data that may have no test split: ``test`` is cut from ``train`` then.

    Args:
        test_fraction: Share of the rows in ``test`` if the data has no such split, the same rows
            for every seed.
    """

    test_fraction: Share = 0.2

    @property
    def share_of_test(self) -> float | None:
        """The share that is cut off."""
        return self.test_fraction


def cut_test(
    values: npt.NDArray[Any], fraction: float, rows: splitting.SplitRows | None = None
) -> dict[str, splitting.SplitRows]:
    """Return ``train`` and ``test`` for data without a test split.

    The draw does not depend on any of the user's seeds, so the test rows are always the same.
    They count as the data's own test split; those of a :class:`CutTask` do not, so that folds can
    be cut from all rows.

    Args:
        values: Targets of all N rows, as in :class:`Samples`.
        fraction: Share of the rows for ``test``.
        rows: The rows to divide; None: all.
    """
    rows = np.arange(len(values)) if rows is None else rows
    train, test = splitting.cut(
        rows, make_strata(values)[rows], fraction, seed=splitting.TEST_SEED, purpose="test"
    )
    return {"train": train, "test": test}


def _digest_used_rows(
    samples: Samples, used: splitting.SplitRows
) -> dict[str, npt.NDArray[np.uint8]]:
    """Return a digest of each row by modality; zeros for rows in no split.

    Those are not read: they may be unreadable, and they change nothing.
    """
    found: dict[str, npt.NDArray[np.uint8]] = {}
    for modality, column in samples.columns.items():
        rows = np.zeros((len(column), fingerprints.BYTES), dtype=np.uint8)
        rows[used] = fingerprints.digest_rows(column, used)
        found[modality] = rows
    return found


def list_names(names: tuple[str, ...] | list[str], most: int = 12) -> str:
    """Return names for a message, at most ``most`` of them."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
