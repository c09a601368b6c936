"""One run in two real processes: as one, bit for bit again, stopped, killed, and by torchrun."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from ranked_runs import (
    LINE,
    MMX,
    TORCHRUN,
    curves,
    find_run,
    finish,
    require_same,
    start,
    train,
    weights,
)
from safetensors.torch import load_file

from mmx.runs.directory import RunDirectory

pytestmark = pytest.mark.slow

RANDOM = ["device=cpu", "encoder.sequence.dropout=0.2"]
SLOW = ["trainer.epochs=30", "trainer.checkpoint_seconds=0.05"]


def when_training(folder: Path, lines: int) -> RunDirectory:
    """Wait until a run has written as many lines of metrics; return it."""
    for _ in range(6000):
        for metrics in folder.glob("outputs/runs/2*/metrics.jsonl"):
            if metrics.read_text().count("\n") >= lines:
                return RunDirectory(metrics.parent)
        time.sleep(0.02)
    raise AssertionError(f"no training under {folder}")


def list_followers(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = entry.read_text().rpartition(") ")
        except OSError:
            continue
        if int(rest.split()[1]) == leader and "mmx.ranks.follow" in command_of(entry.parent):
            found.append(int(name.split()[0]))
    return found


def parent_of(entry: Path) -> int | None:
    try:
        return int(entry.read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return None


def environment_of(process: Path) -> list[str]:
    try:
        return (process / "environ").read_text().split("\0")
    except OSError:
        return []


def command_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Return a run with dropout in two processes that nothing disturbs."""
    return train(tmp_path_factory.mktemp("whole"), *RANDOM, *SLOW, "processes=2")


def test_two_processes_train_as_one_does(tmp_path):
    one = train(tmp_path / "one", "processes=1", "device=cpu")
    two = train(tmp_path / "two", "processes=2", "device=cpu")
    assert len(curves(one)) == len(curves(two)) > 4
    for ours, theirs in zip(curves(one), curves(two), strict=True):
        assert {**ours, "value": 0} == {**theirs, "value": 0}
        assert ours["value"] == pytest.approx(theirs["value"], abs=1e-5)
    ours, theirs = weights(one), weights(two)
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, atol=1e-5, rtol=0)
    one_scores, two_scores = (load_file(run.path / "scores.safetensors") for run in (one, two))
    assert one_scores.keys() == two_scores.keys()
    for name, tensor in one_scores.items():
        torch.testing.assert_close(two_scores[name], tensor, atol=1e-5, rtol=0)
    # The number of processes is part of what a run is; one is what runs were before.
    assert two.config()["processes"] == 2
    assert "processes" not in one.config()
    assert one.manifest().fingerprint != two.manifest().fingerprint


def test_batch_norm_over_both_processes_is_that_of_one(tmp_path):
    # Pictures with plain batch norms, sounds with masked ones.
    line = ["source=none", "target=digits_av", "target.image.crop=0", "control=none"]
    # Of one epoch: AdamW lets differences of rounding grow with each step.
    line += ["trainer.epochs=1", "trainer.batch_size=33", "precision=fp32", "device=cpu"]
    runs = []
    for count, words in (
        (1, ["processes=1"]),
        (2, ["processes=2", "trainer.sync_batch_norm=true"]),
    ):
        folder = tmp_path / str(count)
        finish(start(folder, MMX, "train", *line, *words))
        runs.append(find_run(folder))
    one, two = runs
    ours, theirs = weights(one), weights(two)
    assert any("running_var" in name for name in ours)
    for name, tensor in ours.items():
        # A bias before a batch norm has a gradient of rounding alone, which AdamW makes a step of.
        torch.testing.assert_close(theirs[name], tensor, atol=1e-3, rtol=1e-3)
    for mine, yours in zip(curves(one), curves(two), strict=True):
        assert mine["value"] == pytest.approx(yours["value"], abs=1e-5)


def test_rows_decoded_by_workers_are_the_same(tmp_path, whole):
    # Each worker is forked from a process that waits for the end of the first one.
    more = ["trainer.resident=false", "trainer.workers=2"]
    require_same(train(tmp_path, *RANDOM, *SLOW, *more, "processes=2"), whole)


def test_torchrun_gives_the_same_bits(tmp_path, whole):
    run = train(tmp_path, *RANDOM, *SLOW, command=TORCHRUN)
    require_same(run, whole)
    assert run.config()["processes"] == 2
    assert run.manifest().fingerprint == whole.manifest().fingerprint


@pytest.mark.parametrize(
    ("send", "number"),
    [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)],
    ids=["Ctrl-C to the group", "SIGTERM to the first"],
)
def test_stopped_and_resumed_is_as_if_it_had_not_been(tmp_path, whole, send, number):
    process = start(tmp_path, MMX, "train", *LINE, *RANDOM, *SLOW, "processes=2")
    run = when_training(tmp_path, 12)
    send(process.pid, number)
    said = finish(process, 128 + number)
    assert "after step" in said
    assert run.status()["status"] == "interrupted"
    finish(start(tmp_path, MMX, "resume", str(run.path)))
    require_same(run, whole)


def test_ctrl_c_while_the_other_process_starts_is_no_failure(tmp_path):
    process = start(tmp_path, MMX, "train", *LINE, *RANDOM, "processes=2")
    for _ in range(6000):
        if list_followers(process.pid):
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said = finish(process, 128 + signal.SIGINT)
    assert "stopped while the processes of the run were starting" in said
    run = find_run(tmp_path)
    assert run.status()["status"] == "interrupted"
    finish(start(tmp_path, MMX, "resume", str(run.path)))
    assert run.status()["status"] == "done"


def test_torchrun_lets_the_first_process_save_its_state(tmp_path, whole):
    process = start(tmp_path, TORCHRUN, "train", *LINE, *RANDOM, *SLOW)
    run = when_training(tmp_path, 12)
    (first,) = [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/stat")
        if parent_of(entry) == process.pid and "RANK=0" in environment_of(entry.parent)
    ]
    os.kill(first, signal.SIGTERM)
    said = finish(process, 1)  # of torchrun, which tells the codes of its processes
    assert f"exitcode  : {128 + signal.SIGTERM}" in said
    assert run.status()["status"] == "interrupted"
    finish(start(tmp_path, MMX, "resume", str(run.path)))
    require_same(run, whole)


def test_a_killed_process_ends_the_run_which_goes_on(tmp_path, whole):
    process = start(tmp_path, MMX, "train", *LINE, *RANDOM, *SLOW, "processes=2")
    run = when_training(tmp_path, 12)
    (follower,) = list_followers(process.pid)
    os.kill(follower, signal.SIGKILL)
    said = finish(process, 1)
    assert "rank 1 of 2 processes was killed by SIGKILL" in said
    assert f"mmx resume {run.path.relative_to(tmp_path)}" in said.replace("\n", " ")
    assert run.status()["status"] == "failed"
    finish(start(tmp_path, MMX, "resume", str(run.path)))
    require_same(run, whole)


def test_a_killed_leader_leaves_no_process_and_no_file(tmp_path):
    (tmp_path / "tmp").mkdir()
    os.environ["TMPDIR"], before = str(tmp_path / "tmp"), os.environ.get("TMPDIR")
    try:
        process = start(tmp_path, MMX, "train", *LINE, *SLOW, "device=cpu", "processes=2")
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    when_training(tmp_path, 4)
    (follower,) = list_followers(process.pid)
    process.kill()
    finish(process, -signal.SIGKILL)
    for _ in range(500):
        if not Path(f"/proc/{follower}").exists() and not list((tmp_path / "tmp").iterdir()):
            return
        time.sleep(0.02)
    raise AssertionError("the other process goes on, or has left its copy")


def test_torchrun_lets_its_processes_go_where_nothing_runs(tmp_path):
    process = start(tmp_path, TORCHRUN, "train", *LINE, "--dry-run")
    finish(process)
    said = finish(start(tmp_path, TORCHRUN, "train", "-m", *LINE, "seed=1,2"), 1)
    assert "torchrun starts the processes of one run" in said
    assert not (tmp_path / "outputs/runs").exists()


def test_the_manifest_says_how_many_threads_each_has(whole):
    assert json.loads((whole.path / "manifest.json").read_text())["machine"]["threads"] == 1
