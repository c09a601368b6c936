"""``mmx search``: trials on validation alone, one test, the same after any interruption."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mmx.cli import main
from mmx.reports import report
from mmx.runs.directory import RunDirectory

LINE = (
    "source=none",
    "target=digits",
    "target.limit=200",
    "trainer.epochs=4",
    "trainer.threads=1",
    "device=cpu",
    "optimizer.lr=log(1e-4,1e-1)",
    "trainer.batch_size=16,64",
    "jobs=2",
)


def read_trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search of eight trials."""
    folder = tmp_path_factory.mktemp("searched")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["search", *LINE, "trials=8", "hydra.sweep.dir=s"]) == 0
    finally:
        os.chdir(before)
    return folder / "s"


def test_the_winner_is_the_best_on_validation_and_is_run_as_train_runs_it(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_trials(searched)
    assert [int(row["trial"]) for row in rows] == list(range(8))
    best = max(
        (row for row in rows if row["validation"]),
        key=lambda row: (float(row["validation"]), -int(row["trial"])),
    )
    (run,) = (searched / "runs").iterdir()
    config = RunDirectory(run).config()
    assert config["optimizer"]["lr"] == float(best["optimizer.lr"])
    assert config["trainer"]["batch_size"] == int(best["trainer.batch_size"])
    found = RunDirectory(run).read_summary().target.metrics
    assert found["val"]["accuracy"] == float(best["validation"])
    chosen = [f"{key}={best[key]}" for key in ("optimizer.lr", "trainer.batch_size")]
    monkeypatch.chdir(tmp_path)
    assert main(["train", *LINE[:-3], *chosen, "hydra.run.dir=alone"]) == 0
    assert RunDirectory(tmp_path / "alone").read_summary().target.metrics == found


def test_the_winner_is_listed_among_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", *LINE, "trials=2"]) == 0
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert capsys.readouterr().out == f"outputs/sweeps/{folder.name}\n"
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (run,) = (folder / "runs").iterdir()
    assert found["run"] == f"sweeps/{folder.name}/runs/{run.name}"


def test_other_settings_in_a_file_are_another_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*LINE[:3], *LINE[4:-1], "experiment=mine", "trials=1"]
    folders = []
    for epochs, jobs in ((1, "jobs=2"), (2, "jobs=2"), (2, "jobs=1")):
        mine = tmp_path / f"conf{epochs}" / "experiment" / "mine.yaml"
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text(f"# @package _global_\ntrainer:\n  epochs: {epochs}\n")
        assert main(["search", *words, jobs, "--config-dir", f"conf{epochs}"]) == 0
        folders.append(capsys.readouterr().out)
    assert folders[0] != folders[1] == folders[2]


def test_one_process_searches_in_a_directory(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(searched.parent)
    with FileLock("s/.lock"):
        assert main(["search", *LINE, "trials=8", "hydra.sweep.dir=s"]) == 2
    assert "another process is searching in s" in capsys.readouterr().err


def test_a_winner_that_fails_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "write_report", broken)  # of runs, not of trials
    assert main(["search", *LINE, "trials=2", "hydra.sweep.dir=s"]) == 1
    err = capsys.readouterr().err
    assert "failed: RuntimeError: the disk is gone" in err
    assert "test, opened once" not in err


def test_no_trial_opens_a_test_row(searched: Path) -> None:
    trials = [path for path in sorted((searched / "trials").iterdir()) if path.is_dir()]
    assert len(trials) == 8
    for trial in trials:
        found: dict[str, Any] = json.loads((trial / "trial.json").read_text())
        assert set(found) == {"metrics", "score", "scores", "rungs"}
        assert "test" not in {entry["split"] for entry in RunDirectory(trial).metrics()}
        assert not (trial / "summary.json").exists()


def test_the_same_line_runs_nothing_again_and_more_trials_go_on(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(searched.parent)
    before = read_trials(searched)
    assert main(["search", *LINE, "trials=8", "hydra.sweep.dir=s"]) == 0
    out, err = capsys.readouterr()
    assert out == "s\n"
    assert "done trial" not in err
    assert "skipped " in err
    assert "tried: 8 settings" in err
    assert "test, opened once: " in err
    assert main(["search", *LINE, "trials=10", "hydra.sweep.dir=s"]) == 0
    _, err = capsys.readouterr()
    assert err.count("done trial") + err.count("pruned") >= 1
    assert read_trials(searched)[:8] == before
    assert main(["search", *LINE, "trials=8", "hydra.sweep.dir=s", "seed=2"]) == 2
    assert "s holds another search" in capsys.readouterr().err


def test_settings_that_do_not_go_together_fail_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*LINE[:6], "fusion=[concat,algorithm]", "trials=4", "sampler=random", "jobs=1"]
    code = main(["search", *words, "hydra.sweep.dir=s"])
    rows = read_trials(tmp_path / "s")
    assert {row["fusion"]: row["state"] for row in rows}["concat"] == "done"
    assert code == 0
    assert all(bool(row["why"]) == (row["state"] == "failed") for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lrr=log(1e-4,1e-1)"], "lrr"),
        (["optimizer.lr=-1..1"], "optimizer.lr=-1: expected a number > 0"),
        (["seed=3"], "varies nothing"),
        (["seed=1,2", "transfer=auto", "source=digits"], "is a search itself"),
        (["seed=1,2", "trials=none"], "trials=20"),
        (["-m", "seed=1,2"], "tip: mmx search 'optimizer.lr=log(1e-4,1e-2)' trials=20"),
        (["seed=1,2", "--dry-run"], "mmx search has no flag --dry-run"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_made(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", "target=digits", "control=none", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def _start(folder: Path, given: Sequence[str] = (*LINE, "trials=8")) -> subprocess.Popen[bytes]:
    words = [*given, "hydra.sweep.dir=s"]
    with (folder / "err").open("ab") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "mmx", "search", *words],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )


def _wait_for(folder: Path, process: subprocess.Popen[bytes], trial: int, lines: int = 3) -> None:
    """Wait until a trial is in training."""
    path = folder / "s" / "trials" / f"{trial:04d}" / "metrics.jsonl"
    until = time.monotonic() + 200
    while not path.exists() or path.read_text().count("\n") < lines:
        assert process.poll() is None, (folder / "err").read_text()
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.slow
def test_a_search_that_was_killed_twice_equals_an_unbroken_one(
    searched: Path, tmp_path: Path
) -> None:
    for trial in (1, 5):
        process = _start(tmp_path)
        _wait_for(tmp_path, process, trial)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process = _start(tmp_path)
    _wait_for(tmp_path, process, 6)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    assert _start(tmp_path).wait(400) == 0
    assert read_trials(tmp_path / "s") == read_trials(searched)[:8]
    (one,), (other,) = (list((each / "runs").iterdir()) for each in (tmp_path / "s", searched))
    summaries = [RunDirectory(run).read_summary().target.metrics for run in (one, other)]
    assert summaries[0] == summaries[1]


@pytest.mark.slow
def test_thirty_trials_killed_twice_equal_an_unbroken_study(tmp_path: Path) -> None:
    small = {"target.limit=200": "target.limit=60", "trainer.epochs=4": "trainer.epochs=1"}
    words = [*(small.get(word, word) for word in LINE), "control=none", "trials=30"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert _start(whole, words).wait(400) == 0
    for trial, number, code in ((5, signal.SIGKILL, -9), (17, signal.SIGTERM, 143)):
        process = _start(killed, words)
        _wait_for(killed, process, trial, lines=0)  # its directory is made, and it may be training
        os.killpg(process.pid, number)
        assert process.wait(120) == code
        assert not (killed / "s" / "trials" / "0029").exists()
    assert _start(killed, words).wait(400) == 0
    rows = read_trials(whole / "s")
    assert [row["state"] for row in rows].count("done") == len(rows) == 30
    assert read_trials(killed / "s") == rows


@pytest.mark.slow
def test_the_gain_of_the_winner_has_its_interval_and_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["source=none", "target=digits_av", "control=unimodal", "trainer.epochs=1", "trials=1"]
    lr = "optimizer.lr=log(1e-3,1e-2)"
    assert main(["search", *words, lr, "device=cpu", "hydra.sweep.dir=s"]) == 0
    said = capsys.readouterr().err.splitlines()
    (run,) = (tmp_path / "s" / "runs").iterdir()
    gain = RunDirectory(run).read_summary().gain
    assert gain is not None
    low, high = gain.interval
    assert (
        f"gain: {gain.value:+.3f} accuracy over the unimodal control of equal budget (95 % "
        f"interval {low:+.3f} … {high:+.3f} over test samples, one seed): {gain.verdict}"
    ) in said
    score = RunDirectory(run).read_summary().target.metrics["val"]["accuracy"]
    assert (
        f"validation: {score:.4f} for the winner; of the 1 trained to their end the lowest has "
        f"{score:.4f} and the median is {score:.4f}. The best of many is optimistic on validation"
    ) in said
    assert "tried: 1 setting (1 done)" in said
