"""What the key of an artifact depends on: its inputs, and the code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from cache_artifacts import PLENTY, never, quiet

from mmx.runs.cache import Cache, artifact_key


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
