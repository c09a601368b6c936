"""IMDB: texts and sentiment of the folders, without the reviews that have no label."""

from __future__ import annotations

from dataclasses import replace

import pytest
from official_layouts import md5, pack
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.fetching import RemoteFile
from mmx.tasks.imdb import Imdb

FILES = {
    f"aclImdb/{split}/{label}/{row}_{stars}.txt": f"{split} {label} {row}: na\xefve<br />".encode()
    for split in ("train", "test")
    for label, stars in (("pos", 9), ("neg", 2), ("unsup", 0))
    for row in (0, 1, 2, 10)
}


@pytest.fixture(autouse=True)
def _published(publisher, monkeypatch):
    archive = pack(FILES)
    file = RemoteFile(
        "aclImdb_v1.tar.gz", publisher.put("a.tar.gz", archive), f"md5:{md5(archive)}"
    )
    monkeypatch.setattr(Imdb, "remote", (file,))
    monkeypatch.setattr(Imdb, "facts", replace(Imdb.facts, rows={"train": 8, "test": 8}))


def test_reviews(tmp_path) -> None:
    data = Imdb(name="imdb", data_dir=str(tmp_path), download=True).load()
    assert data.target.classes == ("neg", "pos")
    texts = data.columns["text"].texts
    expected = [
        f"test {label} {row}: na\xefve<br />" for label in ("neg", "pos") for row in (0, 1, 2, 10)
    ]
    assert [texts[row] for row in data.splits["test"]] == expected
    assert data.values[data.splits["test"]].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(data.splits["train"]) + len(data.splits["val"]) == 8
    assert not (tmp_path / "imdb" / "aclImdb_v1.tar.gz").exists()


def test_a_text_of_another_encoding_is_named(tmp_path) -> None:
    Imdb(name="imdb", data_dir=str(tmp_path), download=True).load()
    path = tmp_path / "imdb" / "aclImdb" / "train" / "neg" / "1_2.txt"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(DataError) as error:
        Imdb(name="imdb", data_dir=str(tmp_path)).load()
    check_error(error.value, "imdb", path, "utf-8", types=["download=true"])
