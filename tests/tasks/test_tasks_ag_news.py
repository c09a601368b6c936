"""AG News: quoted cells and topics from 1 of the CSV files."""

from __future__ import annotations

import pytest
from official_layouts import md5
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.ag_news import TOPICS, AgNews
from mmx.tasks.fetching import RemoteFile

ITEM = '"{topic}","Title {row}, ""quoted""","Two\\lines ({row})"\n'
FILES = {
    name: "".join(ITEM.format(topic=row % 4 + 1, row=row) for row in range(rows)).encode()
    for name, rows in (("train.csv", 16), ("test.csv", 8))
}


@pytest.fixture(autouse=True)
def _published(publisher, monkeypatch):
    remote = [
        RemoteFile(name, publisher.put(name, content), f"md5:{md5(content)}")
        for name, content in FILES.items()
    ]
    monkeypatch.setattr(AgNews, "remote", tuple(remote))
    monkeypatch.setattr(AgNews, "facts", None)


def test_items(tmp_path) -> None:
    data = AgNews(name="ag_news", data_dir=str(tmp_path), download=True).load()
    assert data.target.classes == TOPICS == ("World", "Sports", "Business", "Sci/Tech")
    texts, rows = data.columns["text"].texts, data.splits["test"]
    assert texts[rows[5]] == 'Title 5, "quoted" Two\\lines (5)'
    assert data.values[rows].tolist() == [row % 4 for row in range(8)]


def test_a_row_of_another_kind_is_named(tmp_path) -> None:
    AgNews(name="ag_news", data_dir=str(tmp_path), download=True).load()
    path = tmp_path / "ag_news_csv" / "test.csv"
    path.write_text('"1","a","b"\n"5","a","b"\n')
    with pytest.raises(DataError) as error:
        AgNews(name="ag_news", data_dir=str(tmp_path)).load()
    check_error(error.value, "ag_news", path, "line 2", types=["download=true"])


def test_both_files_are_checked(tmp_path, publisher) -> None:
    publisher.damage["test.csv"] = "changed"
    with pytest.raises(DataError) as error:
        AgNews(name="ag_news", data_dir=str(tmp_path), download=True).load()
    check_error(error.value, "test.csv", f"{publisher.address}/test.csv")
    assert not (tmp_path / "ag_news_csv").exists()
