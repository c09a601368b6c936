"""What loading a task says of its rows: what is missing, unmeasured or repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import check_notes

from mmx.tasks import TaskData
from mmx.tasks.table import Table

SPLITS = ("train", "train", "val", "test")


def load(folder: Path, rows: list[str], head: str = "t,y,s", **options) -> TaskData:
    (folder / "t.csv").write_text("\n".join([head, *rows]) + "\n")
    options = {"label": "y", "columns": {"text": "t"}, "split": "s", **options}
    return Table(name="mine", path=str(folder / "t.csv"), **options).load()


def spread(train: int, val: int, test: int) -> list[str]:
    names = ["train"] * train + ["val"] * val + ["test"] * test
    return [f"text {i},{'ab'[i % 2]},{split}" for i, split in enumerate(names)]


def test_nothing_is_said_of_a_task_in_order(tmp_path):
    assert load(tmp_path, spread(20, 10, 10)).notes == ()


def test_missing_cells_are_counted_for_each_split(tmp_path):
    rows = [f"{line},{i},1" for i, line in enumerate(spread(20, 10, 10))]
    for row in (0, 1, 22, 35):
        rows[row] = rows[row].replace(f"text {row}", "")
    rows[2] = rows[2].removesuffix("2,1") + ",1"
    columns = {"text": "t", "tabular": ["n", "m"]}
    data = load(tmp_path, rows, "t,y,s,n,m", columns=columns)
    check_notes(
        data.notes,
        ["text", "4 of 40 rows", "train 2 of 20", "val 1 of 10", "test 1 of 10"],
        ["tabular", "1 of 40 cells", "'n'", "train 1 of 20", "val 0 of 10", "test 0 of 10"],
    )


def test_rows_to_predict_are_one_split(tmp_path):
    lines = [f",{i}" if i == 3 else f"text {i},{i}" for i in range(5)]
    columns = {"text": "t", "tabular": "n"}
    data = load(tmp_path, lines, "t,n", columns=columns, labelled=False)
    check_notes(data.notes, ["text", "1 of 5 rows"])


@pytest.mark.parametrize(("val", "said"), [(9, "9 validation rows"), (1, "1 validation row")])
def test_few_validation_rows(tmp_path, val, said):
    data = load(tmp_path, spread(20, val, 10))
    check_notes(data.notes[:1], [said, "best epoch", "chance"])


def test_few_training_rows_cut_the_validation_rows_too(tmp_path):
    data = load(tmp_path, spread(20, 12, 10), per_class=2)
    assert len(data.splits["val"]) == 4
    check_notes(data.notes[:1], ["4 validation rows"])


def test_a_class_that_is_not_measured(tmp_path):
    rows = [*spread(20, 10, 10), "more,c,train", "and more,c,train", "most,c,test"]
    check_notes(load(tmp_path, rows).notes, ["val", "class c"])


def test_numbers_that_are_all_the_same_where_they_are_measured(tmp_path):
    rows = [
        f"text {i},{i if i < 20 else 7},{line.split(',')[2]}"
        for i, line in enumerate(spread(20, 10, 10))
    ]
    check_notes(
        load(tmp_path, rows, kind="regression").notes, ["val", "7", "r2"], ["test", "7", "r2"]
    )


def test_rows_that_are_in_two_splits(tmp_path):
    rows = spread(20, 10, 10)
    rows[30] = rows[2].replace("train", "test")
    rows[31] = rows[2].replace("train", "test").replace(",a,", ",b,")
    rows[25] = rows[20]  # twice in one split: that is no leak
    rows[39] = rows[21].replace("val", "test")
    check_notes(
        load(tmp_path, rows).notes,
        ["2 of 10 test rows", "train", "row 31 is row 3", "row 32 is row 3", "1", "label"],
        ["1 of 10 test rows", "val", "row 40 is row 22"],
    )


def test_a_row_is_repeated_where_all_of_its_modalities_are(tmp_path):
    rows = [f"{line},{i}" for i, line in enumerate(spread(20, 10, 10))]
    rows[30] = "text 2,a,test,99"  # the text of row 2, and another number
    rows[31] = "text 3,b,test,3"
    columns = {"text": "t", "tabular": "n"}
    check_notes(
        load(tmp_path, rows, "t,y,s,n", columns=columns).notes,
        ["1 of 10 test rows", "train", "row 32 is row 4"],
    )


@pytest.mark.parametrize("other", ["A", "ａ"])
def test_labels_that_look_alike_are_said(tmp_path, other):
    rows = [*spread(20, 10, 10), *(f"more {i},{other},{s}" for i, s in enumerate(SPLITS))]
    first, second = sorted(["a", other])
    check_notes(load(tmp_path, rows).notes, [f"{first!r}, {second!r}", "labels"])


def test_two_spellings_of_one_number_are_said(tmp_path):
    rows = [row.replace(",a,", ",1,").replace(",b,", ",2,") for row in spread(20, 10, 10)]
    rows += [f"more {i},1.0,{s}" for i, s in enumerate(SPLITS)]
    check_notes(load(tmp_path, rows).notes, ["'1' and '1.0'", "one class"])


@pytest.mark.parametrize("other", [" a", "a ", "a\u00a0"])
def test_spaces_around_labels_are_left_out_and_said(tmp_path, other):
    rows = [*spread(20, 10, 10), *(f"more {i},{other},{s}" for i, s in enumerate(SPLITS))]
    data = load(tmp_path, rows)
    assert data.target.classes == ("a", "b")
    check_notes(data.notes, ["4 of 44 labels", "'y'"])
