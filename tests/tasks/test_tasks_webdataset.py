"""Shards of webdataset: rows by value, alternatives of suffixes, ranges of files."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from official_layouts import draw, pack, shade
from refusals import check_error

from mmx.errors import DataError
from mmx.modalities.image import read_image
from mmx.tasks.webdataset import WebDataset, expand_ranges


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of four samples; every other image is a JPEG."""
    for shard in range(3):
        files = {}
        for row in range(4 * shard, 4 * shard + 4):
            form = ("png", "jpeg")[row % 2]
            files[f"{row:04d}.{('png', 'jpg')[row % 2]}"] = draw(shade(8, 9, 3, seed=row), form)
            files[f"{row:04d}.cls"] = str(row % 2).encode()
            files[f"{row:04d}.json"] = f'{{"caption": "picture {row}"}}'.encode()
        (tmp_path / f"part-{shard:03d}.tar").write_bytes(pack(files, "w:"))
    return tmp_path


def test_rows_are_those_of_the_samples(shards: Path) -> None:
    path = f"{shards}/part-{{000..002}}.tar"
    columns = {"image": "jpg;png", "text": "caption"}
    data = WebDataset(name="w", path=path, columns=columns).load()
    assert data.values.tolist() == [0, 1] * 6
    assert data.columns["text"].texts == [f"picture {row}" for row in range(12)]
    image = data.columns["image"]
    assert image.present.all()
    for row in (0, 2, 10):  # PNG is lossless
        assert np.array_equal(read_image(image, row, None), shade(8, 9, 3, seed=row))
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 9, "val": 1, "test": 2,
    }  # fmt: skip


def test_one_suffix_leaves_the_other_missing(shards: Path) -> None:
    columns = {"image": "jpg", "text": "caption"}
    data = WebDataset(name="w", path=str(shards / "part-000.tar"), columns=columns).load()
    assert data.columns["image"].present.tolist() == [False, True, False, True]


def test_splits_may_be_named(shards: Path) -> None:
    path = {"train": f"{shards}/part-{{0..1}}.tar".replace("{0..1}", "{000..001}"),
            "test": f"{shards}/part-002.tar"}  # fmt: skip
    data = WebDataset(name="w", path=path).load()
    assert data.splits["test"].tolist() == [8, 9, 10, 11]


def test_a_suffix_that_no_sample_has(shards: Path) -> None:
    with pytest.raises(DataError) as error:
        WebDataset(
            name="w", path=str(shards / "part-000.tar"), columns={"image": "webp;gif"}
        ).load()
    check_error(error.value, "w", "'webp;gif'", "png, cls, caption, jpg")


def test_a_shard_that_is_not_there(shards: Path) -> None:
    with pytest.raises(DataError) as error:
        WebDataset(name="w", path=f"{shards}/part-{{000..003}}.tar").load()
    check_error(error.value, "w", f"{shards}/part-003.tar")


def test_a_shard_that_is_cut_off(shards: Path) -> None:
    path = shards / "part-001.tar"
    path.write_bytes(path.read_bytes()[:1300])
    with pytest.raises(DataError) as error:
        WebDataset(name="w", path=str(path)).load()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{0..2}.tar", ["a-0.tar", "a-1.tar", "a-2.tar"]),
        ("a-{08..10}.tar", ["a-08.tar", "a-09.tar", "a-10.tar"]),
        ("a-{02..01}.tar", ["a-02.tar", "a-01.tar"]),
        ("{0..1}/a-{1..2}", ["0/a-1", "0/a-2", "1/a-1", "1/a-2"]),
    ],
)
def test_ranges(path: str, expected: list[str]) -> None:
    assert expand_ranges(path) == expected


def test_what_webdataset_itself_writes(tmp_path: Path) -> None:
    writer = pytest.importorskip("webdataset")
    with writer.TarWriter(str(tmp_path / "a.tar")) as sink:
        for row in range(6):
            sink.write({"__key__": f"{row:03d}", "png": shade(8, 8, 3, seed=row), "cls": row % 2})
    data = WebDataset(name="w", path=str(tmp_path / "a.tar")).load()
    assert data.values.tolist() == [0, 1] * 3
    assert np.array_equal(read_image(data.columns["image"], 4, None), shade(8, 8, 3, seed=4))
    assert tarfile.is_tarfile(io.BytesIO((tmp_path / "a.tar").read_bytes()))
