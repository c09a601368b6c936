"""``examples/own_part`` installed as anybody's package: its tests, its options, its runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_part"
LINE = (
    *("source=none", "target=digits_av", "target.per_class=2", "control=none", "trainer.epochs=1"),
    *("device=cpu", "cache=off", "encoder.audio.width=16"),
    *("fusion=maximum", "encoder/image=color_histogram"),
)
ALLOW = ("--allow", "own_part")
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the package is installed in, built from a copy and without a network."""
    folder = tmp_path_factory.mktemp("own_part")
    shutil.copytree(EXAMPLE, folder / "copy", ignore=shutil.ignore_patterns("__pycache__", "dist"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    words = ["--no-build-isolation", "--target", str(folder / "site"), str(folder / "copy")]
    subprocess.run([*install, *words], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def call(site: Path, folder: Path) -> Call:
    """Return ``call(*words, installed=True)``: Python's ``-m`` with words, in an empty folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment.pop("MMX_ALLOW", None)

    def run(*words: str, installed: bool = True) -> subprocess.CompletedProcess[str]:
        path = {"PYTHONPATH": str(site)} if installed else {}
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=folder,
            env={**environment, **path},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="module")
def run(call: Call, folder: Path) -> Path:
    """Return a run of both of its parts."""
    done = call("mmx", "train", *ALLOW, *LINE)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.strip()


def test_its_own_tests_pass(call: Call) -> None:
    words = ("-rA", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLE), str(EXAMPLE / "tests"))
    done = call("pytest", *words)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\nPASSED ") == 4, done.stdout


def test_only_what_is_allowed_runs(call: Call) -> None:
    done = call("mmx", "train", *LINE)
    assert done.returncode == 2
    assert done.stderr.count("--allow own_part") == 2


def test_the_run_names_the_package(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["packages"] == {"own_part": "own-part"}
    assert manifest["versions"]["own-part"] == "1.0"
    assert set(manifest["identity"]["code"]) == {"mmx", "own_part"}


def test_what_opens_it_works(call: Call, run: Path) -> None:
    found = call("mmx", "eval", *ALLOW, str(run))
    assert found.returncode == 0, found.stderr
    summary = json.loads((run / "summary.json").read_text())
    measured = json.loads(found.stdout)["test"]
    assert measured == pytest.approx(summary["target"]["metrics"]["test"])
    assert call("mmx", "predict", *ALLOW, str(run)).returncode == 0


def test_it_is_repeated_bit_for_bit(call: Call, run: Path) -> None:
    done = call("mmx", "reproduce", *ALLOW, str(run))
    assert done.returncode == 0, done.stderr
    assert "bit for bit" in done.stderr
    assert call("mmx", "reproduce", *ALLOW, str(run), "fusion.width=16").returncode == 0


def test_without_the_package_it_is_said_what_to_install(call: Call, run: Path) -> None:
    for verb, *more in (["eval"], ["predict"], ["reproduce"], ["reproduce", "seed=2"]):
        done = call("mmx", verb, str(run), *more, *ALLOW, installed=False)
        assert done.returncode == 2, verb
        assert "the run was made with own-part 1.0" in done.stderr
        assert "pip install 'own-part==1.0'" in done.stderr
