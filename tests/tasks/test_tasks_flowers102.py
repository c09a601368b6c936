"""Oxford Flowers: splits and labels of the .mat files, images left undecoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from official_layouts import draw, md5, pack, publish_mat, shade
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.flowers102 import Flowers102

SPLITS = {"trnid": [6, 1, 4], "valid": [2, 5], "tstid": [3, 7, 8, 9]}
LABELS = [1, 1, 2, 2, 1, 2, 1, 2, 2]
"""Classes of images 1 to 9, from 1."""


@pytest.fixture
def _published(publisher, monkeypatch):
    from torchvision.datasets import Flowers102 as Official

    images = {f"jpg/image_{i:05d}.jpg": draw(shade(8, 8, 3, seed=i), "jpeg") for i in range(1, 10)}
    archive = pack(images)
    publisher.put("102flowers.tgz", archive)
    files = {
        "image": ("102flowers.tgz", md5(archive)),
        "label": ("imagelabels.mat", publish_mat(publisher, "imagelabels.mat", {"labels": LABELS})),
        "setid": ("setid.mat", publish_mat(publisher, "setid.mat", SPLITS)),
    }
    monkeypatch.setattr(Official, "_download_url_prefix", f"{publisher.address}/")
    monkeypatch.setattr(Official, "_file_dict", files)
    rows = {"train": 3, "val": 2, "test": 4}
    monkeypatch.setattr(Flowers102, "facts", replace(Flowers102.facts, rows=rows))


def load(tmp_path, *, download: bool = False):
    flowers = ["pink primrose", "hard-leaved pocket orchid"]
    options = {"classes": flowers, "download": download}
    return Flowers102(name="flowers102", data_dir=str(tmp_path), **options).load()


@pytest.mark.usefixtures("_published")
def test_rows_are_those_of_the_authors(tmp_path) -> None:
    data = load(tmp_path, download=True)
    paths = [path.name for path in data.columns["image"].images]
    for split, official in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        rows = data.splits[split]
        assert [paths[row] for row in rows] == [f"image_{i:05d}.jpg" for i in SPLITS[official]]
        assert [int(data.values[row]) for row in rows] == [
            LABELS[i - 1] - 1 for i in SPLITS[official]
        ]
    assert len(Flowers102.facts.rows) == 3
    assert np.all(data.columns["image"].present)


@pytest.mark.usefixtures("_published")
def test_a_missing_image_is_named_and_fetched_again(tmp_path) -> None:
    load(tmp_path, download=True)
    path = tmp_path / "flowers-102" / "jpg" / "image_00005.jpg"
    path.unlink()
    with pytest.raises(DataError) as error:
        load(tmp_path)
    check_error(error.value, "flowers102", path, types=["download=true"])
    assert len(load(tmp_path, download=True).splits["val"]) == 2


def test_where_it_is_looked_for(tmp_path) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path)
    check_error(error.value, tmp_path / "flowers102", tmp_path / "flowers-102")
    assert "345 MB" in str(error.value.tip)


@pytest.mark.parametrize("validated", [True, False])
def test_a_folder_of_validation_images_is_read_as_such(tmp_path, validated: bool) -> None:
    rows = {"train": 6, "val": 3, "test": 2} if validated else {"train": 6, "test": 2}
    for split, count in rows.items():
        for name in ("pink primrose", "hard-leaved pocket orchid"):
            folder = tmp_path / "flowers102" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.jpg").write_bytes(draw(shade(8, 8, 3, seed=index), "jpeg"))
    data = load(tmp_path)
    paths = data.columns["image"].images
    found = {split: {paths[row].parent.parent.name for row in data.splits[split]} for split in rows}
    assert found == {split: {split} for split in rows}
    assert len(data.splits["test"]) == 4
    if validated:
        assert len(data.splits["val"]) == 6
