"""What is published: the sdist, and the wheel that is built from it, hold all that they should."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import mmx

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDERS = ("mmx", "configs", "docs", "tests", "scripts", "examples")
FILES = (
    *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff"),
    *("pyproject.toml", "mkdocs.yml", "requirements.lock", "requirements-weights.txt"),
    "Containerfile",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return sdist and wheel; the wheel is built from what is in the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def list_committed(*places: str) -> set[str]:
    """Return the files of the repository that git follows or would follow."""
    command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "--", *places]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("not a repository: nothing says which files belong to it")
    return {name for name in found.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_sdist_has_the_project(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*FILES} <= names
    assert list_committed(*FOLDERS) - names == set()
    assert [name for name in names if "__pycache__" in name or name.startswith("outputs")] == []


def test_the_wheel_has_what_runs(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[1]).namelist())
    package = list_committed("mmx")
    assert package - names == set()  # templates, styles, scripts, py.typed
    for kind in (".py", ".jinja", ".typed", ".js", ".css"):
        assert any(name.endswith(kind) for name in package), kind
    assert {f"mmx/{name}" for name in list_committed("configs")} - names == set()
    about = f"mmx-{mmx.__version__}.dist-info"
    assert f"{about}/licenses/LICENSE" in names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"mmx", about}


def test_the_metadata_is_what_an_index_takes(built: tuple[Path, Path]) -> None:
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    archive = zipfile.ZipFile(built[1])
    text = archive.read(f"mmx-{mmx.__version__}.dist-info/METADATA").decode()
    about = Parser().parsestr(text)
    assert about["Version"] == mmx.__version__
    assert about["License-Expression"] == "MIT"
    assert about["Requires-Python"] == ">=3.10"
    entry = archive.read(f"mmx-{mmx.__version__}.dist-info/entry_points.txt").decode()
    assert "mmx = mmx.cli:main" in entry
