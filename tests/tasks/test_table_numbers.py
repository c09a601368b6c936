"""Numbers as people write them, identifiers, and labels that are numbers or words."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.spelling import spell_number, unify_spelling
from mmx.tasks.table import Table


def write(path: Path, columns: dict[str, list]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def load(path: Path, **options):
    defaults = {"label": "y", "columns": {"tabular": "n"}}
    return Table(name="mine", path=str(path), **{**defaults, **options}).load()


def fit(cells, name: str = "n", decimal: str | None = None, **options):
    column = TabularColumn({name: cells})
    column.decimal = decimal
    modality, rows = Tabular(**options), range(len(cells))
    spec = modality.fit(column, rows)
    return modality, column, spec


@pytest.mark.parametrize(
    ("cells", "decimal", "expected", "says"),
    [
        (["1,5", "2,25", "1,234"], None, [1.5, 2.25, 1.234], ["comma", "'1,5' is 1.5"]),
        (["0,125", "0,250"], None, [0.125, 0.25], ["comma"]),
        (["1.234,50 €", "2,00 €"], None, [1234.5, 2], ["comma", "unit €", "1234.5"]),
        (["$1,234.50", "-$5", "($2)"], None, [1234.5, -5, -2], ["point", "unit $"]),
        (["EUR 5", "EUR 1,000.5"], None, [5, 1000.5], ["unit EUR"]),
        (["12%", "5.5 %"], None, [12, 5.5], ["unit %", "'12%' is 12"]),
        (["1 234", "1\u00a0234\u00a0567", "5"], None, [1234, 1234567, 5], ["point"]),
        (["1'234.5", "7"], None, [1234.5, 7], ["point"]),
        (["1_234", "2_345_678", "7"], None, [1234, 2345678, 7], ["point", "'1_234' is 1234"]),
        (["12,34,567", "1,00,000"], None, [1234567, 100000], ["point"]),
        (["\u22125,5", "3"], None, [-5.5, 3], ["comma"]),
        (["1,234", "5,678"], ",", [1.234, 5.678], ["comma"]),
        (["1,234", "5,678"], ".", [1234, 5678], ["point"]),
        (["1.234", "5"], ",", [1234, 5], ["comma"]),
        (["1970-01-03", "1970-02-01"], None, [2, 31], ["dates", "1970"]),
        (["1970-01-02T12:00:00Z", "1970-01-02 00:00+06:00"], None, [1.5, 0.75], ["dates"]),
        (["13.02.1970", "1.1.1970"], None, [43, 0], ["dates"]),
        (["01/31/1970", "02/01/1970"], None, [30, 31], ["dates"]),
        (["31/01/1970", "01/02/1970"], None, [30, 31], ["dates"]),
        (["1970/01/05", "1970/1/6"], None, [4, 5], ["dates"]),
    ],
)
def test_numbers_as_people_write_them(cells, decimal, expected, says):
    modality, column, spec = fit(cells, decimal=decimal)
    assert spec.numeric == ("n",)
    values = modality.encode(column, range(len(cells)), spec).values[:, 0].double()
    found = values.numpy() * spec.stds[0] + spec.means[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * spec.stds[0])
    assert spec.means[0] == pytest.approx(np.mean(expected), rel=1e-15)
    notes = modality.remarks(column, range(len(cells)), spec)
    check_notes(notes, ["'n'", *says, "target.tabular.categorical=[n]"])


@pytest.mark.parametrize(
    "cells",
    [
        ["5 kg", "6 kg"],
        ["030 123 456", "030 999 111"],
        ["1,2,3", "4,5,6"],
        ["192.168.0.1", "10.0.0.1"],
        ["2021-02-30", "2021-01-01"],
        ["a1", "b2"],
        ["12:30", "13:45"],
        ["1_1", "11"],  # codes; Python reads both as 11
    ],
)
def test_what_is_no_number_in_all_cells_stays_words(cells):
    modality, column, spec = fit(cells)
    assert (spec.categorical, spec.categories) == (("n",), (tuple(sorted(cells)),))
    assert modality.remarks(column, range(2), spec) == ()


@pytest.mark.parametrize(
    ("cells", "says", "types"),
    [
        (
            ["1,234", "5,678"],
            ["row 1", "'n'", "'1,234'", "1234", "1.234"],
            ['target.csv.decimal=","', "target.tabular.categorical=[n]"],
        ),
        (["€5", "$7"], ["'n'", "'€5'", "'$7'"], ["target.tabular.categorical=[n]"]),
        (["1,5", "2,5", "2.5"], ["row 3", "'2.5'", "'1,5'", "row 1"], ["target.missing"]),
        (  # whichever cell is the first
            ["k.A.", "1,5", "2", "2,5", "-", "3,5", "4,5"],
            ["row 1", "'k.A.'", "'1,5'", "row 2"],
            [
                """'target.missing=["",NA,"NaN","nan","null",k.A.,"-"]' counts such cells""",
                "target.tabular.categorical=[n]",
            ],
        ),
    ],
)
def test_doubtful_numbers_are_asked_about(cells, says, types):
    with pytest.raises(DataError) as error:
        fit(cells)
    check_error(error.value, *says, types=types)
    assert fit(cells, categorical=("n",))[2].categorical == ("n",)


def test_points_are_doubtful_where_another_column_has_a_decimal_comma():
    def fit_both(**options):
        column = TabularColumn({"n": ["1.234", "12"], "m": ["1,5", "2,5"]})
        column.decimal = options.get("decimal")
        return Tabular().fit(column, [0, 1])

    with pytest.raises(DataError) as error:
        fit_both()
    check_error(error.value, "'n'", "'1.234'", "'m'", types=['target.csv.decimal=","'])
    assert fit_both(decimal=",").means == (623.0, 2.0)
    column = TabularColumn({"n": ["1.2345", "12"], "m": ["1,5", "2,5"]})
    assert Tabular().fit(column, [0, 1]).means == (6.61725, 2.0)


def test_a_cell_that_may_stand_for_no_value_leads_to_missing():
    modality, _, spec = fit(["1", "2", "3"])
    for cell in ("?", "1_1"):
        later = TabularColumn({"n": ["1", cell]})
        with pytest.raises(DataError) as error:
            modality.encode(later, range(2), spec)
        types = ["target.missing", "target.tabular.categorical=[n]"]
        check_error(error.value, "row 2", "'n'", repr(cell), "only numbers", types=types)


def test_training_decides_how_later_rows_are_read():
    cells = ["1,5", "2,25", "1,234", "7.5"]
    modality, column, spec = Tabular(), TabularColumn({"n": cells}), None
    spec = modality.fit(column, [0, 1])
    value = modality.encode(column, [2], spec).values[0, 0]
    assert float(value) * spec.stds[0] + spec.means[0] == pytest.approx(1.234)
    with pytest.raises(DataError) as error:
        modality.encode(column, [3], spec)
    says = ["row 4", "'7.5'", "decimal comma"]
    check_error(error.value, *says, types=["target.tabular.categorical=[n]"])


def test_identifiers_are_left_out_unless_asked_for(tmp_path):
    count = 100
    columns = {
        "name": [f"visitor {chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(count)],
        "user_id": list(range(5000, 5000 + count)),
        "code": [f"c{i % 7}" for i in range(count)],
        "number": list(range(count)),
        "price": [f"{i},5" for i in range(count)],
        "day": [f"{1 + i % 28}.{1 + i // 28}.2021" for i in range(count)],
        "y": ["ab"[i % 2] for i in range(count)],
    }
    path = write(tmp_path / "a.csv", columns)
    data = load(path, columns={"tabular": list(columns)[:-1]})
    column, rows = data.columns["tabular"], data.splits["train"]
    spec = Tabular().fit(column, rows)
    assert (spec.numeric, spec.categorical) == (("number", "price", "day"), ("code",))
    notes = [note for note in Tabular().remarks(column, rows, spec) if "left out" in note]
    check_notes(notes, ["target.tabular.keep=[name]"], ["target.tabular.keep=[user_id]"])
    kept = Tabular(keep=("name", "user_id")).fit(column, rows)
    assert kept.numeric == ("user_id", *spec.numeric)
    assert kept.categorical == ("name", "code")
    alone = TabularColumn({"name": columns["name"]})
    with pytest.raises(DataError) as error:
        Tabular().fit(alone, range(count))
    check_error(error.value, "name", types=["target.tabular.keep=[name]"])
    with pytest.raises(DataError) as error:
        Tabular(keep=("nmae",)).fit(alone, range(count))
    check_error(error.value, "keep", "'nmae'", types=["name"])


# Labels


def table(tmp_path, labels: list, **options):
    columns = {"n": list(range(len(labels))), "y": labels}
    return load(write(tmp_path / "a.csv", columns), **options)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1, 2], ("1", "2")),
        (["1.0", "2.0"], ("1", "2")),
        (["01", "02"], ("01", "02")),
        (["1.50", "2.5"], ("1.5", "2.5")),
        (["True", "False"], ("false", "true")),
        (["2021-01-01 00:00:00", "2021-01-02 00:00:00"], ("2021-01-01", "2021-01-02")),
        (["x ", " y"], ("x", "y")),
        (["1", "b"], ("1", "b")),
    ],
)
def test_classes_have_one_spelling_in_every_format(tmp_path, labels, classes):
    assert table(tmp_path, labels * 10).target.classes == classes


def test_codes_of_countries_hold_na(tmp_path):
    labels = ["DE", "NA", "FR"] * 20
    with pytest.raises(DataError) as error:
        table(tmp_path, labels)
    typed = 'target.missing=["","NaN","nan","null"]'
    check_error(error.value, "row 2", "'NA'", "20 of 60", types=["unlabelled=drop", typed])
    dropped = table(tmp_path, labels, unlabelled="drop")
    assert any(typed in note for note in dropped.notes)
    assert table(tmp_path, labels, missing=["", "NaN"]).target.classes == ("DE", "FR", "NA")


def test_numbers_that_would_be_bins_are_refused(tmp_path):
    labels = [f"{i / 4}" for i in range(60)]
    with pytest.raises(DataError) as error:
        table(tmp_path, labels)
    check_error(error.value, "'y'", "60", "0.25", types=["target.kind=regression", "bin"])
    data = table(tmp_path, [f"{i % 5 / 2}" for i in range(60)])
    assert data.target.classes == ("0", "0.5", "1", "1.5", "2")


@pytest.mark.parametrize(
    ("labels", "decimal", "expected"),
    [
        (["1.234,5 €", "2 €"], None, [1234.5, 2]),
        (["1,234", "5,678"], ",", [1.234, 5.678]),
        (["$1,000", "$2.5"], None, [1000, 2.5]),
    ],
)
def test_numbers_to_predict_as_people_write_them(tmp_path, labels, decimal, expected):
    options = {"kind": "regression", "csv": CsvFormat(decimal=decimal)}
    data = table(tmp_path, labels * 10, **options)
    used = np.sort(np.concatenate(list(data.splits.values())))
    assert data.values[used].tolist() == (expected * 10)
    assert any(f"{labels[0]!r} is {expected[0]:g}" in note for note in data.notes)


def test_doubtful_numbers_to_predict_are_asked_about(tmp_path):
    with pytest.raises(DataError) as error:
        table(tmp_path, ["1,234", "5,678"] * 10, kind="regression")
    check_error(error.value, "row 1", "'1,234'", types=['target.csv.decimal=","'])


def test_the_empty_set_stands_between_labels_with_a_separator(tmp_path):
    labels = ["sea|sky", "[]", "sky", "sea", ""] * 4
    data = table(tmp_path, labels, kind="multilabel", unlabelled="drop")
    assert data.target.classes == ("sea", "sky")
    used = set(np.concatenate(list(data.splits.values())).tolist())
    assert used == {row for row in range(20) if row % 5 != 4}
    assert data.values[:4].tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]
    for one in (["[]", '["sea"]', "['sea', 'sky']"], ["[]", "{'sea'}", "('sea', 'sky')"]):
        data = table(tmp_path, one * 8, kind="multilabel")
        assert data.values[:3].tolist() == [[0, 0], [1, 0], [1, 1]]


# One spelling


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("1.0", "1"), ("1.50", "1.5"), ("1e3", "1000"), ("-2.50e-1", "-0.25"), ("+5", "5"),
        ("007", "007"), ("12345678901234567890.0", "12345678901234567890"), (".5", "0.5"),
        ("1e-7", "1e-07"), ("0.1234567890123456789012", "0.1234567890123456789012"),
        ("1e999", "1e999"), ("0.0", "0"), ("-0.0", "0"),
    ],
)  # fmt: skip
def test_numbers_have_one_spelling(text, spelled):
    assert spell_number(text) == spelled


@pytest.mark.parametrize(
    ("cells", "unified"),
    [
        (["True", None, "false"], ["true", None, "false"]),
        (["True", "maybe"], ["True", "maybe"]),
        (["1.0", None, "2"], ["1", None, "2"]),
        (["1.0", "x"], ["1.0", "x"]),
        (["2021-01-01T00:00:00", None], ["2021-01-01", None]),
        (["2021-01-01T00:00:00", "2021-01-01 10:00"], ["2021-01-01 00:00:00", "2021-01-01 10:00"]),
        ([None, None], [None, None]),
    ],
)
def test_columns_have_one_spelling(cells, unified):
    assert unify_spelling(cells) == unified


def test_json_and_csv_of_the_same_values_have_one_fingerprint(tmp_path):
    rows = [{"n": i / 2, "b": i % 3 == 0, "y": "ab"[i % 2]} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = write(tmp_path / "a.csv", {key: [row[key] for row in rows] for key in rows[0]})
    found = {
        load(each, columns={"tabular": ["n", "b"]}).fingerprint
        for each in (path, tmp_path / "a.jsonl")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("cells", "noted"),
    [
        (["20240131", "20240201"], True),
        ([20240131, 20240201, 19991231], True),
        (["20240131", "20240231"], False),  # February has no day 31
        (["20240131", "2024020"], False),
        (["30240131", "30240201"], False),
        (["20240131", "20240131"], False),  # one value is no column of dates
        (["2024-01-31", "2024-02-01"], False),  # these are days already
    ],
)
def test_dates_without_marks_stay_numbers_and_are_noted(cells: list, noted: bool) -> None:
    column, rows = TabularColumn({"day": cells}), range(len(cells))
    spec = Tabular().fit(column, rows)
    assert spec.numeric == ("day",)
    notes = [each for each in Tabular().remarks(column, rows, spec) if "may be dates" in each]
    first = min(map(str, cells))
    written = f"{first[:4]}-{first[4:6]}-{first[6:]}"
    expected = (
        f"tabular: column 'day' is read as numbers, though all of them may be dates, such as "
        f"{first}; written as {written}, they are read in days"
    )
    assert notes == [expected] * noted


def test_codes_with_zeros_in_front_are_noted() -> None:
    column = TabularColumn({"zip": ["90210", "01234", "00501"], "n": ["0", "0.5", "10"]})
    rows = [0, 1, 2]
    spec = Tabular().fit(column, rows)
    assert spec.numeric == ("zip", "n")
    assert Tabular().remarks(column, rows, spec) == (
        "tabular: column 'zip' is read as numbers, though 01234 may be a code, whose zeros count; "
        "target.tabular.categorical=[zip] reads words",
    )


def test_a_label_that_differs_in_each_row_is_counted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("n,y\n" + "".join(f"{n},name {n}\n" for n in range(30)))
    made = Table(name="a", path=str(path), label="y", columns={"tabular": "n"})
    with pytest.raises(DataError) as error:
        made.load()
    check_error(error.value, "split has no rows", "30 rows have 30 classes")
