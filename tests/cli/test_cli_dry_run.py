"""``mmx train --dry-run``: what would run, while nothing is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmx.cli import main

LINE = ("source=none", "target=digits", "control=none", "trainer.epochs=1", "target.limit=60")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMX_JOBS")


def test_a_sweep_that_is_new_partly_done_and_outdated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "-m", *LINE, "seed=1,2", "jobs=2", "hydra.sweep.dir=sweep"]
    told = " ".join(LINE)
    assert main([*words, "--dry-run"]) == 0
    out, _ = capsys.readouterr()
    head, tail = out.splitlines()[:-1], out.splitlines()[-1]
    assert head == [
        f"would run {told} seed=1 jobs=2",
        f"would run {told} seed=2 jobs=2",
        "2 jobs in sweep: 2 to run",
    ]
    assert tail.startswith("2 at the same time (jobs=2), ")
    assert not list(tmp_path.iterdir())
    assert main(["train", "-m", *LINE, "seed=1", "hydra.sweep.dir=sweep"]) == 0
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    out, _ = capsys.readouterr()
    (run,) = (tmp_path / "sweep" / "runs").iterdir()
    assert out.splitlines()[0] == f"done {told} seed=1 jobs=2: sweep/runs/{run.name}"
    assert out.splitlines()[2] == "2 jobs in sweep: 1 done, 1 to run"


def test_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *LINE, "--dry-run"]) == 0
    assert capsys.readouterr().out == f"would run {' '.join(LINE)} in outputs/runs\n"
    assert not list(tmp_path.iterdir())


def test_jobs_of_one_run_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *LINE, "jobs=2"]) == 2
    err = capsys.readouterr().err
    assert "jobs=2" in err
    assert "type: -m jobs=2 seed=1,2" in err.replace("\n", " ") or "-m jobs=2 seed=1,2" in err


def test_a_sweep_has_one_number_of_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *LINE, "jobs=1,2", "--dry-run"]) == 2
    assert "a sweep has one such number" in capsys.readouterr().err
