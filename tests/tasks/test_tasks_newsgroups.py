"""20 Newsgroups: the same texts as scikit-learn's, without its pickle."""

from __future__ import annotations

from dataclasses import replace

import pytest
from official_layouts import pack, sha256
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.fetching import RemoteFile
from mmx.tasks.newsgroups import Newsgroups

POST = (
    "From: ann@example.org\nSubject: orbits\n\nbob@example.org writes:\n> Is it round?\n"
    "It is {shape}.\r\nCaf\xe9 {number}.\n\n-- \nAnn of the {shape} society\n"
)
GROUPS = ("sci.space", "talk.misc")
FILES = {
    f"20news-bydate-{split}/{group}/{number}": POST.format(shape=group, number=number)
    for split, numbers in (("train", (9, 10, 101)), ("test", (102, 103)))
    for group in GROUPS
    for number in numbers
}
ROWS = {"train": 6, "test": 4}


@pytest.fixture
def _published(publisher, monkeypatch):
    archive = pack({name: post.encode("latin-1") for name, post in FILES.items()})
    address = publisher.put("5975967", archive)
    file = RemoteFile("20news-bydate.tar.gz", address, f"sha256:{sha256(archive)}")
    monkeypatch.setattr(Newsgroups, "remote", (file,))
    monkeypatch.setattr(Newsgroups, "facts", replace(Newsgroups.facts, rows=ROWS))


def load(tmp_path, **options):
    return Newsgroups(name="newsgroups", data_dir=str(tmp_path), download=True, **options).load()


@pytest.mark.usefixtures("_published")
def test_posts_lose_what_gives_away_the_group(tmp_path) -> None:
    data = load(tmp_path)
    assert data.target.classes == GROUPS
    texts = data.columns["text"].texts
    assert texts[0] == "It is sci.space.\r\nCaf\xe9 9.\n"
    assert [text.rstrip(".\n").split()[-1] for text in texts[:3]] == ["9", "10", "101"]
    assert data.values.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert data.splits["test"].tolist() == [6, 7, 8, 9]


@pytest.mark.usefixtures("_published")
@pytest.mark.parametrize(
    "remove", [[], ["headers"], ["footers"], ["quotes"], ["headers", "quotes"]]
)
def test_what_is_removed_is_what_scikit_learn_removes(
    tmp_path, monkeypatch, remove, publisher
) -> None:
    from sklearn.datasets import _twenty_newsgroups as theirs

    texts = load(tmp_path / "ours", remove=remove).columns["text"].texts
    file = Newsgroups.remote[0]
    archive = theirs.ARCHIVE._replace(url=file.address, checksum=file.digest.partition(":")[2])
    monkeypatch.setattr(theirs, "ARCHIVE", archive)
    found = theirs.fetch_20newsgroups(
        data_home=tmp_path / "theirs", subset="all", remove=tuple(remove), shuffle=False
    )
    assert sorted(texts) == sorted(found.data)


@pytest.mark.usefixtures("_published")
def test_half_a_set_is_refused_and_fetched_again(tmp_path, publisher) -> None:
    load(tmp_path)
    lost = tmp_path / "20newsgroups" / "20news-bydate-test" / "talk.misc" / "103"
    lost.unlink()
    with pytest.raises(DataError) as error:
        Newsgroups(name="newsgroups", data_dir=str(tmp_path)).load()
    check_error(
        error.value, "newsgroups", "20newsgroups", "3", "4", "test", types=["download=true"]
    )
    assert len(load(tmp_path).splits["test"]) == 4
    assert lost.is_file()


@pytest.mark.usefixtures("_published")
@pytest.mark.parametrize("damage", ["half", "changed"])
def test_a_damaged_download_is_named(tmp_path, publisher, damage) -> None:
    publisher.damage["5975967"] = damage
    with pytest.raises(DataError) as error:
        load(tmp_path)
    check_error(error.value, "20news-bydate.tar.gz", Newsgroups.remote[0].address)
    assert not (tmp_path / "20newsgroups").exists()
    publisher.damage.clear()
    assert len(load(tmp_path).splits["test"]) == 4


def test_where_it_is_looked_for(tmp_path) -> None:
    with pytest.raises(DataError) as error:
        Newsgroups(name="newsgroups", data_dir=str(tmp_path)).load()
    types = ["download=true", "MMX_DATA_DIR=<folder>"]
    check_error(error.value, "newsgroups", tmp_path / "20newsgroups", types=types)
    assert "14 MB" in str(error.value.tip)
