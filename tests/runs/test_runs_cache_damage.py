"""Artifacts that are not what was written: noticed, named and made again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cache_artifacts import PLENTY, fill, find, flip, never, quiet
from torch import Tensor

from mmx.runs.cache import Cache
from mmx.runs.cache import folder as folders
from mmx.runs.digests import digest, seal_text


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", PLENTY)


def torn(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def foreign(folder: Path) -> None:
    (folder / "tensors.safetensors").write_bytes(b"PK\x03\x04 a pickle")
    facts = json.loads((folder / "provenance.json").read_text())
    facts.update(hash=digest(b"PK\x03\x04 a pickle"), bytes=13)
    (folder / "provenance.json").write_text(seal_text(facts))


def swapped(folder: Path) -> None:
    (other,) = (path for path in folder.parents[1].glob("*/*") if path.name != folder.name)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flip": (flip, "tensors.safetensors is not what was written"),
    "torn": (torn, "tensors.safetensors is not what was written"),
    "no tensors": (
        lambda folder: (folder / "tensors.safetensors").unlink(),
        "tensors.safetensors does not exist",
    ),
    "no provenance": (
        lambda folder: (folder / "provenance.json").unlink(),
        "provenance.json does not exist",
    ),
    "broken provenance": (
        lambda folder: (folder / "provenance.json").write_text("{"),
        "provenance.json cannot be read",
    ),
    "foreign": (foreign, "tensors.safetensors was not written by mmx"),
    "swapped": (swapped, "tensors.safetensors belongs to another key"),
}


def provenance(folder: Path, **facts: Any) -> None:
    path = folder / "provenance.json"
    path.write_text(seal_text({**json.loads(path.read_text()), **facts}))


def instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what puts something else in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


def huge_header(folder: Path) -> None:
    data = (2**62).to_bytes(8, "little") + b"{}"
    (folder / "tensors.safetensors").write_bytes(data)
    provenance(folder, hash=digest(data), bytes=len(data))


def deep_header(folder: Path) -> None:
    text = b"[" * 100_000
    data = len(text).to_bytes(8, "little") + text
    (folder / "tensors.safetensors").write_bytes(data)
    provenance(folder, hash=digest(data), bytes=len(data))


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def a_link(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


STRANGE: dict[str, Callable[[Path], object]] = {
    "a pipe for tensors": instead("tensors.safetensors", os.mkfifo),
    "a folder for tensors": instead("tensors.safetensors", Path.mkdir),
    "a link to a device": instead("tensors.safetensors", lambda path: path.symlink_to("/dev/zero")),
    "a link to nothing": instead("tensors.safetensors", lambda path: path.symlink_to("/nowhere")),
    "tensors of gigabytes": lambda folder: os.truncate(folder / "tensors.safetensors", 2**40),
    "a pipe for provenance": instead("provenance.json", os.mkfifo),
    "a folder for provenance": instead("provenance.json", Path.mkdir),
    "deep provenance": lambda folder: (folder / "provenance.json").write_text("[" * 100_000),
    "huge provenance": lambda folder: os.truncate(folder / "provenance.json", 2**40),
    "no text": lambda folder: (folder / "provenance.json").write_bytes(b"\xff\xfe\0"),
    "a list": lambda folder: (folder / "provenance.json").write_text("[]"),
    "size of another type": lambda folder: provenance(folder, bytes=[1]),
    "hash of another type": lambda folder: provenance(folder, hash=[1]),
    "a number beyond floats": lambda folder: provenance(folder, seconds=10**400),
    "a header beyond the file": huge_header,
    "a deep header": deep_header,
    "a file for the folder": a_file,
    "a link for the folder": a_link,
    "nothing in the folder": lambda folder: [path.unlink() for path in folder.iterdir()],
}


class TestDamage:
    @pytest.mark.parametrize("kind", DAMAGES)
    def test_is_said_and_made_again(self, cache: Cache, kind: str) -> None:
        damage, reason = DAMAGES[kind]
        folder = fill(cache, 1).path
        fill(cache, 2)
        damage(folder)
        verified = {found.key: found_damage for found, found_damage in cache.verify()}
        assert verified.pop(folder.name) == reason
        assert list(verified.values()) == [None]

        said: list[str] = []
        made = ({"w": torch.full((1000,), 1, dtype=torch.uint8)}, {})
        get = lambda make: cache.get_or_make(  # noqa: E731
            "stage", {"number": 1}, make, say=said.append, what="w1"
        )
        assert torch.equal(get(lambda: made)[0]["w"], made[0]["w"])
        assert torch.equal(get(never)[0]["w"], made[0]["w"])
        assert said == [
            f"w1: the kept one is damaged and made again: {reason}",
            "w1: taken from the cache, 0.0 s saved",
        ]
        assert [each for _, each in cache.verify()] == [None, None]

    def test_every_single_byte_counts(self, cache: Cache) -> None:
        path = fill(cache, 1, size=8).path / "tensors.safetensors"
        sound = path.read_bytes()
        for place in range(len(sound)):
            data = bytearray(sound)
            data[place] ^= 1 << place % 8
            path.write_bytes(data)
            with pytest.raises(folders.DamagedError, match="is not what was written"):
                folders.read_content(path.parent)

    @pytest.mark.slow
    def test_every_single_bit_of_what_is_said_counts(self, cache: Cache) -> None:
        path = fill(cache, 1, size=8).path / "provenance.json"
        sound = path.read_bytes()
        for bit in range(8 * len(sound)):
            data = bytearray(sound)
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
            with pytest.raises(folders.DamagedError, match=r"provenance\.json"):
                folders.read_provenance(path.parent)

    def test_an_artifact_of_before_there_was_a_digest_is_read(self, cache: Cache) -> None:
        path = fill(cache, 1).path / "provenance.json"
        facts = json.loads(path.read_text())
        del facts["digest"], facts["format"]
        path.write_text(json.dumps({**facts, "seconds": "x"}))
        said: list[str] = []
        cache.get_or_make("stage", {"number": 1}, never, say=said.append)
        assert said == ["stage: taken from the cache, 0.0 s saved"]
        assert find(cache, 1).seconds == 0

    @pytest.mark.parametrize("name", STRANGE)
    def test_whatever_lies_there_costs_time_and_never_a_run(self, cache: Cache, name: str) -> None:
        folder = fill(cache, 1).path
        fill(cache, 2)
        STRANGE[name](folder)
        assert len([damage for _, damage in cache.verify() if damage is not None]) == 1
        assert len(cache.entries()) == 2
        said: list[str] = []
        made = ({"w": torch.ones(3)}, {"number": 1})
        get = lambda make: cache.get_or_make(  # noqa: E731
            "stage", {"number": 1}, make, say=said.append, what="w1", check=check
        )

        def check(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
            assert tensors["w"].shape in ((3,), (1000,))
            assert facts["number"] == 1

        assert torch.equal(get(lambda: made)[0]["w"], made[0]["w"])
        assert torch.equal(get(never)[0]["w"], made[0]["w"])
        assert said[0].startswith("w1: the kept one is damaged and made again: ")
        assert said[1:] == ["w1: taken from the cache, 0.0 s saved"]
        assert [each for _, each in cache.verify()] == [None, None]

    @pytest.mark.parametrize("spoilt", ["tensors", "facts"])
    def test_what_was_written_wrong_is_made_again(self, cache: Cache, spoilt: str) -> None:
        made = ({"w": torch.ones(3)}, {"number": 1})
        wrong = ({"v": torch.ones(3)}, {"number": 1}) if spoilt == "tensors" else (made[0], {})
        said: list[str] = []

        def check(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
            (tensors["w"], facts["number"])

        cache.get_or_make("stage", {}, lambda: wrong, say=quiet)
        for make in (lambda: made, never):
            found = cache.get_or_make("stage", {}, make, say=said.append, check=check)
            assert torch.equal(found[0]["w"], made[0]["w"])
        assert len(said) == 2
        assert "made again: it cannot be used: " in said[0]

    @pytest.mark.parametrize("place", ["lock", "locks", "kind", "maker"])
    def test_a_lock_that_cannot_be_held_costs_time_and_never_a_run(
        self, tmp_path: Path, place: str
    ) -> None:
        cache, said = Cache(tmp_path, PLENTY), list[str]()
        key, mine = cache.key("stage", {}), tmp_path / "mine"
        mine.write_text("kept")
        if place != "locks":
            (tmp_path / ".locks").mkdir()
        if place == "lock":
            (tmp_path / ".locks" / key).symlink_to(mine)
        elif place == "locks":
            (tmp_path / ".locks").write_text("")
        elif place == "kind":
            (tmp_path / "stage").write_text("")
        else:
            (tmp_path / ".locks" / f"{key}.json").write_text("[" * 100_000)
        found = cache.get_or_make("stage", {}, lambda: ({"w": torch.ones(1)}, {}), say=said.append)
        assert torch.equal(found[0]["w"], torch.ones(1))
        assert len(said) == (0 if place == "maker" else 1)
        assert mine.read_text() == "kept"
        cache.entries()
        list(cache.verify())
