"""Vectors and sequences in the cells of a table, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.table import Table

VECTORS = [[0.5, -1.0, 2.0], [1.5, 2.0, 3e-05], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]] * 5
SEQUENCES = [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.5]]] * 10
LABELS = ["a", "b"] * 10


def table(path: Path, columns: dict[str, object], **options: object) -> Table:
    return Table(name="mine", path=str(path), label="kind", columns=columns, **options)


def write(folder: Path, suffix: str, columns: dict[str, list]) -> Path:
    path = folder / f"t.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pa.table(columns), path)
        return path
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
        return path
    import csv

    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([cell if isinstance(cell, str) else str(cell) for cell in row.values()])
    return path


def test_every_format_and_files_read_alike(tmp_path: Path) -> None:
    columns = {"kind": LABELS, "embedding": VECTORS, "track": SEQUENCES}
    for row, (vector, steps) in enumerate(zip(VECTORS, SEQUENCES, strict=True)):
        np.save(tmp_path / f"v{row}.npy", np.array(vector))
        np.save(tmp_path / f"s{row}.npy", np.array(steps))
    files = {
        "kind": LABELS,
        "embedding": [f"v{row}.npy" for row in range(20)],
        "track": [f"s{row}.npy" for row in range(20)],
    }
    made = {"vector": "embedding", "sequence": "track"}
    loaded = [
        table(write(tmp_path, suffix, cells), made).load()
        for suffix, cells in (
            ("csv", columns),
            ("jsonl", columns),
            ("parquet", columns),
            ("csv", files),
        )
    ]
    assert len({data.fingerprint for data in loaded}) == 1
    for data in loaded:
        assert [data.columns["vector"].read(row).tolist() for row in range(20)] == VECTORS
        assert [data.columns["sequence"].read(row).tolist() for row in range(20)] == SEQUENCES


def test_numpy_and_python_print_lists_too(tmp_path: Path) -> None:
    printed = [
        "[0.5, -1.0, nan]",
        "[ 0.5 -1.   nan]",
        "[5.e-01 -1.e+00 nan]",
        "[0.5,-1,null]",
        "(none)",
    ]
    columns = {"kind": ["a", "b", "a", "b", "a"], "v": [*printed[:4], "NA"]}
    column = table(write(tmp_path, "csv", columns), {"vector": "v"}, labelled=False).read()
    vectors = column.columns["vector"]
    assert vectors.present.tolist() == [True] * 4 + [False]
    for row in range(4):
        np.testing.assert_array_equal(vectors.read(row), [0.5, -1.0, np.nan])
    nested = {"kind": ["a"], "s": ["[[1. 2.]\n [3. 4.]]"]}
    read = table(write(tmp_path, "csv", nested), {"sequence": "s"}, labelled=False).read()
    assert read.columns["sequence"].read(0).tolist() == [[1, 2], [3, 4]]


def test_columns_of_numbers_are_a_vector(tmp_path: Path) -> None:
    columns = {"kind": ["a", "b"], "x": ["1.5", ""], "more": [[2, 3], [4, 5]], "y": [6, 7]}
    made = {"vector": ["x", "more", "y"]}
    vectors = table(write(tmp_path, "jsonl", columns), made, labelled=False).read()
    read = vectors.columns["vector"]
    np.testing.assert_array_equal([read.read(0), read.read(1)], [[1.5, 2, 3, 6], [np.nan, 4, 5, 7]])


@pytest.mark.parametrize(
    ("modality", "cells", "said"),
    [
        ("vector", [[1, 2], [1, 2, 3]], ["row 2", "3 items", "row 1", "2"]),
        ("vector", [[1, 2], 3], ["row 2", "'3'", "list of numbers", "row 1"]),
        ("vector", [[1, 2], ["a", 2]], ["row 2", "'a'"]),
        ("vector", [[1, 2], [True, 2]], ["row 2", "'True'"]),
        ("vector", [[1, 2], [[1], [2]]], ["row 2", "list of lists"]),
        ("vector", ["[1 2]", "[1 2 ... 3]"], ["row 2", "[1 2 ... 3]", "left numbers out"]),
        ("vector", ["[1, 2]", "[1,, 2]"], ["row 2", "[1,, 2]"]),
        ("vector", ["[1, 2]", "[1, 1e999]"], ["row 2", "infinite"]),
        ("sequence", [[[1, 2]], [[1, 2], [3]]], ["row 2", "step 2", "1", "step 1", "2"]),
        ("sequence", [[[1]], [[[1]]]], ["row 2", "a list"]),
        ("sequence", [[[1]], [1, [2]]], ["row 2", "'1'"]),
        ("sequence", [[[1]], [[1], [None]]], ["row 2", "NaN", "step 2"]),
    ],
)
def test_what_is_no_list_of_numbers_is_refused_by_row(
    modality: str, cells: list, said: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path, "jsonl", {"kind": LABELS[:2] * 5, "cell": cells * 5})
    with pytest.raises(DataError) as error:
        table(path, {modality: "cell"}).load()
    check_error(error.value, *said)


def test_what_one_column_cannot_be(tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl", {"kind": LABELS, "a": VECTORS})
    with pytest.raises(ValueError, match=r"columns\.sequence.*one column"):
        table(path, {"sequence": ["a", "b"]})
    words = write(tmp_path, "jsonl", {"kind": LABELS, "a": ["x"] * 20, "b": [1] * 20})
    with pytest.raises(DataError) as error:
        table(words, {"vector": ["b", "a"]}).load()
    check_error(error.value, "row 1", "'a'", "'x'", "no number")


@pytest.mark.parametrize("modality", ["vector", "sequence"])
@pytest.mark.parametrize(
    ("cell", "brackets"),
    [
        ("1.0 2.0", "[1.0, 2.0]"),
        ("-.5;1e-3", "[-.5, 1e-3]"),
        ("1, 2,3, 4", "[1, 2, 3, …]"),
        ("1|2 | 3", "[1, 2, 3]"),
        ("(1.5, 2.5,)", "[1.5, 2.5]"),
        ("tensor([1., -2.])", "[1., -2.]"),
    ],
)
def test_lists_without_brackets_are_refused(
    modality: str, cell: str, brackets: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "jsonl", {"kind": LABELS, "cell": [cell] * 20})
    with pytest.raises(DataError) as error:
        table(path, {modality: "cell"}).load()
    brackets_said = "in more than" if "[" in cell else "without"
    held = (
        f"row 1: column 'cell' holds {cell!r}, several numbers {brackets_said} the brackets of a "
        "list"
    )
    assert error.value.message == held
    assert error.value.tip is not None
    assert error.value.tip.startswith(f"write {brackets}, in quotes in a CSV; or ")


def test_one_column_of_numbers_is_a_vector_of_one(tmp_path: Path) -> None:
    path = write(tmp_path, "csv", {"kind": LABELS[:3], "x": ["1.5", "", "-2"]})
    read = table(path, {"vector": "x"}, labelled=False).read().columns["vector"]
    np.testing.assert_array_equal([read.read(row) for row in (0, 1, 2)], [[1.5], [np.nan], [-2.0]])


def test_files_whose_names_are_numbers_are_files(tmp_path: Path) -> None:
    for name, value in (("1", 5.0), ("2", 7.0)):
        with (tmp_path / name).open("wb") as file:
            np.save(file, np.array([value, value]))
    path = write(tmp_path, "csv", {"kind": LABELS[:2], "x": ["1", "2"]})
    read = table(path, {"vector": "x"}, labelled=False).read().columns["vector"]
    np.testing.assert_array_equal([read.read(0), read.read(1)], [[5, 5], [7, 7]])
