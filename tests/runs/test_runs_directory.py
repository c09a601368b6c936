from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from refusals import check_error

from mmx.errors import RunError
from mmx.runs import atomic
from mmx.runs.directory import RunDirectory, read_config
from mmx.runs.manifest import Manifest
from mmx.stage_id import Role


def create(where: Path, **options: Any) -> RunDirectory:
    given: dict[str, Any] = {
        "label": "a-b-concat",
        "fingerprint": "0123456789abcdef",
        "config": {"seed": 0, "name": "é"},
        "manifest": Manifest(seed=0, data={}),
        "files": {".hydra/overrides.yaml": "[]\n", "env.txt": "x\n"},
        **options,
    }
    return RunDirectory.create(where, **given)


def test_a_new_directory_has_all_of_its_first_files(tmp_path: Path) -> None:
    run = create(tmp_path / "deep" / "runs")
    assert run.path.parent == tmp_path / "deep" / "runs"
    stamp, label, rest = run.path.name.split("_")
    assert len(stamp) == len("20260101-000000-000000")
    assert label == "a-b-concat"
    assert rest.startswith("012345-")
    assert sorted(p.relative_to(run.path).as_posix() for p in run.path.rglob("*")) == [
        ".hydra",
        ".hydra/overrides.yaml",
        "config.yaml",
        "digests.json",
        "env.txt",
        "manifest.json",
        "metrics.jsonl",
        "status.json",
    ]
    assert run.config() == {"seed": 0, "name": "é"}
    known = {"seed": 0, "data": {}, "fingerprint": "0123456789abcdef"}
    assert run.manifest().to_json() == {**known, "digests": "digests.json"}
    assert run.status()["status"] == "pending"
    assert run.metrics() == []
    assert run.summary() == {}


def test_it_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    rename = Path.rename

    def spy(self: Path, target: Path) -> Path:
        seen.append([each.name for each in tmp_path.iterdir() if not each.name.startswith(".")])
        assert (self / "status.json").exists()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", spy)
    run = create(tmp_path)
    assert seen == [[]]
    assert [each.name for each in tmp_path.iterdir()] == [run.path.name]


def test_names_in_the_same_second_are_in_the_order_of_time(tmp_path: Path) -> None:
    made = [create(tmp_path).path.name for _ in range(20)]
    assert made == sorted(set(made))


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("../../outside/x-concat", "outside-x-concat"),
        ("/etc/x", "etc-x"),
        ("..", "run"),
        ("a b\n\x1b[2Jc", "a-b-2Jc"),
        ("größe-日本", "größe-日本"),
        ("日" * 300, "日" * 66),
    ],
)
def test_a_label_is_the_name_of_one_folder(tmp_path: Path, label: str, shown: str) -> None:
    run = create(tmp_path / "runs", label=label)
    assert run.path.parent == tmp_path / "runs"
    assert run.path.name.split("_", 1)[1].rsplit("_", 1)[0] == shown
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("there", ["file in it", "is a file"])
def test_a_directory_is_never_reused(tmp_path: Path, there: str) -> None:
    path = tmp_path / "mine"
    if there == "is a file":
        path.write_text("x")
    else:
        path.mkdir()
        (path / "note.txt").touch()
    with pytest.raises(RunError) as caught:
        create(tmp_path, exactly=path)
    check_error(caught.value, path, types=("hydra.run.dir",))


@pytest.mark.parametrize("empty", [False, True])
def test_a_directory_can_be_named(tmp_path: Path, empty: bool) -> None:
    path = tmp_path / "deep" / "mine"
    if empty:
        path.mkdir(parents=True)
    assert create(tmp_path, exactly=path).path == path
    assert RunDirectory.open(path).status()["status"] == "pending"


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        RunDirectory.open(tmp_path)
    check_error(caught.value, tmp_path, "config.yaml", types=("mmx list",))
    with pytest.raises(RunError, match="absent does not exist"):
        RunDirectory.open(tmp_path / "absent")


@pytest.mark.slow
def test_status_tells_a_killed_run_from_a_running_one(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.set_status("running")
    assert run.status()["status"] == "running"
    assert run.status()["pid"] == os.getpid()
    status = atomic.read_json_file(run.path / "status.json")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run.write_json("status.json", {**status, "pid": gone.pid})
    assert run.status()["status"] == "killed"
    run.write_json("status.json", {key: each for key, each in status.items() if key != "pid"})
    assert run.status()["status"] == "killed"
    run.write_json("status.json", {**status, "pid": gone.pid, "host": "elsewhere"})
    assert run.status()["status"] == "running"  # nothing can be known of another machine
    run.write_json("status.json", {**status, "pid": 1, "host": socket.gethostname()})
    assert run.status()["status"] == "running"
    run.set_status("failed", error="why")
    assert run.status()["error"] == "why"


def test_heartbeats_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(tmp_path)
    run.set_status("running", extra=1)
    writes: list[Path] = []
    monkeypatch.setattr("mmx.runs.directory.write_json", lambda path, data: writes.append(path))
    for _ in range(100):
        run.beat()
    assert writes == []
    run._beat -= 6
    run.beat()
    assert writes == [run.path / "status.json"]


HOLD = """
import sys
from pathlib import Path
from mmx.runs.directory import RunDirectory
run = RunDirectory(Path(sys.argv[1]))
run.acquire()
run.set_status("running")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_only_one_process_works_on_a_run(tmp_path: Path) -> None:
    run = create(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunError) as caught:
            run.acquire()
        check_error(caught.value, run.path, other.pid, types=("stop",))
        other.stdin.close()
        other.wait()
    run.acquire()  # a lock dies with its process
    run.release()
    assert run.status()["status"] == "killed"


def line(run: RunDirectory, stage: str, epoch: int, value: float = 0.5) -> None:
    run.append_metric(stage=stage, epoch=epoch, step=epoch * 3, split="val", name="x", value=value)


def test_metrics_are_lines_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    run = create(tmp_path)
    line(run, "source", 1, 0.1 + 0.2)
    line(run, "source", 2)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "source", "ep')
    assert [entry["epoch"] for entry in run.metrics()] == [1, 2]
    assert run.metrics()[0]["value"] == 0.1 + 0.2


def test_metrics_that_come_again_are_forgotten(tmp_path: Path) -> None:
    run = create(tmp_path)
    for stage in ("source", "target", "control"):
        for epoch in (1, 2, 3):
            line(run, stage, epoch)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"torn')
    run.forget_metrics({"source": sys.maxsize, "target": 1})
    kept = [(entry["stage"], entry["epoch"]) for entry in run.metrics()]
    assert kept == [("source", 1), ("source", 2), ("source", 3), ("target", 1)]
    line(run, "target", 2)
    text = (run.path / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    assert len(text.splitlines()) == 5


def test_manifest_entries_are_merged(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.write_manifest(run.manifest().with_data(Role.SOURCE, "1"))
    run.write_manifest(run.manifest().with_data(Role.TARGET, "2"))
    assert run.manifest().data == {"source": "1", "target": "2"}
    assert run.manifest().seed == 0
    run.remove()
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "{path} holds a list, where a mapping is expected"),
        ("", "{path} holds nothing, where a mapping is expected"),
        ("7: 8", "{path} is not a config: the key 7 is no text"),
        ("a: ${b}", "{path} holds an interpolation at a: a config that is read back is data"),
        (
            "a: {b: [1, {c: 'x ${oc.env:HOME}'}]}",
            "{path} holds an interpolation at a.b[1].c: a config that is read back is data",
        ),
    ],
)
def test_a_config_that_is_no_plain_data_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(RunError) as caught:
        read_config(path)
    assert caught.value.message == message.format(path=path)


@pytest.mark.parametrize(
    "content",
    [
        b"a: [",
        b"\xff\xfe\x00",
        b"a: !!python/object/apply:os.mkdir [executed]",
        b"a: !!python/name:os.system",
        None,
    ],
)
def test_a_config_that_cannot_be_read_executes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_config(path)
    assert caught.value.message.startswith(f"{path} ")
    assert "\n" not in caught.value.message
    assert not (tmp_path / "executed").exists()


def test_hydras_own_node_is_not_read_back(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\nhydra: {launcher: {_target_: os.system}, x: '${now:}'}\n")
    assert read_config(path) == {"seed": 1}


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_writes_happen_wholly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "status.json"
    atomic.write_json(path, {"a": 1, "é": [0.1]})
    assert path.read_text(encoding="utf-8") == '{\n  "a": 1,\n  "é": [\n    0.1\n  ]\n}\n'

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if fails == "fsync" else (Path, "replace")), crash)
        with pytest.raises(OSError, match="no space left"):
            atomic.write_json(path, {"a": 2})
    assert atomic.read_json_file(path) == {"a": 1, "é": [0.1]}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", None])
def test_a_broken_json_file_reads_as_empty(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "summary.json"
    if content is not None:
        path.write_bytes(content)
    assert atomic.read_json_file(path) == {}


def test_json_keeps_every_bit_of_a_float(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-320, 1 / 3]
    atomic.write_json(tmp_path / "x.json", {"values": values})
    assert json.loads((tmp_path / "x.json").read_text())["values"] == values
