"""Decimal commas: what the mark means for texts of a table, and not for what is a number there."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.evaluation.noise.tabular import TabularCorruption
from mmx.modalities.number_spelling import NumberText, Spelling
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.tasks.cells import as_text
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.spelling import unify_spelling
from mmx.tasks.table import Table

VALUES = [1.125, 900.0, 1290.0, 2.5, 0.001]
BY_COMMA = ["1,125", "900", "1.290", "2,5", "0,001"]


def write(folder: Path, form: str, cells: list[Any]) -> Path:
    """Write a table of the cells ``n``, with as many labels ``y``."""
    rows = [{"n": cell, "y": "ab"[i % 2]} for i, cell in enumerate(cells)]
    path = folder / f"a.{form}"
    if form == "csv":
        path.write_text("n;y\n" + "".join(f"{row['n']};{row['y']}\n" for row in rows))
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def read(path: Path, *, columns: Any = None, decimal: str | None = None, **options: Any):
    inputs = columns or {"tabular": "n"}
    given = {"label": "y", "columns": inputs, "csv": CsvFormat(decimal=decimal), **options}
    return Table(name="mine", path=str(path), **given).load()


def decode(column: TabularColumn, spec) -> list[float]:
    rows = range(len(column))
    return Tabular().read_numbers(column, rows, spec)["n"].tolist()


@pytest.mark.parametrize(
    ("form", "cells"),
    [
        ("csv", BY_COMMA),
        ("jsonl", BY_COMMA),
        ("jsonl", VALUES),
        ("jsonl", ["1,125", 900, 1290.0, "2,5", 0.001]),
        ("parquet", BY_COMMA),
        ("parquet", VALUES),
    ],
)
@pytest.mark.parametrize("decimal", [None, ","])
def test_a_number_of_the_file_has_one_reading(tmp_path, form, cells, decimal):
    column = read(write(tmp_path, form, cells * 8), decimal=decimal).columns["tabular"]
    spec = Tabular().fit(column, range(len(column)))
    assert decode(column, spec) == VALUES * 8
    assert spec.means == (pytest.approx(np.mean(VALUES)),)


@pytest.mark.parametrize(
    ("form", "cells", "expected"),
    [
        ("csv", ["900.000", "950.000"], [900_000, 950_000]),
        ("csv", ["1.010", "2"], [1010, 2]),
        ("jsonl", [2.125, 900.0], [2.125, 900]),
        ("jsonl", ["900.000", 2.125], [900_000, 2.125]),
        ("parquet", [2.125, 1.5], [2.125, 1.5]),
    ],
)
def test_later_rows_are_read_as_the_training_rows_are_written(tmp_path, form, cells, expected):
    trained = read(write(tmp_path, "csv", ["1.234,5", "0,5", "900.000"] * 8)).columns["tabular"]
    spec = Tabular().fit(trained, range(len(trained)))
    assert spec.spellings == (("n", ",", ""),)
    later = read(write(tmp_path, form, cells * 8)).columns["tabular"]
    assert decode(later, spec) == expected * 8


def test_a_point_that_may_separate_thousands_is_noted(tmp_path):
    path = write(tmp_path, "csv", ["900", "1.010", "1.290"] * 8)
    column = read(path).columns["tabular"]
    spec = Tabular().fit(column, range(24))
    assert decode(column, spec)[:3] == [900, 1.01, 1.29]
    (note,) = Tabular().remarks(column, range(24), spec)
    check_notes([note], ["'n'", "decimal point", "1.010", 'target.csv.decimal=","'])
    column = read(path, decimal=",").columns["tabular"]
    spec = Tabular().fit(column, range(24))
    assert decode(column, spec)[:3] == [900, 1010, 1290]
    column = read(path, decimal=".").columns["tabular"]
    spec = Tabular().fit(column, range(24))
    assert decode(column, spec)[:3] == [900, 1.01, 1.29]
    assert Tabular().remarks(column, range(24), spec) == ()


@pytest.mark.parametrize("cells", [[1.29, 900.0], ["0.125", "1.290"], ["1.5", "1.290"]])
def test_other_points_need_no_note(tmp_path, cells):
    column = read(write(tmp_path, "jsonl", cells * 8)).columns["tabular"]
    spec = Tabular().fit(column, range(16))
    assert Tabular().remarks(column, range(16), spec) == ()


def test_units_do_not_stand_for_numbers_of_the_file(tmp_path):
    column = read(write(tmp_path, "jsonl", ["5 €", 6.5] * 8)).columns["tabular"]
    with pytest.raises(DataError) as error:
        Tabular().fit(column, range(16))
    check_error(error.value, "'n'", "several units", "'5 €'", "'6.5'")
    percent = Spelling(".", "%")
    assert (percent.parse("12%"), percent.parse(NumberText("0.12"))) == (12, None)
    assert Spelling("date", "ymd").parse(NumberText("19000101")) is None
    column = read(write(tmp_path, "jsonl", ["1970-01-02", 6.5] * 8)).columns["tabular"]
    assert Tabular().fit(column, range(16)).categorical == ("n",)


@pytest.mark.parametrize(
    ("form", "cells", "decimal", "expected"),
    [
        ("parquet", [2.125, 900.5], ",", [2.125, 900.5]),
        ("jsonl", ["1.290", 2.125], ",", [1290, 2.125]),
        ("csv", ["1.290", "2,5"], None, [1290, 2.5]),
        ("csv", ["1.290", "900"], ",", [1290, 900]),
    ],
)
def test_labels_are_read_alike(tmp_path, form, cells, decimal, expected):
    path = write(tmp_path, form, cells * 8)
    options = {"columns": {"text": "y"}, "kind": "regression", "label": "n"}
    data = read(path, decimal=decimal, **options)
    assert data.values.tolist() == expected * 8


def test_a_label_whose_point_may_separate_thousands_is_noted(tmp_path):
    path = write(tmp_path, "csv", ["900", "1.290"] * 8)
    options = {"columns": {"text": "y"}, "kind": "regression", "label": "n"}
    data = read(path, **options)
    assert data.values[:2].tolist() == [900, 1.29]
    says = ["label 'n'", "1.290", 'target.csv.decimal=","']
    check_notes([note for note in data.notes if "thousands" in note], says)
    assert not any("thousands" in note for note in read(path, decimal=".", **options).notes)


def test_vectors_follow_the_mark_too(tmp_path):
    path = write(tmp_path, "csv", ["1,5", "1.290"] * 8)
    vectors = read(path, columns={"vector": ["n"]}, decimal=",").columns["vector"]
    assert np.asarray(vectors.vectors)[:2].tolist() == [[1.5], [1290]]
    with pytest.raises(DataError) as error:
        read(path, columns={"vector": ["n", "n"]})
    check_error(error.value, "'n'", "'1,5'", types=['target.csv.decimal=","'])
    path = write(tmp_path, "jsonl", [[1.125, 2], [3.125, 4]] * 8)
    column = read(path, decimal=",").columns["tabular"]
    spec = Tabular().fit(column, range(16))
    assert Tabular().read_numbers(column, [0], spec)["n[1]"].tolist() == [1.125]


def test_noise_reads_the_same_numbers(tmp_path):
    column = read(write(tmp_path, "jsonl", ["1,5", 2.125, "1.290"] * 8)).columns["tabular"]
    spec = Tabular().fit(column, range(24))
    view = SimpleNamespace(column=column, spec=spec, modality=Tabular())
    cells = TabularCorruption(view).read(np.arange(3), None)
    assert [each["n"] for each in cells] == [1.5, 2.125, 1290]


def test_a_common_spelling_remembers_the_file():
    alone, number = unify_spelling(["1.290", NumberText("2.50")])
    assert (alone, number, repr(alone)) == ("1.29", "2.5", "'1.29'")
    for kept in (alone, pickle.loads(pickle.dumps(alone))):
        assert isinstance(kept, NumberText)
        assert kept.written == "1.290"
    assert isinstance(number, NumberText)
    assert number.written is None


@pytest.mark.parametrize("number", [-999, -999.0, Decimal("-999"), Decimal("-9E+2") - 99])
def test_numbers_count_as_missing_where_they_are_listed(number):
    assert as_text(number, frozenset({"-999"})) is None
    assert as_text(-998.0, frozenset({"-999"})) == "-998"
