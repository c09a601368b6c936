"""The limit of a cache, folders that cannot be used, and keys that others hold."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cache_artifacts import PLENTY, Made, fill, find, flip, never, numbers, quiet, taken
from refusals import check_error

from mmx.errors import Interrupted
from mmx.runs.cache import Cache, readable_bytes
from mmx.runs.cache.lock import KeyLock
from mmx.training.events import StopRequest


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", PLENTY)


LockedFolder = Callable[..., contextlib.AbstractContextManager[Path]]


@pytest.fixture
def locked_folder() -> Iterator[LockedFolder]:
    """Return a context in which a cache's folder can be read and not written, by root neither."""
    root = os.geteuid() == 0
    # pytest's own folders cannot be entered by another user, whom root becomes here.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name) / "cache"
        folder.mkdir()

        @contextlib.contextmanager
        def locked(prepare: Callable[[Cache], object] = quiet) -> Iterator[Path]:
            prepare(Cache(folder, PLENTY))
            inside = [folder, *folder.rglob("*")]
            for path in inside:
                path.chmod(0o555 if path.is_dir() else 0o444)
            Path(name).chmod(0o755)
            if root:
                os.seteuid(65534)
            try:
                yield folder
            finally:
                if root:
                    os.seteuid(0)
                for path in inside:
                    path.chmod(0o755)

        yield locked


class TestRoom:
    def room_for(self, cache: Cache, count: int) -> int:
        """Return the limit that just holds ``count`` artifacts."""
        size = fill(cache, 0).bytes
        assert cache.remove(find(cache, 0))
        return count * size

    def test_the_least_recently_used_goes_first(self, cache: Cache) -> None:
        cache.limit_bytes = self.room_for(cache, 3)
        for number, used in ((1, 300), (2, 100), (3, 200)):
            fill(cache, number, used=used)
        assert numbers(cache) == [2, 3, 1]
        fill(cache, 4, used=400)
        assert numbers(cache) == [3, 1, 4]
        cache.get_or_make("stage", {"number": 3}, never, say=quiet)  # is used now
        fill(cache, 5, used=500)
        assert numbers(cache) == [4, 5, 3]

    def test_as_many_go_as_must(self, cache: Cache) -> None:
        cache.limit_bytes = self.room_for(cache, 3)
        for number in (1, 2, 3):
            fill(cache, number, used=number)
        fill(cache, 4, size=1001, used=4)  # one byte more than the room of one
        assert numbers(cache) == [3, 4]
        assert sum(artifact.bytes for artifact in cache.entries()) <= cache.limit_bytes

    def test_a_smaller_limit_holds_from_the_next_artifact_on(self, cache: Cache) -> None:
        limit = self.room_for(cache, 2)
        for number in range(1, 6):
            fill(cache, number, used=number)
        cache.limit_bytes = limit
        assert numbers(cache) == [1, 2, 3, 4, 5]
        fill(cache, 6)
        assert numbers(cache) == [5, 6]

    def test_what_is_in_use_stays(self, cache: Cache) -> None:
        cache.limit_bytes = self.room_for(cache, 2)
        first = fill(cache, 1, used=1)
        fill(cache, 2, used=2)
        with taken(cache, first.key):
            fill(cache, 3, used=3)
            assert numbers(cache) == [1, 3]
            assert not cache.remove(first)
            assert [artifact.what for artifact, _ in cache.verify()] == ["w3"]
        fill(cache, 4, used=4)
        assert numbers(cache) == [3, 4]

    def test_the_limit_holds_where_others_use_all_there_is(self, cache: Cache) -> None:
        cache.limit_bytes = self.room_for(cache, 1)
        first = fill(cache, 1)
        said: list[str] = []
        with taken(cache, first.key):
            made = ({"w": torch.full((1000,), 2, dtype=torch.uint8)}, {})
            cache.get_or_make("stage", {"number": 2}, lambda: made, say=said.append, what="w2")
        assert said == ["w2: not kept, others use all there is room for"]
        assert numbers(cache) == [1]

    def test_nothing_goes_for_what_does_not_fit_anyway(self, cache: Cache) -> None:
        cache.limit_bytes = self.room_for(cache, 2)
        fill(cache, 1)
        said: list[str] = []
        made = ({"w": torch.zeros(3000, dtype=torch.uint8)}, {})
        found = cache.get_or_make("stage", {}, lambda: made, say=said.append, what="big")
        assert torch.equal(found[0]["w"], made[0]["w"])
        (text,) = said
        limit = readable_bytes(cache.limit_bytes)
        assert re.fullmatch(rf"big: not kept, 3\.\d kB is more than the limit {limit}", text)
        assert numbers(cache) == [1]

    def test_a_limit_of_0_keeps_nothing_and_says_so_once(self, cache: Cache) -> None:
        fill(cache, 1)
        cache.limit_bytes = 0
        said: list[str] = []
        for _ in range(3):
            cache.get_or_make("stage", {}, lambda: ({}, {}), say=said.append, what="x")
        assert len(said) == 1
        assert said[0].endswith(" B is more than the limit 0 B")
        assert numbers(cache) == [1]
        cache.get_or_make("stage", {"number": 1}, never, say=quiet)  # it is read all the same

    def test_folders_that_are_no_artifacts_are_left_alone(self, cache: Cache) -> None:
        first = fill(cache, 1)
        others = [
            cache.path / "photos" / "aa" / "aardvark",
            cache.path / "photos" / "aa" / first.key,
            cache.path / "photos" / "aa" / ".git.new",
            cache.path / "deep" / "er" / "x" / first.key,
            cache.path / first.key,
        ]
        for path in others:
            path.mkdir(parents=True)
            (path / "file").write_bytes(b"x" * 5000)
        cache.limit_bytes = first.bytes
        fill(cache, 2)
        assert numbers(cache) == [2]
        assert all((path / "file").exists() for path in others)

    def test_what_a_killed_process_left_is_cleared(self, cache: Cache) -> None:
        first, second = fill(cache, 1), fill(cache, 2)
        left = [
            artifact.path.with_name(f".{artifact.key}.{end}")
            for artifact in (first, second)
            for end in ("new", "old")
        ]
        for path in left:
            path.mkdir()
            (path / "tensors.safetensors").touch()
        with taken(cache, second.key):
            fill(cache, 3)
        assert [path.exists() for path in left] == [False, False, True, True]
        assert numbers(cache) == [1, 2, 3]
        assert cache.remove(find(cache, 2))
        fill(cache, 2)
        assert [path for path in left if path.exists()] == []

    def test_a_removed_artifact_is_gone(self, cache: Cache) -> None:
        first = fill(cache, 1)
        assert cache.remove(first)
        assert cache.entries() == []
        assert cache.remove(first)  # somebody else was faster
        assert list(first.path.parent.iterdir()) == []


class TestWithout:
    """A cache that cannot be used never ends a run."""

    MADE: Made = ({"w": torch.ones(2)}, {"n": 1})

    def use(self, cache: Cache) -> list[str]:
        """Make two artifacts, each twice; return what was said."""
        said: list[str] = []
        for number in (1, 1, 2, 2):
            tensors, facts = cache.get_or_make(
                "stage", {"number": number}, lambda: self.MADE, say=said.append
            )
            assert torch.equal(tensors["w"], torch.ones(2))
            assert facts == {"n": 1}
        return said

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        cache = Cache(tmp_path / "file" / "cache", PLENTY)
        assert self.use(cache) == [
            f"the cache {cache.path} cannot be used (Not a directory): going on without it"
        ]
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_folder_that_cannot_be_written(self, locked_folder: LockedFolder) -> None:
        with locked_folder() as folder:
            assert self.use(Cache(folder, PLENTY)) == [
                f"the cache {folder} cannot be used (Permission denied): going on without it"
            ]
            assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("fails", ["fsync", "mkdir", "rename"])
    def test_a_full_disk(self, cache: Cache, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
        before = fill(cache, 7)

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            if fails == "fsync":
                patch.setattr(os, "fsync", full)
            else:
                patch.setattr(Path, fails, full)
            assert self.use(cache) == [
                f"the cache {cache.path} cannot be used (No space left on device): "
                "going on without it"
            ]
        assert cache.entries() == [before]
        assert [path for path in cache.path.rglob("*.new") if path.is_dir()] == []
        assert len(self.use(cache)) == 2  # there is room again

    def test_a_folder_that_can_only_be_read_is_read(self, locked_folder: LockedFolder) -> None:
        def prepare(cache: Cache) -> None:
            fill(cache, 1)
            flip(fill(cache, 2).path)

        with locked_folder(prepare) as folder:
            cache, said = Cache(folder, PLENTY), list[str]()
            cache.get_or_make("stage", {"number": 1}, never, say=said.append)
            cache.get_or_make("stage", {"number": 2}, lambda: self.MADE, say=said.append)
            damage = "tensors.safetensors is not what was written"
            assert said == [
                f"the cache {folder} cannot be used (Permission denied): going on without it",
                "stage: taken from the cache, 0.0 s saved",
                f"stage: the kept one is damaged and made again: {damage}",
            ]
            assert {found.what: each for found, each in cache.verify()} == {
                "w1": None,
                "w2": damage,
            }
            with pytest.raises(PermissionError):
                cache.remove(find(cache, 1))
            assert len(cache.entries()) == 2


class TestWaiting:
    def test_ends_with_a_signal(self, cache: Cache) -> None:
        key = cache.key("stage", {"number": 1})
        stop = StopRequest()
        stop(signal.SIGTERM, None)
        fill(cache, 2)
        began = time.monotonic()
        with taken(cache, key), pytest.raises(Interrupted) as caught:
            cache.get_or_make("stage", {"number": 1}, never, say=quiet, stop=stop)
        assert time.monotonic() - began < 1
        check_error(caught.value, "another", "waiting")
        assert caught.value.exit_code == 143

    def test_does_not_begin_where_nobody_holds_it(self, cache: Cache) -> None:
        stop = StopRequest()
        stop(signal.SIGTERM, None)
        cache.get_or_make("stage", {}, lambda: ({}, {}), say=quiet, stop=stop)
        assert len(cache.entries()) == 1

    @pytest.mark.parametrize(
        ("maker", "told"),
        [
            ({"pid": os.getppid()}, [f"waiting for process {os.getppid()}, which is busy"]),
            ({"pid": 3, "host": "far"}, ["waiting for process 3 on far, which is busy"]),
            ({"pid": 2**22 + 1}, []),  # was killed: no process has this number
            ({"pid": "x"}, []),
            (None, []),
        ],
    )
    def test_names_the_maker_that_lives(
        self, cache: Cache, maker: dict[str, Any] | None, told: list[str]
    ) -> None:
        lock, said = KeyLock(cache.path, "k"), []
        if maker is not None:
            with lock.announce("busy"):
                found = {**json.loads((cache.path / ".locks" / "k.json").read_text()), **maker}
            (cache.path / ".locks" / "k.json").write_text(json.dumps(found))
        stop = StopRequest()

        def say(text: str) -> None:
            said.append(text)
            stop(signal.SIGINT, None)

        if not told:
            stop(signal.SIGINT, None)
        with taken(cache, "k"), pytest.raises(Interrupted) as caught:
            lock.wait(say, stop)
        assert said == told
        waited_for = told[0].split("waiting for ")[1].split(",")[0] if told else "another process"
        check_error(caught.value, waited_for)
        assert caught.value.exit_code == 130
