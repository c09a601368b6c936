"""The working directory may be a stranger's: python -m mmx imports nothing of it unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NAMES = ("yaml", "torch", "hydra", "omegaconf", "pandas", "pickle", "json", "rich", "sentinel")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    evil = "open('executed', 'a').write(__name__ + ' ')\n"
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(evil)
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "evil.py").write_text(evil)
    (tmp_path / "mine.py").write_text(
        "from mmx.fusion.concat import Concat\n\n\nclass Mine(Concat):\n    pass\n"
    )
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, "-m", "mmx", *words],
        cwd=folder,
        env={**environment, "MMX_ALLOW": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_nothing_of_it_is_imported(hostile):
    said = run(hostile, "train", "--cfg", "job")
    assert (said.returncode, said.stderr) == (0, "")
    assert not (hostile / "executed").exists()


def test_what_is_allowed_is_imported_and_no_more(hostile):
    words = ["fusion._target_=mine.Mine", "trainer.epochs=0", "--allow", "mine"]
    said = run(hostile, "train", *words)
    assert said.returncode == 2
    assert said.stderr.startswith("mmx: 1 problem in the config\ntrainer.epochs=0: ")
    assert not (hostile / "executed").exists()


def test_workers_of_a_launcher_import_no_more_either(hostile):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    evil = (hostile / "hydra_plugins" / "evil.py").read_text()
    (hostile / "hydra_plugins" / "__init__.py").write_text(evil)  # before all without one
    words = ["source=none", "target=digits", "target.per_class=3", "control=none", "seed=1,2"]
    words += ["trainer.epochs=1", "trainer.threads=1", "device=cpu", "cache=off"]
    words += ["fusion._target_=mine.Mine", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    said = run(hostile, "train", "-m", "--allow", "mine", *words)
    assert said.returncode == 0, said.stderr
    assert not (hostile / "executed").exists()
