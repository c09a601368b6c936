from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmx.runs import index
from mmx.runs.directory import RunDirectory


def run(where: Path, name: str, *, done: bool = True, accuracy: float = 0.5) -> RunDirectory:
    directory = RunDirectory.create(
        where,
        label="x",
        fingerprint="f" * 32,
        config={},
        manifest={"seed": 3, "code": {"digest": "c"}},
        files={},
        exactly=where / name,
    )
    if done:
        summary: dict[str, Any] = {
            "source": {"task": "s"},
            "target": {"task": "t", "metrics": {"test": {"accuracy": accuracy}}},
            "transfer": {"mode": "parameter"},
            "fusion": "gmu",
            "gain": {"value": 0.25},
            "timing": {"total_s": 1.5},
        }
        directory.write_json("summary.json", summary)
        directory.set_status("done")
    return directory


EXPECTED = {
    "run": "runs/2_a",
    "status": "done",
    "fingerprint": "f" * 32,
    "code": "c",
    "seed": 3,
    "source": "s",
    "target": "t",
    "transfer": "parameter",
    "fusion": "gmu",
    "test": {"accuracy": 0.5},
    "gain": 0.25,
    "seconds": 1.5,
}


def lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / index.INDEX).read_text().splitlines()]


def test_a_finished_run_is_one_line(tmp_path: Path) -> None:
    index.add(run(tmp_path / "runs", "2_a"))
    assert lines(tmp_path) == [EXPECTED]
    assert index.read(tmp_path) == [EXPECTED]


@pytest.mark.parametrize(
    ("place", "root"),
    [
        ("out/runs/a", "out"),
        ("out/sweeps/id/runs/a", "out"),
        ("mine/runs/a", "mine"),
        ("elsewhere/a", None),
        ("a", None),
    ],
)
def test_runs_know_the_folder_they_are_listed_in(
    tmp_path: Path, place: str, root: str | None
) -> None:
    found = index.root_of(RunDirectory(tmp_path / place))
    assert found == (None if root is None else tmp_path / root)


def test_a_run_near_the_top_of_the_disk_has_no_folder() -> None:
    assert index.root_of(RunDirectory(Path("/a"))) is None
    assert index.root_of(RunDirectory(Path("/a/b"))) is None
    assert index.root_of(RunDirectory(Path("/runs/b"))) == Path("/")


def test_a_sweeps_runs_are_listed_under_the_output_folder(tmp_path: Path) -> None:
    index.add(run(tmp_path / "sweeps" / "id" / "runs", "1_a"))
    assert [each["run"] for each in lines(tmp_path)] == ["sweeps/id/runs/1_a"]
    assert not (tmp_path / "sweeps" / "id" / index.INDEX).exists()


def test_runs_are_listed_by_time_finished_or_not(tmp_path: Path) -> None:
    run(tmp_path / "runs", "3_c", done=False)
    run(tmp_path / "runs", "2_a")
    run(tmp_path / "sweeps" / "id" / "runs", "1_b")
    run(tmp_path / "elsewhere", "0_x")
    found = index.read(tmp_path)
    assert [(each["run"], each["status"]) for each in found] == [
        ("sweeps/id/runs/1_b", "done"),
        ("runs/2_a", "done"),
        ("runs/3_c", "pending"),
    ]
    assert [each["run"] for each in lines(tmp_path)] == ["runs/2_a", "sweeps/id/runs/1_b"]


@pytest.mark.parametrize("damage", ["gone", "torn", "foreign", "stale"])
def test_the_index_is_repaired_from_the_directories(tmp_path: Path, damage: str) -> None:
    kept = run(tmp_path / "runs", "2_a")
    index.add(kept)
    path = tmp_path / index.INDEX
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_text(path.read_text()[:40])
    elif damage == "foreign":
        path.write_text('[1]\nnull\n{"status": "done"}\n3\n')
    else:
        index.add(run(tmp_path / "runs", "9_z"))
        RunDirectory(tmp_path / "runs" / "9_z").remove()
    assert index.read(tmp_path) == [EXPECTED]
    assert lines(tmp_path) == [EXPECTED]


def test_finished_runs_are_taken_from_the_index(tmp_path: Path) -> None:
    directory = run(tmp_path / "runs", "2_a")
    index.add(directory)
    (directory.path / "summary.json").unlink()
    assert index.read(tmp_path) == [EXPECTED]


def test_a_directory_in_the_making_is_no_run(tmp_path: Path) -> None:
    run(tmp_path / "runs", ".new-1234", done=False)
    assert index.read(tmp_path) == []


def test_a_folder_that_cannot_be_written_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "runs", "2_a")

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(index, "write_text", refuse)
    assert index.read(tmp_path) == [EXPECTED]


def test_an_absent_folder_has_no_runs(tmp_path: Path) -> None:
    assert index.read(tmp_path / "absent") == []
    assert not (tmp_path / "absent").exists()
