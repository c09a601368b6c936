"""What a task is called in reports."""

from __future__ import annotations

import pytest

from mmx.runs.task_names import find_task_name, name_as_files

TABLE = "mmx.tasks.table.Table"
FOLDER = "mmx.tasks.image_folder.ImageFolder"


@pytest.mark.parametrize(
    ("kind", "name", "path", "expected"),
    [
        (TABLE, "table", "numbers.csv", "numbers"),
        (TABLE, "table", "a/b.c/my.data.csv.gz", "my.data"),
        (TABLE, "table", "shards/", "shards"),
        (TABLE, "table", "my numbers.tsv", "my_numbers"),
        (TABLE, "table", "商品.csv", "table"),
        (TABLE, "table", "data/*.parquet", "table"),
        (TABLE, "table", "..", "table"),
        (TABLE, "table", ["a.csv", "b.csv"], "table"),
        (TABLE, "table", {"train": "a.csv", "test": "b.csv"}, "table"),
        (TABLE, "products", "numbers.csv", "products"),
        (FOLDER, "image_folder", "pictures/flowers", "flowers"),
        ("mmx.tasks.webdataset.WebDataset", "webdataset", "a.tar", "webdataset"),
        ("own.Task", "table", "numbers.csv", "table"),
    ],
)
def test_a_table_without_a_name_of_its_own_is_called_as_its_file(kind, name, path, expected):
    assert find_task_name({"_target_": kind, "name": name, "path": path}) == expected


def test_what_has_no_name_has_none():
    assert find_task_name({}) is None
    assert find_task_name({"_target_": TABLE, "path": "numbers.csv"}) is None


def test_a_summary_of_an_earlier_mmx_is_compared_under_the_names_of_files():
    node = {"_target_": TABLE, "name": "table", "path": "numbers.csv"}
    own = {"_target_": TABLE, "name": "shapes", "path": "forms.csv"}
    other = {"seed": 1, "target": {"task": "table", "steps": 3}, "source": {"task": "shapes"}}
    named = name_as_files(other, {"target": node, "source": own})
    assert named == {**other, "target": {"task": "numbers", "steps": 3}}
    assert name_as_files(named, {"target": node, "source": own}) == named
    joined = {"source": {"task": "published+table"}, "target": {"task": "digits"}}
    assert name_as_files(joined, {"source": node})["source"] == {"task": "published+numbers"}
    assert name_as_files({"source": {"task": "none"}}, {"source": {}}) == {
        "source": {"task": "none"}
    }
