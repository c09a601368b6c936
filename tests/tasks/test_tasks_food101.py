"""Food-101: the splits of its JSON files, images left undecoded."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from official_layouts import draw, md5, pack, shade
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.food101 import Food101

SPLITS = {
    "train": {"apple_pie": ["apple_pie/1", "apple_pie/2"], "waffles": ["waffles/5", "waffles/3"]},
    "test": {"waffles": ["waffles/4"], "apple_pie": ["apple_pie/6"]},
}


@pytest.fixture
def _published(publisher, monkeypatch):
    from torchvision.datasets import Food101 as Official

    names = [name for split in SPLITS.values() for part in split.values() for name in part]
    files = {
        f"food-101/images/{name}.jpg": draw(shade(8, 9, 3, seed=seed), "jpeg")
        for seed, name in enumerate(names)
    }
    for split, content in SPLITS.items():
        files[f"food-101/meta/{split}.json"] = json.dumps(content).encode()
    archive = pack(files)
    monkeypatch.setattr(Official, "_URL", publisher.put("food-101.tar.gz", archive))
    monkeypatch.setattr(Official, "_MD5", md5(archive))
    monkeypatch.setattr(Food101, "facts", replace(Food101.facts, rows={"train": 4, "test": 2}))


@pytest.mark.usefixtures("_published")
def test_rows_are_those_of_the_authors(tmp_path) -> None:
    data = Food101(name="food101", data_dir=str(tmp_path), download=True, val_fraction=0.5).load()
    images = data.columns["image"].images
    shown = [
        (images[r].parent.name, images[r].stem, int(data.values[r])) for r in data.splits["test"]
    ]
    assert shown == [("waffles", "4", 1), ("apple_pie", "6", 0)]
    used = sorted([*data.splits["train"], *data.splits["val"]])
    assert [images[row].stem for row in used] == ["1", "2", "5", "3"]
    assert data.target.classes == ("apple_pie", "waffles")


@pytest.mark.usefixtures("_published")
def test_half_a_set_is_refused(tmp_path) -> None:
    Food101(name="food101", data_dir=str(tmp_path), download=True, val_fraction=0.5).load()
    (tmp_path / "food-101" / "meta" / "train.json").write_text('{"apple_pie": ["apple_pie/1"]}')
    with pytest.raises(DataError) as error:
        Food101(name="food101", data_dir=str(tmp_path)).load()
    check_error(error.value, "food101", "1", "4", "train", types=["download=true"])
