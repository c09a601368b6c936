"""A task that breaks one promise is caught by the check of that promise, and by no other."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmx.contract import Part, check_part
from mmx.contract.opened_files import watch_opened
from mmx.modalities import Modality
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.tasks.base import Samples, Task, TaskData
from mmx.verbs.check import refuse

N = 24


@dataclass(kw_only=True, eq=False)
class Good(Task):
    """Numbers in memory."""

    name: str = "numbers"

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        return {"tabular": Tabular()}

    def cells(self) -> list[str | None]:
        return [str(row) for row in range(N)]

    def values(self) -> np.ndarray:
        return np.arange(N, dtype=np.int64) % 2

    def splits(self) -> dict[str, np.ndarray]:
        return {"train": np.arange(16), "val": np.arange(16, 20), "test": np.arange(20, N)}

    def read(self) -> Samples:
        column = TabularColumn({"a": self.cells()})
        return Samples({"tabular": column}, self.values(), ("even", "odd"), self.splits())


class Overlap(Good):
    def splits(self) -> dict[str, np.ndarray]:
        return {**super().splits(), "val": np.arange(14, 20)}


class Twice(Good):
    def splits(self) -> dict[str, np.ndarray]:
        return {**super().splits(), "test": np.array([20, 21, 21])}


class Beyond(Good):
    def splits(self) -> dict[str, np.ndarray]:
        return {**super().splits(), "test": np.array([20, N])}


class Unnamed(Good):
    def splits(self) -> dict[str, np.ndarray]:
        return {**super().splits(), "valid": np.array([20])}


class ShortColumn(Good):
    def cells(self) -> list[str | None]:
        return super().cells()[:-1]


class EmptyRows(Good):
    def cells(self) -> list[str | None]:
        return [None, None, *super().cells()[2:]]


class WrongLabel(Good):
    def values(self) -> np.ndarray:
        return np.where(np.arange(N) == 3, 2, super().values())


class FloatLabels(Good):
    def values(self) -> np.ndarray:
        return super().values().astype(np.float64)


class OtherColumns(Good):
    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        return {"tabular": Tabular(), "text": None}


class Undecoded(Good):
    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        return {"tabular": None}


CALLS = itertools.count()


class Shuffled(Good):
    def splits(self) -> dict[str, np.ndarray]:
        rows = np.roll(np.arange(N), next(CALLS))
        return {"train": rows[:16], "val": rows[16:20], "test": rows[20:]}


class ShiftingDigest(TabularColumn):
    def digest(self, row: int) -> bytes:
        return super().digest(row) + str(next(CALLS)).encode()


class Shifting(Good):
    def read(self) -> Samples:
        column = ShiftingDigest({"a": self.cells()})
        return Samples({"tabular": column}, self.values(), ("even", "odd"), self.splits())


class Raises(Good):
    def read(self) -> Samples:
        raise FileNotFoundError("no numbers.csv")


CAUGHT = {
    Overlap: "splits disjoint",
    Twice: "splits disjoint",
    Beyond: "splits disjoint",
    Unnamed: "splits disjoint",
    ShortColumn: "columns",
    EmptyRows: "columns",
    OtherColumns: "columns",
    WrongLabel: "labels",
    FloatLabels: "labels",
    Undecoded: "read",
    Raises: "read",
    Shuffled: "the same again",
    Shifting: "the same again",
}


def failed(kind: type[Task], **options: object) -> dict[str, str]:
    results = check_part(Part(kind, options, refuse))
    return {each.name: each.said for each in results if each.state == "failed"}


def test_a_good_one() -> None:
    assert failed(Good) == {}


@pytest.mark.parametrize(("kind", "promise"), CAUGHT.items(), ids=lambda each: str(each))
def test_each_is_caught_by_its_own_check(kind: type[Task], promise: str) -> None:
    assert list(failed(kind)) == [promise]


def test_rows_are_named() -> None:
    assert failed(Overlap) == {
        "splits disjoint": "expected no row in two splits; train and val share 2: 14, 15"
    }
    assert failed(WrongLabel) == {
        "labels": "expected class indices from 0 to 1; rows 3 have 2",
    }
    assert failed(ShortColumn) == {
        "columns": "expected 24 rows of tabular, as of the labels; seen 23"
    }


class PathDigest(TabularColumn):
    path = ""

    def digest(self, row: int) -> bytes:
        return super().digest(row) + self.path.encode()


@dataclass(kw_only=True, eq=False)
class Filed(Good):
    """Numbers of a file."""

    path: str

    def read(self) -> Samples:
        column = TabularColumn({"a": Path(self.path).read_text().split()})
        return Samples({"tabular": column}, self.values(), ("even", "odd"), self.splits())


@dataclass(kw_only=True, eq=False)
class ByPath(Filed):
    def read(self) -> Samples:
        found = super().read()
        column = PathDigest(found.columns["tabular"].columns)  # type: ignore[attr-defined]
        column.path = self.path
        return Samples({"tabular": column}, found.values, found.classes, found.splits)


def test_a_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_text(" ".join(str(row) for row in range(N)))
    assert failed(Filed, path=str(path)) == {}
    assert failed(ByPath, path=str(path)) == {
        "fingerprint of content": "expected a fingerprint of the content, whatever its path; "
        "through another path to the same path it differs"
    }


@dataclass(kw_only=True, eq=False)
class Listed(Filed):
    """Names the file that it reads."""

    def list_files(self, data: TaskData) -> list[Path] | None:
        return [Path(self.path)]


@dataclass(kw_only=True, eq=False)
class Forgetful(Filed):
    """Reads the names of its classes from a second file, and does not name it."""

    def read(self) -> Samples:
        found = super().read()
        with Path(self.path).with_name("classes.txt").open() as file:
            return Samples(found.columns, found.values, tuple(file.read().split()), found.splits)

    def list_files(self, data: TaskData) -> list[Path] | None:
        return [Path(self.path)]


def said(kind: type[Task], name: str, **options: object) -> tuple[str, str]:
    results = check_part(Part(kind, options, refuse))
    return next((each.state, each.said) for each in results if each.name == name)


def test_every_file_that_is_read_is_listed(tmp_path: Path) -> None:
    path, other = tmp_path / "numbers.txt", tmp_path / "classes.txt"
    path.write_text(" ".join(str(row) for row in range(N)))
    other.write_text("even odd")
    assert said(Listed, "files listed", path=str(path)) == (
        "passed",
        "1 of 1 files were seen being read, and all of them are listed",
    )
    assert failed(Forgetful, path=str(path)) == {
        "files listed": f"expected list_files to name each file that is read; {other} is read, and "
        "not among its 1, so that a sweep would not see it change"
    }
    assert said(Filed, "files listed", path=str(path)) == (
        "skipped",
        "no list_files of its own: each run opens the data",
    )


def test_files_that_are_written_and_code_are_not_read(tmp_path: Path) -> None:
    read, written, code = (tmp_path / name for name in ("a.txt", "b.txt", "c.py"))
    read.write_text("a")
    code.write_text("c")
    with watch_opened() as opened:
        read.read_text()
        written.write_text("b")
        written.read_text()
        code.read_text()
        Path(random.__file__).read_text()
        assert opened == []
    read.read_text()
    assert opened == [read.resolve()]
