"""``mmx rm``, and which runs ``mmx list`` leaves out."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.runs import index
from mmx.runs.directory import RunDirectory
from mmx.runs.index_reading import read_index
from mmx.runs.manifest import Manifest


def made(where: Path, name: str, status: str = "done", **facts: object) -> RunDirectory:
    directory = RunDirectory.create(
        where,
        label="x",
        fingerprint="f" * 32,
        config={},
        manifest=Manifest(),
        files={},
        exactly=where / name,
    )
    if status == "done":
        directory.write_json("summary.json", {"target": {"metrics": {"test": {"accuracy": 0.5}}}})
    directory.set_status(status, **facts)
    if status == "done":
        index.add(directory)
    return directory


HELD: list[RunDirectory] = []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("flag", ["--yes", "-y"])
def test_runs_go_with_their_lines(tmp_path, capsys, flag):
    one, two, kept = (made(tmp_path / "runs", name) for name in ("1_a", "2_b", "3_c"))
    assert main(["rm", flag, str(one.path), str(two.path) + "/"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{one.path}\n{two.path}\n"
    assert said.err.splitlines()[0].split()[:2] == ["done", said.err.split()[1]]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["3_c"]
    lines = (tmp_path / index.INDEX).read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines] == ["runs/3_c"]
    assert kept.status()["status"] == "done"


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("", False), ("n\n", False)])
def test_a_terminal_is_asked(tmp_path, monkeypatch, capsys, answer, gone):
    run = made(tmp_path / "runs", "1_a")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["rm", str(run.path)]) == (0 if gone else 1)
    assert run.path.exists() is not gone
    err = capsys.readouterr().err
    assert "remove this run? [y/N] " in err
    assert err.endswith("nothing is removed\n") is not gone


def test_without_a_terminal_a_flag_is_needed(tmp_path, monkeypatch, capsys):
    run = made(tmp_path / "runs", "1 a")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["rm", str(run.path)]) == 2
    assert f"  tip: mmx rm --yes '{run.path}'\n" in capsys.readouterr().err
    assert run.path.exists()


def link(tmp_path: Path) -> Path:
    (tmp_path / "link").symlink_to(made(tmp_path / "runs", "1_a").path)
    return tmp_path / "link"


def running(tmp_path: Path) -> Path:
    run = made(tmp_path / "runs", "1_a", "running")
    run.acquire()
    HELD.append(run)  # a lock goes with its object
    return run.path


def holding_runs(tmp_path: Path) -> Path:
    made(tmp_path / "runs", "1_a")
    (tmp_path / "config.yaml").write_text("{}")
    (tmp_path / "status.json").write_text("{}")
    return tmp_path


def no_run(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("{}")
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (link, "is a symbolic link"),
        (running, "is being worked on"),
        (holding_runs, "holds runs of its own"),
        (no_run, "is no run directory"),
        (lambda tmp_path: tmp_path, "is not a run directory"),
        (lambda tmp_path: tmp_path / "absent", "does not exist"),
    ],
)
def test_what_is_refused_keeps_all_others_too(tmp_path, capsys, make, said):
    other = made(tmp_path / "others" / "runs", "9_z")
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["rm", "--yes", str(other.path), str(path)]) != 0
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_inside_leads_nowhere(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    run = made(tmp_path / "runs", "1_a")
    (run.path / "checkpoints").symlink_to(outside)
    os.link(outside / "file", run.path / "hard")
    assert main(["rm", "--yes", str(run.path)]) == 0
    assert (outside / "file").read_text() == "x"
    assert not run.path.exists()


def test_a_removal_that_was_killed_is_not_listed(tmp_path, monkeypatch, capsys):
    run = made(tmp_path / "runs", "1_a")

    def killed(path: Path) -> None:
        (path / "summary.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmx.verbs.rm.shutil.rmtree", killed)
        assert main(["rm", "--yes", str(run.path)]) == 130
    assert read_index(tmp_path) == []
    other = made(tmp_path / "runs", "2_b")
    assert main(["rm", "--yes", str(other.path)]) == 0
    assert list((tmp_path / "runs").iterdir()) == []  # what was left goes with the next


def test_attempts_that_came_to_nothing_are_not_listed(tmp_path, capsys):
    runs = tmp_path / "runs"
    made(runs, "1_done")
    made(runs, "2_typo", "failed", error="there is no folder /tpyo", expected=True)
    made(runs, "3_bug", "failed", error="TypeError: x", expected=False)
    made(runs, "4_late", "failed", error="diverged", expected=True).append_metric(
        stage="target", epoch=1, step=1, split="val", name="loss", value=1.0
    )
    (made(runs, "5_kept", "failed", error="no", expected=True).path / "checkpoints").mkdir()
    made(runs, "6_pending", "pending")

    def listed(*words: str) -> list[str]:
        assert main(["list", str(tmp_path), "--json", *words]) == 0
        said = capsys.readouterr()
        left = "1 attempt that failed before training left out: --all shows them\n"
        assert said.err == ("" if words else left)
        return [json.loads(line)["run"].removeprefix("runs/") for line in said.out.splitlines()]

    assert listed() == ["1_done", "3_bug", "4_late", "5_kept", "6_pending"]
    assert listed("--all") == ["1_done", "2_typo", "3_bug", "4_late", "5_kept", "6_pending"]
