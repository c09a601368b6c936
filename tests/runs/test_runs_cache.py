"""The artifact cache: what is kept and read again, bit by bit."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_artifacts import PLENTY, Made, bits, fill, never, quiet
from torch import Tensor, nn

from mmx.runs.cache import Cache, artifact_key, location, readable_bytes
from mmx.runs.cache.lock import KeyLock


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", PLENTY)


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
