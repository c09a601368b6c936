from __future__ import annotations

import contextlib
import json
import math
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mmx.runs import index, index_cache
from mmx.runs.directory import RunDirectory
from mmx.runs.index_reading import read_index, read_run_facts
from mmx.runs.manifest import CodeVersion, Manifest
from mmx.verbs import list as listing


def run(where: Path, name: str, *, done: bool = True, accuracy: float = 0.5) -> RunDirectory:
    directory = RunDirectory.create(
        where,
        label="x",
        fingerprint="f" * 32,
        config={},
        manifest=Manifest(seed=3, code=CodeVersion(digest="c")),
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
    "regularizer": None,
    "fusion": "gmu",
    "test": {"accuracy": 0.5},
    "gain": 0.25,
    "seconds": 1.5,
    "error": None,
}


def lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / index.INDEX).read_text().splitlines()]


def test_a_finished_run_is_one_line(tmp_path: Path) -> None:
    index.add(run(tmp_path / "runs", "2_a"))
    assert lines(tmp_path) == [EXPECTED]
    assert read_index(tmp_path) == [EXPECTED]


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


def node(kind: str, **options: Any) -> dict[str, Any]:
    return {"_target_": f"mmx.{kind}", **options}


def unfinished(where: Path, name: str, error: str, **config: Any) -> RunDirectory:
    directory = RunDirectory.create(
        where,
        label="x",
        fingerprint="f" * 32,
        config={
            "target": node("tasks.cifar.Cifar10", name="cifar10"),
            "transfer": node("transfer.parameter.Parameter", freeze=[]),
            "fusion": node("fusion.gmu.Gmu"),
            **config,
        },
        manifest=Manifest(seed=3, code=CodeVersion(digest="c")),
        files={},
        exactly=where / name,
    )
    directory.set_status("failed", error=error)
    return directory


def test_a_run_that_failed_says_what_it_was_to_be_and_why_it_is_not(tmp_path: Path) -> None:
    source = node("tasks.digits.Digits", name="digits")
    regularizer = node("transfer.regularizers.l2_sp.L2Sp", alpha=0.1)
    kept = {"source": source, "regularizer": regularizer}
    unfinished(tmp_path / "runs", "1_a", "no room\n  tip: [make] some", **kept)
    unfinished(tmp_path / "runs", "2_b", "no", source={}, regularizer={})
    one, two = read_index(tmp_path)
    keys = ("status", "source", "target", "transfer", "regularizer", "fusion", "error")
    assert [one[key] for key in keys] == [
        "failed", "digits", "cifar10", "parameter", "l2_sp", "gmu", "no room tip: [make] some",
    ]  # fmt: skip
    assert [two[key] for key in keys] == [
        "failed", "none", "cifar10", "parameter", None, "gmu", "no",
    ]  # fmt: skip
    (tmp_path / "runs" / "2_b" / "config.yaml").write_text("- what")
    assert read_index(tmp_path)[1]["target"] is None


def shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    assert listing.main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [[cell for cell in line.split("  ") if cell.strip()] for line in lines]


def test_the_list_names_the_regulariser_and_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(tmp_path / "runs", "2_a")
    heads, line = shown(tmp_path, capsys)
    assert [cell.strip() for cell in line][4] == "parameter"
    assert "error" not in " ".join(heads)
    summary = done.summary()
    summary["transfer"]["regularizer"] = {"name": "bss", "strength": 0.1}
    done.write_json("summary.json", summary)
    (tmp_path / index.INDEX).unlink()
    long = "[text]: " + "x" * 100
    unfinished(tmp_path / "runs", "3_b", long, regularizer=node("r.l2_sp.L2Sp"), source={})
    heads, line, other = shown(tmp_path, capsys)
    assert [cell.strip() for cell in heads][-1] == "error"
    assert [cell.strip() for cell in line][4] == "parameter + bss"
    assert [cell.strip() for cell in other] == [
        "runs/3_b", "failed", "none", "cifar10", "parameter + l2_sp", "gmu", "3", f"{long[:79]}…",
    ]  # fmt: skip


def test_the_list_reads_an_index_of_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "runs", "2_a")
    old = {key: each for key, each in EXPECTED.items() if key not in ("regularizer", "error")}
    (tmp_path / index.INDEX).write_text(json.dumps(old) + "\n")
    assert [cell.strip() for cell in shown(tmp_path, capsys)[1]][4] == "parameter"


def test_runs_are_listed_by_time_finished_or_not(tmp_path: Path) -> None:
    run(tmp_path / "runs", "3_c", done=False)
    run(tmp_path / "runs", "2_a")
    run(tmp_path / "sweeps" / "id" / "runs", "1_b")
    run(tmp_path / "elsewhere", "0_x")
    found = read_index(tmp_path)
    assert [(each["run"], each["status"]) for each in found] == [
        ("sweeps/id/runs/1_b", "done"),
        ("runs/2_a", "done"),
        ("runs/3_c", "pending"),
    ]
    assert [each["run"] for each in lines(tmp_path)] == ["sweeps/id/runs/1_b", "runs/2_a"]


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
    assert read_index(tmp_path) == [EXPECTED]
    assert lines(tmp_path) == [EXPECTED]


def test_a_line_of_the_index_does_not_stand_for_its_run(tmp_path: Path) -> None:
    run(tmp_path / "runs", "2_a")
    forged = {**EXPECTED, "test": {"accuracy": 0.999}, "gain": 0.9}
    (tmp_path / index.INDEX).write_text(json.dumps(forged) + "\n")
    assert read_index(tmp_path) == [EXPECTED]
    assert lines(tmp_path) == [EXPECTED]


def test_a_directory_in_the_making_is_no_run(tmp_path: Path) -> None:
    run(tmp_path / "runs", ".new-1234", done=False)
    assert read_index(tmp_path) == []


def test_a_folder_that_cannot_be_written_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "runs", "2_a")

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(index, "write_text", refuse)
    assert read_index(tmp_path) == [EXPECTED]


def test_an_absent_folder_has_no_runs(tmp_path: Path) -> None:
    assert read_index(tmp_path / "absent") == []
    assert not (tmp_path / "absent").exists()


def test_a_run_that_is_known_is_read_again_when_it_changes(tmp_path: Path) -> None:
    done = run(tmp_path / "runs", "2_a")
    assert read_index(tmp_path) == [EXPECTED]
    summary = done.summary()
    summary["target"]["metrics"]["test"]["accuracy"] = 0.75
    done.write_json("summary.json", summary)
    assert read_index(tmp_path)[0]["test"] == {"accuracy": 0.75}
    assert lines(tmp_path)[0]["test"] == {"accuracy": 0.75}
    done.remove()
    assert read_index(tmp_path) == []
    assert lines(tmp_path) == []


def test_a_run_that_is_known_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "runs", "2_a")
    run(tmp_path / "runs", "3_b", done=False)
    read_index(tmp_path)
    read: list[str] = []
    monkeypatch.setattr(index, "read_entry", lambda _, name: read.append(name) or {**EXPECTED})
    read_index(tmp_path)
    assert read == ["runs/3_b"]  # its status may change without its files: the process ends


@pytest.mark.parametrize("kind", ["copied", "damaged", "of a later format", "a folder", "a link"])
def test_kept_entries_that_are_not_of_these_files_are_not_shown(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "out"
    run(root / "runs", "2_a", accuracy=0.9)
    read_index(root)
    kept = root / index_cache.FILE
    if kind == "copied":  # another run of that name, with what was kept of the first
        other = tmp_path / "other"
        run(other / "runs", "2_a")
        (other / index_cache.FILE).write_bytes(kept.read_bytes())
        root = other
    else:
        RunDirectory(root / "runs" / "2_a").remove()
        run(root / "runs", "2_a")
    if kind == "damaged":
        kept.write_bytes(b"no database" * 1000)
    elif kind == "of a later format":
        with contextlib.closing(sqlite3.connect(kept)) as connection, connection:
            connection.execute("PRAGMA user_version = 999")
            connection.execute("DROP TABLE entry")
    elif kind in ("a folder", "a link"):
        kept.unlink()
        outside = tmp_path / "outside"
        kept.mkdir() if kind == "a folder" else kept.symlink_to(outside)
    for _ in range(2):
        assert read_index(root) == [EXPECTED]
    assert not (tmp_path / "outside").exists()
    with index_cache.IndexCache(root) as cache:
        assert cache.read("entry").keys() == (
            set() if kind in ("a folder", "a link") else {"runs/2_a", "index.jsonl"}
        )


def test_a_damaged_file_is_closed_before_it_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, connect = [], sqlite3.connect

    def open_and_note(*given: Any, **options: Any) -> sqlite3.Connection:
        opened.append(connect(*given, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", open_and_note)
    (tmp_path / index_cache.FILE).write_bytes(b"no database" * 1000)
    with index_cache.IndexCache(tmp_path):
        pass
    assert len(opened) == 2
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            connection.execute("SELECT 1")


def test_a_finished_run_is_kept_with_its_facts(tmp_path: Path) -> None:
    directory = RunDirectory.create(
        tmp_path / "runs",
        label="x",
        fingerprint="f" * 32,
        config={"optimizer": {"lr": 0.1}, "flag": True, "sizes": [1, 2], "target": {"name": "t"}},
        manifest=Manifest(seed=3, names={"encoder/image": "resnet18"}),
        files={},
    )
    directory.write_json("summary.json", {"fusion": "gmu", "timing": {"total_s": math.inf}})
    directory.set_status("done")
    index.add(directory)
    wanted = ["optimizer.lr", "flag", "sizes", "encoder.image", "timing.total_s", "fusion", "none"]
    (found,) = read_run_facts(tmp_path, wanted).values()
    assert found == [0.1, True, "[1, 2]", "resnet18", "inf", "gmu", None]
    shutil.rmtree(directory.path)
    assert read_run_facts(tmp_path, wanted) == {}
