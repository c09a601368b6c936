"""What a library says is asked once for equal inputs, and again of another version."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from mmx.errors import DataError
from mmx.experiment.kept_facts import open_fact_keeper
from mmx.experiment.settings import Settings
from mmx.json_object import Json
from mmx.library_facts import keep_library_facts, recall_facts


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    keep_library_facts(None)


def ask(asked: list[str], **facts: object) -> Json:
    asked.append("asked")
    return {"sizes": (3, 4), **facts}


def test_facts_are_asked_once_for_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for _ in range(2):  # as two processes would
        keep_library_facts(open_fact_keeper(Settings(cache=str(tmp_path), data_dir="")))
        assert recall_facts("torch", {"of": "a"}, lambda: ask(asked)) == {"sizes": [3, 4]}
    assert len(asked) == 1
    recall_facts("torch", {"of": "b"}, lambda: ask(asked))
    assert len(asked) == 2
    monkeypatch.setattr(metadata, "version", lambda name: "999")
    recall_facts("torch", {"of": "a"}, lambda: ask(asked))
    assert len(asked) == 3


@pytest.mark.parametrize("package", ["torch", "no_such_package_of_anybody"])
def test_without_a_cache_facts_are_asked_each_time(package: str) -> None:
    asked: list[str] = []
    keep_library_facts(open_fact_keeper(Settings(cache="off", data_dir="")))
    for _ in range(2):
        assert recall_facts(package, {"of": "a"}, lambda: ask(asked)) == {"sizes": [3, 4]}
    assert len(asked) == 2


def test_a_refusal_passes_and_is_not_kept(tmp_path: Path) -> None:
    keep_library_facts(open_fact_keeper(Settings(cache=str(tmp_path), data_dir="")))

    def refuse() -> Json:
        raise DataError("no such model")

    for _ in range(2):
        with pytest.raises(DataError, match="no such model"):
            recall_facts("torch", {"of": "a"}, refuse)
    assert recall_facts("torch", {"of": "a"}, lambda: {"found": 1}) == {"found": 1}
