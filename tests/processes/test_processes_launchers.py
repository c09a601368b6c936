"""A sweep of six through each launcher gives the numbers of one job after the other."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.runs.stored_sweep import read_sweep

pytestmark = pytest.mark.slow
LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", ["hydra.launcher.n_jobs=2"]),
    "submitit": ("submitit", ["hydra.launcher.cluster=local"]),
    "ray": ("ray", []),
}


@pytest.fixture(scope="module")
def words(tables: dict[str, Path], overrides: Callable[..., list[str]]) -> list[str]:
    given = overrides(None, tables["two"], ("tabular",), "control=none", "seed=1,2,3,4,5,6")
    return ["train", "-m", *given, "trainer.threads=1", "device=cpu"]


def run(folder: Path, words: list[str]) -> list[dict[str, str]]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mmx", *words, "hydra.sweep.dir=sweep"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (folder / "sweep" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    apart = ("run", "seconds", "job")
    return [{key: value for key, value in row.items() if key not in apart} for row in rows]


@pytest.fixture(scope="module")
def serial(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    return run(tmp_path_factory.mktemp("serial"), [*words, "jobs=1"])


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_six_jobs(
    launcher: str, serial: list[dict[str, str]], words: list[str], tmp_path: Path
) -> None:
    module, options = LAUNCHERS[launcher]
    pytest.importorskip(module)
    found = run(tmp_path, [*words, f"hydra/launcher={launcher}", *options])
    assert [row["status"] for row in found] == ["done"] * 6
    assert found == serial
    assert read_sweep(tmp_path / "sweep").count()["done"] == 6
    assert len(list((tmp_path / "sweep" / "runs").iterdir())) == 6  # none twice
    assert not (tmp_path / "sweep" / ".submitit").exists()
