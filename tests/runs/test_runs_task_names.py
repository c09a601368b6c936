"""What a task is called in reports."""

from __future__ import annotations

import pytest

from mmx.runs.task_names import find_task_name

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
