"""Tasks on real data, where it is there."""

import os
from pathlib import Path

import pytest

from mmx.tasks.cifar import Cifar10
from mmx.tasks.fsdd import Fsdd
from mmx.tasks.stl import Stl10
from mmx.tasks.table import Table

DATA = os.environ.get("MMX_DATA_DIR", "")
pytestmark = pytest.mark.skipif(not DATA, reason="MMX_DATA_DIR is not set")


def sizes(data) -> dict[str, int]:
    return {name: len(rows) for name, rows in data.splits.items()}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (Cifar10, {"train": 9000, "val": 1000, "test": 2000}),
        (Stl10, {"train": 810, "val": 90, "test": 900}),
        (Fsdd, {"train": 2000, "val": 500, "test": 500}),
    ],
)
def test_sizes(task, expected):
    data = task(name="task", data_dir=DATA).load()
    assert sizes(data) == expected
    (modality,) = data.columns
    assert len(data.digests[modality]) == sum(expected.values())


def test_an_image_of_cifar_lies_in_the_folder_of_its_class():
    data = Cifar10(name="cifar10", data_dir=DATA).load()
    for row in data.splits["test"][::97]:
        path = data.columns["image"].images[row]
        assert path.parent.name == data.target.classes[int(data.values[row])]
        assert path.parent.parent.name == "test"


def test_fashion():
    task = Table(
        name="fashion",
        path=str(Path(DATA) / "fashion" / "products.csv"),
        label="masterCategory",
        columns={"image": "image", "text": "title", "tabular": ["year", "usage", "season"]},
        split="split",
        per_class=20,
    )
    data = task.load()
    assert sizes(data) == {"train": 80, "val": 80, "test": 600}
    assert data.target.classes == ("Accessories", "Apparel", "Footwear", "Personal Care")
    assert data.notes == (
        "tabular: 10 of 760 cells of 'usage' are missing "
        "(train 4 of 80, val 1 of 80, test 5 of 600)",
    )
    spec = task.tabular.fit(data.columns["tabular"], data.splits["train"])
    assert spec.numeric == ("year",)
    stored = task.image.encode(
        data.columns["image"], data.splits["val"], task.image.fit(data.columns["image"], [])
    )
    assert stored.values.shape == (80, 32, 32, 3)


def test_news():
    task = Table(
        name="news",
        path=str(Path(DATA) / "ag_news" / "news.csv"),
        label="topic",
        columns={"text": ["title", "description"]},
        split="split",
    )
    assert task.load().target.classes == ("Business", "Sci/Tech", "Sports", "World")
