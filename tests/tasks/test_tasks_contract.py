"""What a task of one's own may get wrong: each is refused by the row, the value or the length."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from mmx.errors import DataError
from mmx.modalities.text import TextColumn
from mmx.tasks import Samples, Task

SPLITS = {"train": range(12), "val": range(12, 16), "test": range(16, 20)}


@dataclass(kw_only=True, eq=False)
class Own(Task):
    """20 texts; the labels are 0 and 1 in turn."""

    texts: int = 20
    values: Any = field(default_factory=lambda: np.arange(20) % 2)
    names: tuple[str, ...] = ("a", "b")
    splits: Any = field(default_factory=lambda: dict(SPLITS))
    what: str = "classes"
    said: str = "text"

    @property
    def kind(self):
        return self.what

    @property
    def modalities(self):
        return {self.said: None}

    def read(self) -> Samples:
        texts = TextColumn([f"text {i}" for i in range(self.texts)])
        return Samples({"text": texts}, self.values, self.names, self.splits)


def own(**options: Any) -> Own:
    return Own(name="own", **options)


def changed(row: int, value: Any, dtype: Any = None) -> np.ndarray:
    values = (np.arange(20) % 2).astype(dtype or np.int64)
    values[row] = value
    return values


def several(row: int, column: int, value: float) -> np.ndarray:
    values = np.stack([np.arange(20) % 2, np.arange(20) % 3 == 0], axis=1).astype(float)
    values[row, column] = value
    return values


REFUSED = {
    "overlap": (
        {"splits": {**SPLITS, "test": [3, 16, 7]}},
        "own: splits train and test share rows 3, 7\n"
        "  tip: a row of Samples.splits belongs to one split alone",
    ),
    "overlap of one row": (
        {"splits": {**SPLITS, "val": range(11, 16)}},
        "own: splits train and val share row 11\n"
        "  tip: a row of Samples.splits belongs to one split alone",
    ),
    "overlap of many rows": (
        {"splits": {**SPLITS, "test": range(20)}},
        "own: splits train and test share rows 0, 1, 2, 3, 4 and 7 more\n"
        "  tip: a row of Samples.splits belongs to one split alone",
    ),
    "twice in a split": (
        {"splits": {**SPLITS, "test": [16, 17, 16]}},
        "own: split test has row 16 more than once",
    ),
    "row that is not there": (
        {"splits": {**SPLITS, "test": range(16, 21)}},
        "own: split test has row 20; there are 20 rows, 0 to 19",
    ),
    "row from behind": (
        {"splits": {**SPLITS, "test": [-1]}},
        "own: split test has row -1; there are 20 rows, 0 to 19",
    ),
    "mask": (
        {"splits": {**SPLITS, "test": np.arange(20) > 15}},
        "own: split test is of dtype bool and shape (20,); row numbers are whole numbers in one "
        "dimension\n  tip: np.flatnonzero(mask) turns a mask into row numbers",
    ),
    "name of a split": (
        {"splits": {"train": range(12), "vals": range(12, 20)}},
        "own: there is no split 'vals'; accepted: train, val, test; closest: val",
    ),
    "length": (
        {"texts": 19},
        "own: the text column has 19 rows, and there are 20 labels\n"
        "  tip: Samples.values has one label for each row of every column",
    ),
    "no such column": (
        {"said": "image"},
        "own: it says that it has image, and read no such column; it read text",
    ),
    "beyond the classes": (
        {"values": changed(13, 2)},
        "own: row 13 (from 0) has the label 2, which is no class: there are 2 classes, 0 to 1; "
        "1 of 20 rows have such a label",
    ),
    "negative": (
        {"values": changed(5, -1)},
        "own: row 5 (from 0) has the label -1, which is no class: there are 2 classes, 0 to 1; "
        "1 of 20 rows have such a label",
    ),
    "NaN": (
        {"values": changed(5, np.nan, float)},
        "own: row 5 (from 0) has the label nan, which is no index of a class; "
        "1 of 20 rows have such a label",
    ),
    "half": (
        {"values": changed(5, 0.5, float)},
        "own: row 5 (from 0) has the label 0.5, which is no index of a class; "
        "1 of 20 rows have such a label",
    ),
    "words": (
        {"values": np.array(["a", "b"] * 10)},
        "own: Samples.values is of dtype <U1 and shape (20,); it must hold numbers, "
        "of shape (rows,)",
    ),
    "one-hot": (
        {"values": np.eye(2)[np.arange(20) % 2]},
        "own: Samples.values is of dtype float64 and shape (20, 2); it must hold numbers, "
        "of shape (rows,)",
    ),
    "class twice": (
        {"names": ("a", "a")},
        "own: Samples.classes names 'a' twice",
    ),
    "number that is none": (
        {"what": "regression", "names": (), "values": changed(4, np.inf, float)},
        "own: row 4 (from 0) has the label inf, which is not a finite number; "
        "1 of 20 rows have such a label",
    ),
    "part of a label": (
        {"what": "multilabel", "values": several(6, 1, 0.3)},
        "own: row 6 (from 0) has the label 0.3, which is neither 0 nor 1; "
        "1 of 20 rows have such a label",
    ),
    "label without a name": (
        {"what": "multilabel", "values": several(6, 1, 1), "names": ("a", "b", "c")},
        "own: the labels have 2 columns, and there are 3 names in Samples.classes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_the_task_says_is_refused_by_name(case: str) -> None:
    options, text = REFUSED[case]
    with pytest.raises(DataError, match=f"^{re.escape(text)}$"):
        own(**options).load()


def test_labels_of_any_dtype_that_holds_them_are_the_same() -> None:
    plain = own().load()
    for dtype in (np.int8, np.uint64, np.int32, bool, np.float32, np.float64):
        data = own(values=(np.arange(20) % 2).astype(dtype)).load()
        assert data.values.tolist() == plain.values.tolist()
        assert data.fingerprint == plain.fingerprint
    numbers = [
        own(what="regression", names=(), values=np.arange(20).astype(dtype)).load()
        for dtype in (np.float32, np.float64, np.int64)
    ]
    assert len({data.fingerprint for data in numbers}) == 1


def test_rows_in_no_split_may_hold_anything() -> None:
    splits = {"train": range(12), "val": range(12, 16), "test": range(17, 20)}
    values = changed(16, np.nan, float)
    data = own(values=values, splits=splits).load()
    assert data.values.tolist() == [float(i % 2) for i in range(16)] + [0, 1, 0, 1]


def test_splits_are_taken_as_lists_and_ranges() -> None:
    splits = {"train": list(range(16)), "test": tuple(range(16, 20))}
    data = own(splits=splits).load()
    assert sorted(data.splits["train"].tolist() + data.splits["val"].tolist()) == list(range(16))
    assert data.splits["test"].dtype == np.int64
