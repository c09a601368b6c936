"""``mmx train --dry-run``: what would run, while nothing is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.runs import recorded

LINE = ("source=none", "target=digits", "control=none", "trainer.epochs=1", "target.limit=60")
UNKNOWN = (
    "time: not known, since outputs has no finished run with these parts, controls, epochs and "
    "batch size; a sweep tells it after its first steps"
)


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
    *head, tail, timed = out.splitlines()
    assert head == [
        f"would run {told} seed=1 jobs=2",
        f"would run {told} seed=2 jobs=2",
        "2 jobs in sweep: 2 to run",
    ]
    assert tail.startswith("2 at the same time (jobs=2), ")
    assert timed == UNKNOWN
    assert not list(tmp_path.iterdir())
    assert main(["train", "-m", *LINE, "seed=1", "hydra.sweep.dir=sweep"]) == 0
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    out, _ = capsys.readouterr()
    (run,) = (tmp_path / "sweep" / "runs").iterdir()
    assert out.splitlines()[0] == f"done {told} seed=1 jobs=2: sweep/runs/{run.name}"
    assert out.splitlines()[2] == "2 jobs in sweep: 1 done, 1 to run"
    assert out.splitlines()[-1] == UNKNOWN  # a sweep elsewhere is none of the output folder


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["seed=2,3"], "from 2 earlier runs with the same parts and epochs"),
        (["seed=3", "trainer.epochs=2"], None),
        (
            ["seed=3", "trainer.batch_size=32,64"],
            "from 2 earlier runs with the same parts and epochs; "
            "1 of 2 jobs have none, and are not in it",
        ),
    ],
)
def test_the_time_is_that_of_runs_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str | None
) -> None:
    runs = tmp_path / "outputs" / "runs"
    for seed in (1, 2):
        assert main(["train", *LINE, f"seed={seed}"]) == 0
    for run, seconds in zip(sorted(runs.iterdir()), (60.0, 180.0), strict=True):
        summary = json.loads((run / "summary.json").read_text())
        summary["timing"]["total_s"] = seconds
        recorded.replace(run, "summary.json", json.dumps(summary))
    capsys.readouterr()
    assert main(["train", "-m", *LINE, "jobs=1", *more, "--dry-run"]) == 0
    *_, timed = capsys.readouterr().out.splitlines()
    count = 2 if "seed=2,3" in more else 1
    assert timed == (f"time: about {2 * count} min, {told}" if told else UNKNOWN)


def test_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *LINE, "--dry-run"]) == 0
    assert capsys.readouterr().out == (f"would run {' '.join(LINE)} in outputs/runs\n{UNKNOWN}\n")
    assert not list(tmp_path.iterdir())


def test_jobs_of_one_run_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *LINE, "jobs=2"]) == 2
    err = capsys.readouterr().err
    assert "jobs=2" in err
    assert "type: -m jobs=2 seed=1,2" in err.replace("\n", " ") or "-m jobs=2 seed=1,2" in err


def test_a_sweep_has_one_number_of_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *LINE, "jobs=1,2", "--dry-run"]) == 2
    assert "a sweep has one such number" in capsys.readouterr().err


@pytest.mark.slow
def test_the_plan_says_which_sources_are_in_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    line = ("source=digits", "target=digits", "source.limit=60", "trainer.source_epochs=1")
    words = ["train", "-m", *line, *LINE[2:], "cache=kept", "trainer.threads=1"]

    def find_line(*more: str) -> str:
        assert main([*words, *more]) == 0
        captured = capsys.readouterr()
        lines = (captured.out + captured.err).splitlines()
        (found,) = [each for each in lines if " start" in each and " from " in each]
        return found

    two = ("fusion=concat,gmu", "seed=1", "jobs=1")
    told = "2 jobs start from 1 source: 1 to train"
    assert find_line(*two, "--dry-run") == told
    assert find_line(*two) == told  # before the launch
    more = ("fusion=film", "seed=1,2", "jobs=2")
    assert find_line(*more, "--dry-run") == (
        "2 jobs start from 2 sources, each trained once: "
        "1 in the cache, if its data is the same; 1 to train"
    )
    one = ("fusion=film", "seed=1", "--dry-run")
    assert find_line(*one) == (
        "1 job starts from 1 source: 1 in the cache, if its data is the same; 0 to train"
    )
    told = "1 job starts from 1 source: 1 to train"
    for changed in ("optimizer.lr=0.01", "trainer.source_epochs=2", "trainer.threads=2"):
        assert find_line(*one, changed) == told, changed
