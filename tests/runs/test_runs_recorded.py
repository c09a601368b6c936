"""The digests of a run's files: whatever changes in whichever file is seen, and named."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import check_error, read_error

from mmx import execution
from mmx.cli import main
from mmx.errors import DamagedFileError, RunError
from mmx.runs import recorded
from mmx.runs.digests import seal_text
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role
from mmx.training import checkpoint
from mmx.training.events import Event

pytestmark = pytest.mark.slow

TWO = ("image", "tabular")
Train = Callable[..., RunDirectory]


@pytest.fixture(scope="module")
def line(overrides: Callable[..., list[str]], tables: dict[str, Path]) -> list[str]:
    return overrides(tables["one"], tables["two"], TWO, "transfer=parameter")


@pytest.fixture
def run(train: Train, line: list[str], tmp_path: Path) -> RunDirectory:
    """Return a finished run that a test may spoil."""
    path = tmp_path / "run"
    shutil.copytree(train(*line).path, path)
    return RunDirectory(path)


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def files(run: RunDirectory) -> list[Path]:
    """Return all files of a run that hold anything."""
    return sorted(p for p in run.path.rglob("*") if p.is_file() and p.stat().st_size)


def test_a_flipped_bit_in_any_file_of_a_finished_run_is_seen_and_named(run: RunDirectory) -> None:
    run.require_undamaged(checkpoints=True)
    found, chance = files(run), random.Random(1)
    names = {path.relative_to(run.path).as_posix() for path in found}
    assert {"summary.json", "report.html", "run.log", "digests.json", "env.txt"} <= names
    assert {f"checkpoints/{stage}/best.safetensors" for stage in ("source", "target")} <= names
    for path in found:
        for _ in range(3):
            bit = chance.randrange(8 * path.stat().st_size)
            flip(path, bit)
            with pytest.raises(RunError) as caught:
                run.require_undamaged(checkpoints=True)
            assert path.name in caught.value.message, (path, bit)
            flip(path, bit)
    run.require_undamaged(checkpoints=True)


def test_every_bit_of_the_status_counts(run: RunDirectory) -> None:
    path = run.path / "status.json"
    for bit in range(8 * path.stat().st_size):
        flip(path, bit)
        with pytest.raises(RunError):
            run.status()
        flip(path, bit)
    assert run.status()["status"] == "done"


def test_a_missing_file_is_named(run: RunDirectory) -> None:
    for name in ("transfer.json", "run.log", "summary.json", "digests.json"):
        kept = (run.path / name).read_bytes()
        (run.path / name).unlink()
        with pytest.raises(DamagedFileError) as caught:
            run.require_undamaged()
        assert caught.value.message == f"{run.path / name} is missing"
        (run.path / name).write_bytes(kept)


@pytest.mark.parametrize("name", ["/etc/hostname", "../../x", "a/../../x"])
def test_nothing_outside_the_run_is_read(run: RunDirectory, name: str) -> None:
    path = run.path / "digests.json"
    found = json.loads(path.read_text())
    found["files"][name] = {"bytes": 1, "blake2b": ""}
    path.write_text(seal_text(found))
    with pytest.raises(DamagedFileError, match=r"digests\.json is not what mmx wrote"):
        run.config()


def test_what_comes_later_is_no_damage(run: RunDirectory) -> None:
    (run.path / "predictions.csv").write_text("mine")
    (run.path / "notes.txt").write_text("mine")
    (run.path / "eval").mkdir()
    (run.path / "eval" / "noise.csv").write_text("x")
    run.require_undamaged(checkpoints=True)


def test_a_run_of_before_there_were_digests_opens(run: RunDirectory) -> None:
    (run.path / "digests.json").unlink()
    for name, key in (("manifest.json", "digests"), ("status.json", "digest")):
        found = json.loads((run.path / name).read_text())
        del found[key]
        (run.path / name).write_text(json.dumps(found))
    run.require_undamaged(checkpoints=True)
    assert run.status()["status"] == "done"
    assert main(["compare", str(run.path), str(run.path)]) == 0


def test_accessors_refuse_what_was_changed(run: RunDirectory) -> None:
    for name, read in (
        ("config.yaml", run.config),
        ("manifest.json", run.manifest),
        ("summary.json", run.summary),
        ("metrics.jsonl", run.metrics),
    ):
        read()
        path = run.path / name
        path.write_bytes(path.read_bytes() + b"\n")
        with pytest.raises(DamagedFileError, match="it was changed or damaged since"):
            read()


@pytest.mark.parametrize("verb", ["eval", "predict", "compare", "resume"])
def test_an_edited_config_is_refused_and_the_tip_works(
    run: RunDirectory, verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = run.path / "config.yaml"
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 1"))
    assert main([verb, str(run.path), *([str(run.path)] if verb == "compare" else [])]) == 1
    said = capsys.readouterr().err
    check_error(read_error(said), path, types=(path,))
    if verb == "eval":
        assert main(["reproduce", str(path)]) == 0


def test_a_checkpoint_of_another_run_is_refused(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.stage_file("target")
    tensors, facts = checkpoint.read_checkpoint(path)
    checkpoint.write_checkpoint(path, tensors, {**facts, "notes": ["another"]})
    assert main(["eval", str(run.path)]) == 1
    said = capsys.readouterr().err
    assert f"{path} is not what mmx wrote" in said
    assert f"tip: mmx reproduce {run.path}   (" in said


@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_a_damaged_best_checkpoint_is_refused(
    run: RunDirectory, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(run.stage_file("target"), 8 * (run.stage_file("target").stat().st_size - 5))
    assert main([verb, str(run.path)]) == 1
    assert "best.safetensors" in capsys.readouterr().err


def test_a_kill_while_a_file_is_written_anew_leaves_a_run_that_opens(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    real, before = recorded.write_text, run.manifest()
    for after in range(4):
        left = after

        def write(path: Path, text: str) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            real(path, text)

        monkeypatch.setattr(recorded, "write_text", write)
        try:
            run.write_manifest(run.manifest().with_data(Role.TARGET, f"{after}"))
        except Killed:
            assert after < 3
        monkeypatch.setattr(recorded, "write_text", real)
        expected = before.data["target"] if after < 2 else str(after)
        assert run.manifest().data["target"] == expected
        recorded.go_on(run.path)
        assert run.manifest().data["target"] == expected


def interrupted(
    prepared: Callable[..., Any], line: list[str], folder: Path, stage: str = "target"
) -> tuple[Any, RunDirectory]:
    experiment, run = prepared(line, folder)

    def stop(event: Event) -> None:
        if (str(event.stage), event.kind, event.epoch) == (stage, "epoch", 1):
            os.kill(os.getpid(), signal.SIGTERM)

    assert execution.execute(experiment, run, stop)["exit_code"] == 143
    return experiment, run


STATES = ("checkpoints/target/last.safetensors", "checkpoints/source/best.safetensors")


def test_a_file_that_is_rewritten_while_it_is_checked_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    recorded.begin(tmp_path)
    real, coming = recorded.open_regular, ["second", "the third"]

    def rewrite_first(path: Path, *args: Any) -> Any:
        if coming and path.name == "manifest.json":  # after the record was read
            recorded.replace(tmp_path, path.name, coming.pop(0))
        return real(path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(recorded, "open_regular", rewrite_first)
        recorded.check_all(tmp_path, checkpoints=True)
    assert not coming
    (tmp_path / "manifest.json").write_text("the fourth")
    with pytest.raises(DamagedFileError, match=r"manifest\.json is not what mmx wrote"):
        recorded.check_all(tmp_path, checkpoints=True)


def test_a_flipped_bit_in_a_run_that_was_interrupted_is_seen(
    prepared: Callable[..., Any], line: list[str], tmp_path: Path
) -> None:
    experiment, run = interrupted(prepared, line, tmp_path)
    chance = random.Random(2)
    mended = {run.path / name for name in STATES}
    assert mended <= set(files(run))
    for path in set(files(run)) - mended - {run.path / "run.log"}:
        bit = chance.randrange(8 * path.stat().st_size)
        flip(path, bit)
        with pytest.raises(RunError, match=path.name):
            run.require_undamaged()
        flip(path, bit)
    assert execution.execute(experiment, run, print)["status"] == "done"


def numbers(run: RunDirectory) -> dict[str, Any]:
    found = {k: v for k, v in run.summary().items() if k not in ("run", "timing", "faster")}
    lines = [{k: v for k, v in each.items() if k != "seconds"} for each in run.metrics()]
    return {**found, "lines": lines}


@pytest.mark.parametrize("damaged", [(STATES[0],), (STATES[1],), STATES])
def test_a_damaged_checkpoint_is_made_again_and_changes_no_number(
    train: Train,
    prepared: Callable[..., Any],
    line: list[str],
    tmp_path: Path,
    damaged: tuple[str, ...],
) -> None:
    experiment, run = interrupted(prepared, line, tmp_path)
    for name in damaged:
        flip(run.path / name, 8 * ((run.path / name).stat().st_size - 3))
    assert execution.execute(experiment, run, print)["status"] == "done"
    said = (run.path / "run.log").read_text()
    if STATES[0] in damaged:
        assert "the checkpoint last.safetensors is damaged: the stage starts over" in said
    if STATES[1] in damaged:
        assert "best.safetensors is damaged: source is trained again" in said
    assert numbers(run) == numbers(train(*line))
    run.require_undamaged(checkpoints=True)
