"""What a task of one's own may get wrong: each is refused by the row, the value or the length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from refusals import check_error

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


REFUSED: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "overlap": (
        {"splits": {**SPLITS, "test": [3, 16, 7]}},
        ["train and test", "rows 3, 7"],
        ["Samples.splits"],
    ),
    "overlap of one row": (
        {"splits": {**SPLITS, "val": range(11, 16)}},
        ["train and val", "row 11"],
        ["Samples.splits"],
    ),
    "overlap of many rows": (
        {"splits": {**SPLITS, "test": range(20)}},
        ["train and test", "rows 0, 1, 2, 3, 4", "7 more"],
        ["Samples.splits"],
    ),
    "twice in a split": (
        {"splits": {**SPLITS, "test": [16, 17, 16]}},
        ["split test", "row 16", "more than once"],
        [],
    ),
    "row that is not there": (
        {"splits": {**SPLITS, "test": range(16, 21)}},
        ["split test", "row 20", "20 rows", "0 to 19"],
        [],
    ),
    "row from behind": (
        {"splits": {**SPLITS, "test": [-1]}},
        ["split test", "row -1", "20 rows", "0 to 19"],
        [],
    ),
    "mask": (
        {"splits": {**SPLITS, "test": np.arange(20) > 15}},
        ["split test", "bool", "(20,)"],
        ["np.flatnonzero(mask)"],
    ),
    "name of a split": (
        {"splits": {"train": range(12), "vals": range(12, 20)}},
        ["'vals'", "accepted: train, val, test", "closest: val"],
        [],
    ),
    "length": ({"texts": 19}, ["text column", "19 rows", "20 labels"], ["Samples.values"]),
    "no such column": ({"said": "image"}, ["image", "read text"], []),
    "beyond the classes": (
        {"values": changed(13, 2)},
        ["row 13 (from 0)", "label 2", "2 classes", "0 to 1", "1 of 20 rows"],
        [],
    ),
    "negative": (
        {"values": changed(5, -1)},
        ["row 5 (from 0)", "label -1", "2 classes", "0 to 1", "1 of 20 rows"],
        [],
    ),
    "NaN": (
        {"values": changed(5, np.nan, float)},
        ["row 5 (from 0)", "label nan", "1 of 20 rows"],
        [],
    ),
    "half": (
        {"values": changed(5, 0.5, float)},
        ["row 5 (from 0)", "label 0.5", "1 of 20 rows"],
        [],
    ),
    "words": (
        {"values": np.array(["a", "b"] * 10)},
        ["Samples.values", "<U1", "(20,)", "numbers", "(rows,)"],
        [],
    ),
    "one-hot": (
        {"values": np.eye(2)[np.arange(20) % 2]},
        ["Samples.values", "float64", "(20, 2)", "numbers", "(rows,)"],
        [],
    ),
    "class twice": ({"names": ("a", "a")}, ["Samples.classes", "'a'", "twice"], []),
    "number that is none": (
        {"what": "regression", "names": (), "values": changed(4, np.inf, float)},
        ["row 4 (from 0)", "label inf", "finite", "1 of 20 rows"],
        [],
    ),
    "part of a label": (
        {"what": "multilabel", "values": several(6, 1, 0.3)},
        ["row 6 (from 0)", "label 0.3", "0 nor 1", "1 of 20 rows"],
        [],
    ),
    "label without a name": (
        {"what": "multilabel", "values": several(6, 1, 1), "names": ("a", "b", "c")},
        ["2 columns", "3 names", "Samples.classes"],
        [],
    ),
}
"""What a task's options are, facts that its refusal names, and what its tip says to type."""


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_the_task_says_is_refused_by_name(case: str) -> None:
    options, says, types = REFUSED[case]
    with pytest.raises(DataError) as error:
        own(**options).load()
    check_error(error.value, "own", *says, types=types)


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
