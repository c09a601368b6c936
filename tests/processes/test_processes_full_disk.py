"""A sweep on a real disk that fills up: each job that is lost is named, and room lets it go on."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SEEDS = 4
SCRIPT = """
set -e
mount -t tmpfs -o size="$SIZE"k none disk
mmx() { "$PYTHON" -m mmx "$@"; }
cd disk
mmx "$@" 2> ../full.err > ../full.out || echo $? > ../full.code
mount -o remount,size=100m "$PWD"
mmx sweep resume sweep trainer.checkpoint_seconds=0.01 jobs=2 2> ../again.err ||
  echo $? > ../again.code
cp sweep/summary.csv ..
ls sweep/runs | wc -l > ../runs
"""


@pytest.fixture(scope="module", autouse=True)
def _small_disk() -> None:
    """Skip where this user may mount no file system of its own."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("needs a mount namespace")


@pytest.fixture
def words(tables: dict[str, Path], overrides: Callable[..., list[str]]) -> list[str]:
    given = overrides(None, tables["two"], ("tabular",), "control=none", "seed=1,2,3,4")
    more = ["trainer.epochs=2", "trainer.checkpoint_seconds=0.01", "trainer.threads=1"]
    return ["train", "-m", *given, *more, "device=cpu", "jobs=2", "hydra.sweep.dir=sweep"]


def numbers(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("run", "seconds", "job")} for row in rows]


def test_a_full_disk_ends_the_jobs_that_need_room_and_says_which(
    words: list[str], tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "mmx", *words],
        cwd=whole,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = list((whole / "sweep" / "runs").iterdir())
    most = max(sum(-(-f.stat().st_size // 4096) for f in run.rglob("*")) for run in runs)
    (tmp_path / "disk").mkdir()
    environment = {**os.environ, "PYTHON": sys.executable, "SIZE": str(int(most * 4 * 2.7))}
    script = ["unshare", "-rm", "bash", "-c", SCRIPT, "bash", *words]
    ended = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    said = (tmp_path / "full.err").read_text()
    assert (tmp_path / "full.code").read_text() == "1\n"
    names = [f"seed={seed}" for seed in range(1, SEEDS + 1)]
    well = [name for name in names if f"\ndone {name}: " in said]
    lost = [name for name in names if f"\nfailed {name}: no room to write " in said]
    assert sorted(well + lost) == names  # each once
    assert len(well) >= 1
    assert len(lost) >= 1
    assert said.count("No space left on device\n  tip: make room, then mmx resume ") >= len(lost)
    assert "Traceback" not in said
    assert not (tmp_path / "again.code").exists(), (tmp_path / "again.err").read_text()
    assert (tmp_path / "again.err").read_text().count("\nskipped ") == len(well)
    assert numbers(tmp_path / "summary.csv") == numbers(whole / "sweep" / "summary.csv")
