"""The artifact cache: keys, bits, damage, room."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from filelock import FileLock
from refusals import check_error
from torch import Tensor, nn

from mmx.errors import Interrupted
from mmx.runs.cache import Artifact, Cache, artifact_key, location, readable_bytes
from mmx.runs.cache import folder as folders
from mmx.runs.cache.lock import KeyLock
from mmx.runs.digests import digest, seal_text
from mmx.training.events import StopRequest

PLENTY = 10**9
Made = tuple[dict[str, Tensor], dict[str, Any]]


def never() -> Made:
    raise AssertionError("made again")


def quiet(_: object) -> None:
    pass


def bits(tensor: Tensor) -> bytes:
    """Return the memory of a tensor, element by element."""
    return bytes(tensor.detach().resolve_conj().resolve_neg().contiguous().untyped_storage())


def fill(cache: Cache, number: int, *, size: int = 1000, used: float | None = None) -> Artifact:
    """Keep ``size`` bytes as artifact ``number``; say when it was used."""
    made = ({"w": torch.full((size,), number, dtype=torch.uint8)}, {"number": number})
    cache.get_or_make("stage", {"number": number}, lambda: made, say=quiet, what=f"w{number}")
    artifact = find(cache, number)
    if used is not None:
        os.utime(artifact.path / "provenance.json", (used, used))
    return artifact


def find(cache: Cache, number: int) -> Artifact:
    key = cache.key("stage", {"number": number})
    (found,) = (artifact for artifact in cache.entries() if artifact.key == key)
    return found


def numbers(cache: Cache) -> list[int]:
    """Return which artifacts are kept, the least recently used first."""
    return [int(artifact.what[1:]) for artifact in cache.entries()]


@contextlib.contextmanager
def taken(cache: Cache, key: str) -> Iterator[None]:
    """Hold a key as another process would."""
    with FileLock(str(cache.path / ".locks" / key)):
        yield


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


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", PLENTY)


class TestKey:
    INPUTS: ClassVar = {
        "lr": 0.1,
        "epochs": 3,
        "freeze": ["a", "b"],
        "data": {"x": "f0", "y": None},
    }

    def test_is_the_same_digest_each_time(self, cache: Cache, tmp_path: Path) -> None:
        key = cache.key("stage", self.INPUTS)
        assert len(key) == 32
        assert set(key) <= set("0123456789abcdef")
        assert Cache(tmp_path, 0).key("stage", dict(reversed(self.INPUTS.items()))) == key

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (1, 1.0),
            (0, -0.0),
            ((1, 2), [1, 2.0]),
            (2**60, float(2**60)),
            ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}),
            ({1: "x"}, {1.0: "x"}),
            (np.float64(0.1), 0.1),
        ],
    )
    def test_is_the_same_for_equal_data(self, cache: Cache, one: object, other: object) -> None:
        assert cache.key("stage", {"x": one}) == cache.key("stage", {"x": other})

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (1, 2),
            (1, "1"),
            (1, True),
            (0, None),
            (0, False),
            (0.1, 0.1 + 2**-56),
            ([1, 2], [2, 1]),
            ([1], [1, []]),
            ([1], 1),
            ({1: "x"}, {"1": "x"}),
            ({"a": {"b": 1}}, {"a": 1, "b": 1}),
            ("é", "e\u0301"),
            (float("nan"), float("inf")),
        ],
    )
    def test_differs_for_different_data(self, cache: Cache, one: object, other: object) -> None:
        assert cache.key("stage", {"x": one}) != cache.key("stage", {"x": other})

    def test_depends_on_the_kind_and_the_code(
        self, cache: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = cache.key("stage", self.INPUTS)
        assert cache.key("features", self.INPUTS) != key
        monkeypatch.setattr(artifact_key, "code_version", lambda: "another")
        assert cache.key("stage", self.INPUTS) != key

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"x": {"y": [1, Path("a")]}}, r"inputs\.x\.y\[1\] is a PosixPath: "),
            ({"x": torch.zeros(1)}, r"inputs\.x is a Tensor: "),
            ({"x": {1, 2}}, r"inputs\.x is a set: "),
            ({"x": np.int64(1)}, r"inputs\.x is a int64: "),
            ({"x": {(1, 2): 3}}, r"inputs\.x has a tuple as a name: "),
            ({"x": {b"": 3}}, r"a name in inputs\.x is a bytes: "),
        ],
    )
    def test_is_of_json_alone(self, cache: Cache, inputs: dict[str, Any], message: str) -> None:
        with pytest.raises(TypeError, match=f"^{message}"):
            cache.key("stage", inputs)

    @pytest.mark.parametrize("kind", ["", "../up", "Stage", "a/b", ".locks"])
    def test_the_kind_names_a_folder(self, cache: Cache, kind: str) -> None:
        with pytest.raises(ValueError, match="must be a plain lower-case name"):
            cache.get_or_make(kind, {}, never, say=quiet)


class TestCodeVersion:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        copied = tmp_path / "mmx"
        shutil.copytree(artifact_key.PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(artifact_key, "PACKAGE", copied)
        return copied

    @staticmethod
    def version() -> str:
        return artifact_key.code_version.__wrapped__()

    def test_does_not_depend_on_where_the_package_lies(self, package: Path) -> None:
        assert self.version() == artifact_key.code_version()

    @pytest.mark.parametrize(
        "name", ["model.py", "errors.py", "fusion/gmu.py", "tasks/splits.py", "training/fit.py"]
    )
    def test_changes_with_a_file_that_numbers_depend_on(self, package: Path, name: str) -> None:
        before = self.version()
        with (package / name).open("a") as file:
            file.write("\n")
        assert self.version() != before

    @pytest.mark.parametrize(
        "name",
        ["cli.py", "__main__.py", "verbs/list.py", "reports/report.py", "runs/cache/lock.py"],
    )
    def test_stays_where_only_what_is_shown_changes(self, package: Path, name: str) -> None:
        before = self.version()
        with (package / name).open("a") as file:
            file.write("\n")
        (package / "verbs" / "another.py").touch()
        (package / "fusion" / "notes.txt").touch()
        assert self.version() == before

    def test_changes_with_names_and_new_files(self, package: Path) -> None:
        versions = {self.version()}
        (package / "fusion" / "another.py").touch()
        versions.add(self.version())
        (package / "fusion" / "another.py").rename(package / "fusion" / "other.py")
        versions.add(self.version())
        (package / "fusion" / "other.py").rename(package / "tasks" / "other.py")
        versions.add(self.version())
        assert len(versions) == 4

    def test_a_line_that_moves_to_the_next_file_counts(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text("x = 1\n")
        (tmp_path / "b.py").write_text("")
        before = artifact_key.digest_sources(tmp_path)
        (tmp_path / "a.py").write_text("")
        (tmp_path / "b.py").write_text("x = 1\n")
        assert artifact_key.digest_sources(tmp_path) != before

    def test_a_file_that_looks_like_two_is_one(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text("x = 1\nb.py \ny = 2\n")
        before = artifact_key.digest_sources(tmp_path)
        (tmp_path / "a.py").write_text("x = 1\n")
        (tmp_path / "b.py").write_text("y = 2\n")
        assert artifact_key.digest_sources(tmp_path) != before

    @pytest.mark.parametrize("library", artifact_key.LIBRARIES)
    def test_changes_with_a_library(self, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
        known = artifact_key.metadata.version
        monkeypatch.setattr(
            artifact_key.metadata, "version", lambda name: "0" if name == library else known(name)
        )
        assert self.version() != artifact_key.code_version()

    def test_the_parts_left_out_are_there(self) -> None:
        assert all((artifact_key.PACKAGE / name).exists() for name in artifact_key.NO_NUMBERS)
        assert {"contract", "terminal.py", "printable.py"} <= set(artifact_key.NO_NUMBERS)
        assert not {"meta_model.py", "fusion", "tasks", "training"} & set(artifact_key.NO_NUMBERS)
        assert "torch" in artifact_key.LIBRARIES


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool),
    *(torch.complex128, torch.complex64, torch.complex32),
]


def any_bits(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor of random bits, NaNs with payloads among them."""
    if dtype == torch.bool:
        return torch.randint(0, 2, shape).bool()
    count = int(np.prod(shape)) * torch.empty(0, dtype=dtype).element_size()
    return torch.randint(0, 256, (count,), dtype=torch.uint8).view(dtype).reshape(shape)


def both(cache: Cache, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the tensors as they come back when made and when read."""
    made = cache.get_or_make("stage", {}, lambda: (tensors, {}), say=quiet)[0]
    assert len(cache.entries()) == 1
    return [made, cache.get_or_make("stage", {}, never, say=quiet)[0]]


class TestTensors:
    @pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_the_bits_come_back(self, cache: Cache, dtype: torch.dtype) -> None:
        shapes = [(), (1,), (3, 5), (0,), (2, 0, 3), (2, 3, 4, 5)]
        given = {f"{shape}": any_bits(shape, dtype) for shape in shapes}
        for found in both(cache, given):
            assert found.keys() == given.keys()
            for name, tensor in given.items():
                assert found[name].dtype == dtype
                assert found[name].shape == tensor.shape
                assert bits(found[name]) == bits(tensor)

    def test_every_layout_comes_back_dense_and_alone(self, cache: Cache) -> None:
        base = torch.randn(4, 6)
        complexes = torch.randn(3, 2, dtype=torch.complex64)
        given = {
            "transposed": base.T,
            "expanded": torch.randn(3, 1).expand(3, 4),
            "slice": base[1:3, ::2],
            "whole": base,
            "again": base,
            "end": base[-1:],
            "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "parameter": nn.Parameter(torch.randn(2)),
            "grown": nn.Parameter(torch.randn(2)) * 2,
            "conjugate": complexes.conj(),
            "negative": complexes.conj().imag,
            "a.b/ü \n": torch.ones(1),
        }
        for found in both(cache, given):
            assert list(found) == sorted(given)
            for name, tensor in given.items():
                assert type(found[name]) is Tensor
                assert found[name].is_contiguous()
                assert not found[name].requires_grad
                assert torch.equal(found[name], tensor)
                assert found[name].is_conj() is found[name].is_neg() is False
            memory = {tensor.untyped_storage().data_ptr() for tensor in found.values()}
            assert len(memory) == len(given)
            found["whole"].zero_()
            assert torch.equal(found["again"], base)

    def test_no_tensors_at_all(self, cache: Cache) -> None:
        assert both(cache, {}) == [{}, {}]

    def test_facts_are_the_same_made_and_read(self, cache: Cache) -> None:
        facts = {"b": (1, 2.0), "a": 0.1 + 0.2, 3: "é\udc80", "none": None, "inf": float("inf")}
        made = cache.get_or_make("stage", {}, lambda: ({}, facts), say=quiet)[1]
        read = cache.get_or_make("stage", {}, never, say=quiet)[1]
        assert made == read
        assert list(made) == list(read)
        assert read == {
            "b": [1, 2.0], "a": 0.1 + 0.2, "3": "é\udc80", "none": None, "inf": float("inf")
        }  # fmt: skip

    def test_nothing_is_a_pickle(self, cache: Cache) -> None:
        both(cache, {"w": torch.ones(2)})
        (artifact,) = cache.entries()
        assert sorted(path.name for path in artifact.path.iterdir()) == [
            "provenance.json",
            "tensors.safetensors",
        ]


class TestGetOrMake:
    def test_is_made_once_and_says_so(self, cache: Cache) -> None:
        calls, said = [], []

        def make() -> Made:
            calls.append(1)
            time.sleep(0.06)
            return {"w": torch.ones(2)}, {"n": 1}

        for _ in range(3):
            found = cache.get_or_make("stage", {"a": 1}, make, say=said.append, what="source x")
            assert torch.equal(found[0]["w"], torch.ones(2))
            assert found[1] == {"n": 1}
        assert len(calls) == 1
        assert said == ["source x: taken from the cache, 0.1 s saved"] * 2
        assert cache.get_or_make("stage", {"a": 2}, make, say=said.append)[1] == {"n": 1}
        assert len(calls) == 2

    def test_what_is_on_disk(self, cache: Cache) -> None:
        inputs = {"lr": 0.1, "names": ("a", "b")}
        made = ({"w": torch.arange(3)}, {"score": 0.5})
        cache.get_or_make("features", inputs, lambda: made, say=quiet, what="photo")
        key = cache.key("features", inputs)
        folder = cache.path / "features" / key[:2] / key
        provenance = json.loads((folder / "provenance.json").read_text())
        size = (folder / "tensors.safetensors").stat().st_size
        created, seconds = provenance.pop("created"), provenance.pop("seconds")
        assert len(provenance.pop("hash")) == len(provenance.pop("digest")) == 32
        assert provenance == {
            "format": 2,
            "kind": "features",
            "what": "photo",
            "inputs": {"lr": 0.1, "names": ["a", "b"]},
            "facts": {"score": 0.5},
            "code": artifact_key.code_version(),
            "bytes": size,
        }
        (artifact,) = cache.entries()
        assert artifact.path == folder
        assert (artifact.kind, artifact.key, artifact.what) == ("features", key, "photo")
        assert (artifact.created, artifact.seconds) == (created, seconds)
        assert artifact.bytes == size + (folder / "provenance.json").stat().st_size
        assert abs(artifact.used - time.time()) < 5

    def test_what_fails_is_not_kept(self, cache: Cache) -> None:
        def fails() -> Made:
            raise ArithmeticError("NaN")

        with pytest.raises(ArithmeticError, match="NaN") as caught:
            cache.get_or_make("stage", {"number": 1}, fails, say=quiet)
        assert KeyLock(cache.path, cache.key("stage", {"number": 1})).attempt()
        assert caught.tb is not None  # nothing was collected: the lock was let go
        assert cache.entries() == []
        assert not list(cache.path.rglob("*.json"))
        fill(cache, 1)

    def test_what_is_not_to_be_kept_is_made_each_time_unless_it_is_there(
        self, cache: Cache
    ) -> None:
        inputs, made = {"number": 1}, []

        def make() -> Made:
            made.append(KeyLock(cache.path, cache.key("stage", inputs)).attempt())
            return {"w": torch.ones(2)}, {"n": len(made)}

        for count in (1, 2):
            tensors, facts = cache.get_or_make("stage", inputs, make, say=quiet, keep=False)
            assert (tensors["w"].tolist(), facts) == ([1.0, 1.0], {"n": count})
        assert made == [False, False]  # others wait all the same
        assert cache.entries() == []
        fill(cache, 1)
        assert cache.get_or_make("stage", inputs, never, say=quiet, keep=False)[1] == {"number": 1}

    def test_an_error_of_the_disk_in_the_making_is_raised(self, cache: Cache) -> None:
        said: list[str] = []

        def fails() -> Made:
            raise FileNotFoundError(errno.ENOENT, "no such picture")

        with pytest.raises(FileNotFoundError, match="no such picture"):
            cache.get_or_make("stage", {}, fails, say=said.append)
        assert said == []

    @pytest.mark.parametrize("facts", [{"x": {1}}, {"x": torch.ones(1)}])
    def test_facts_that_are_no_json_are_an_error(self, cache: Cache, facts: dict[str, Any]) -> None:
        with pytest.raises(TypeError, match="is not JSON serializable"):
            cache.get_or_make("stage", {"number": 1}, lambda: ({}, facts), say=quiet)
        assert cache.entries() == []
        fill(cache, 1)

    def test_one_artifact_may_need_another(self, cache: Cache) -> None:
        def outer() -> Made:
            inner = cache.get_or_make("features", {}, lambda: ({"f": torch.ones(1)}, {}), say=quiet)
            return {"sum": inner[0]["f"] + 1}, {}

        cache.get_or_make("stage", {}, outer, say=quiet)
        assert [artifact.kind for artifact in cache.entries()] == ["features", "stage"]


def flip(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


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


@pytest.mark.parametrize(
    ("setting", "environment", "expected"),
    [
        ("auto", {}, "~/.cache/mmx/artifacts"),
        ("auto", {"XDG_CACHE_HOME": "/x"}, "/x/mmx/artifacts"),
        ("auto", {"XDG_CACHE_HOME": "", "MMX_CACHE_DIR": ""}, "~/.cache/mmx/artifacts"),
        ("auto", {"XDG_CACHE_HOME": "/x", "MMX_CACHE_DIR": "~/mine"}, "~/mine"),
        ("auto", {"MMX_CACHE_DIR": "off"}, None),
        ("off", {"MMX_CACHE_DIR": "/x"}, None),
        ("/y", {"MMX_CACHE_DIR": "off"}, "/y"),
        ("here", {}, "./here"),
    ],
)
def test_location(
    setting: str,
    environment: dict[str, str],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("XDG_CACHE_HOME", "MMX_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = location(setting)
    assert found == (None if expected is None else Path(expected).expanduser().absolute())


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678_901, "12.3 GB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_readable_bytes(count: int, text: str) -> None:
    assert readable_bytes(count) == text
