"""``manifest.json``: the same text for what is read and written, and records that never change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mmx.errors import RunError
from mmx.runs import surroundings
from mmx.runs.directory import RunDirectory
from mmx.runs.identity import Identity
from mmx.runs.manifest import Manifest, RecordedIdentity
from mmx.runs.surroundings import describe_surroundings
from mmx.stage_id import Role, StageId

KEPT = sorted((Path(__file__).parent / "kept").glob("*/manifest.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.parent.name)
def test_it_is_written_as_it_was_read(path: Path, tmp_path: Path) -> None:
    run = shutil.copytree(path.parent, tmp_path / "run")
    directory = RunDirectory(run)
    directory.write_manifest(directory.manifest())
    assert (run / "manifest.json").read_text() == path.read_text()


def test_nothing_of_it_can_be_set() -> None:
    with pytest.raises(ValidationError):
        Manifest(seed=1).seed = 2  # type: ignore[misc]


def test_what_is_learned_later_is_another_record() -> None:
    begun = Manifest.from_json(
        {"seed": 1, "data": {}, "identity": {"config": "c", "code": {}, "weights": {"image": "w"}}}
    )
    before = begun.to_json()
    after = (
        begun.with_data(Role.SOURCE, "1")
        .with_data(Role.TARGET, "2")
        .with_cached(StageId.SOURCE, True)
        .with_weights(RecordedIdentity(weights={"text": "v"}), {})
        .with_choice({"fusion": "concat"}, "s")
        .with_resumption(["mmx", "resume"])
        .with_resumption(["mmx", "resume", "x"])
    )
    assert begun.to_json() == before
    assert after.to_json() == {
        "names": {"fusion": "concat"},
        "seed": 1,
        "data": {"source": "1", "target": "2"},
        "identity": {
            "config": "c",
            "code": {},
            "weights": {"image": "w", "text": "v"},
            "settled": "s",
        },
        "cached": {"source": True},
        "resumed": [["mmx", "resume"], ["mmx", "resume", "x"]],
    }
    assert json.loads(json.dumps(after.to_json())) == after.to_json()


def test_without_a_file_all_has_its_default(tmp_path: Path) -> None:
    assert RunDirectory(tmp_path).manifest() == Manifest()
    assert Identity.of(Manifest()) == Identity()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("identity", 3),
        ("identity", {"weights": {"image": 1}}),
        ("places", []),
        ("names", {"fusion": 7}),
        ("resumed", ["mmx"]),
    ],
)
def test_what_mmx_did_not_write_is_refused_by_name(tmp_path: Path, key: str, value: Any) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({key: value}))
    with pytest.raises(RunError) as error:
        RunDirectory(tmp_path).manifest()
    assert f"manifest.json is not what mmx wrote: {key}" in str(error.value)


def test_what_a_newer_mmx_adds_stays(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"seed": 1, "region": {"a": 1}}))
    found = RunDirectory(tmp_path).manifest().with_data(Role.TARGET, "1")
    assert found.to_json() == {"seed": 1, "data": {"target": "1"}, "region": {"a": 1}}


def test_surroundings_alone_are_said_of_this_process() -> None:
    assert list(describe_surroundings().to_json()) == ["versions", "machine", "code"]


def test_a_process_asks_for_versions_and_its_commit_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job of a sweep records them."""
    asked: list[str] = []
    for each in (surroundings._list_versions, surroundings._find_own_commit):
        each.cache_clear()
    monkeypatch.setattr(
        surroundings.metadata, "version", lambda name: asked.append(name) or f"{name} 1"
    )
    monkeypatch.setattr(surroundings, "find_git_commit", lambda: asked.append("git") or "abc")
    try:
        first, second = describe_surroundings(), describe_surroundings()
        first.versions["torch"] = "0"  # what a run changes in its own is not another's
        assert second.versions["torch"] == describe_surroundings().versions["torch"] == "torch 1"
        assert second.code.git == "abc"
        assert sorted(asked) == sorted([*surroundings.WATCHED, "git"])
    finally:
        for each in (surroundings._list_versions, surroundings._find_own_commit):
            each.cache_clear()
