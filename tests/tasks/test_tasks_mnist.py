"""MNIST and Fashion-MNIST: IDX files by value, and damage that torchvision reads unseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from official_layouts import publish_mnist
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.mnist import FashionMnist, Mnist

EACH = pytest.mark.parametrize("task", [Mnist, FashionMnist])


@pytest.fixture
def made(publisher, monkeypatch, task):
    import torchvision.datasets

    official = getattr(torchvision.datasets, task.files)
    facts = replace(task.facts, rows={"train": 20, "test": 20})
    monkeypatch.setattr(task, "facts", facts)
    return publish_mnist(publisher, official, monkeypatch)


@EACH
def test_images_and_digits_are_those_of_the_files(made, task, tmp_path) -> None:
    data = task(name="m", data_dir=str(tmp_path), download=True).load()
    for split in ("train", "test"):
        images, labels = made[split]
        rows = data.splits[split]
        start = 0 if split == "train" else 20
        assert np.array_equal(data.columns["image"].images[rows], images[rows - start])
        assert data.values[rows].tolist() == labels[rows - start].tolist()
    names = tuple("0123456789") if task is Mnist else data.target.classes
    assert data.target.classes == names
    assert len(data.target.classes) == 10
    image = task(name="m", data_dir="").image
    spec = image.fit(data.columns["image"], data.splits["train"])
    stored = image.encode(data.columns["image"], [3], spec).values
    assert stored.shape == (1, 28, 28, 3)
    assert np.array_equal(stored[0, :, :, 1].numpy(), made["train"][0][3])


@EACH
def test_one_changed_pixel_is_noticed(made, task, tmp_path) -> None:
    task(name="m", data_dir=str(tmp_path), download=True).load()
    path = tmp_path / task.files / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        task(name="m", data_dir=str(tmp_path)).load()
    check_error(error.value, path, "t10k-images-idx3-ubyte.gz", types=["download=true"])
    assert len(task(name="m", data_dir=str(tmp_path), download=True).load().splits["test"]) == 20


@EACH
def test_too_few_rows_are_refused(made, task, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(task, "facts", replace(task.facts, rows={"train": 60_000}))
    with pytest.raises(DataError) as error:
        task(name="m", data_dir=str(tmp_path), download=True).load()
    check_error(error.value, "m", "20", "train", "60,000")


def test_folders_of_classes_are_read_too(tmp_path) -> None:
    from official_layouts import draw, put_folder, shade

    pixels = {name: shade(28, 28, seed=ord(name)) for name in "abcdef"}
    put_folder(
        tmp_path / "mnist",
        {
            f"{split}/{digit}/{name}.png": draw(pixels[name])
            for digit in "37"
            for split, names in (("train", "abcd"), ("test", "ef"))
            for name in names
        },
    )
    data = Mnist(name="mnist", data_dir=str(tmp_path)).load()
    assert data.target.classes == ("3", "7")
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 7, "val": 1, "test": 4,
    }  # fmt: skip
