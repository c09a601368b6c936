"""The part of each guide, put into a copy of mmx at the places that the guide says, passes there.

No other file of the copy is edited. What is run is the command that the guide gives for it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from docs_pages import ROOT, read_blocks

GUIDES = sorted((ROOT / "docs/guides").glob("add_*.md"))
PLACES = {
    "class": r"mmx/[\w/]+\.py",
    "yaml": r"configs/[\w/]+\.yaml",
    "test": r"tests/\w+/test_\w+\.py",
}
COPIED = ("mmx", "configs", "tests", "docs", "examples", "README.md", "pyproject.toml")
SECONDS = 600


@dataclass(frozen=True)
class Guide:
    """What a guide adds, and where.

    Attributes:
        places: Path in mmx of the class, the YAML and the test.
        texts: What they hold there.
        command: Words of the command that runs what covers the kind, after ``pytest``.
    """

    places: dict[str, str]
    texts: dict[str, str]
    command: list[str]


def read_guide(path: Path) -> Guide:
    """Return what a guide adds: its three files, and what it says of their places in mmx."""
    files = [block for block in read_blocks(path) if block.file]
    module = files[0].file.removesuffix(".py").replace("/", ".")
    text = path.read_text(encoding="utf-8")
    said = text[text.rindex("n mmx itself") :]
    (command,) = re.findall(r"`pytest ([^`]+)`", said)
    name = Path(files[0].file).stem
    found = {kind: re.findall(f"`({form})`", said) for kind, form in PLACES.items()}
    places = {kind: next(each for each in paths if name in each) for kind, paths in found.items()}
    real = places["class"].removesuffix(".py").replace("/", ".")
    texts = {
        kind: block.text.partition("\n")[2].replace(module, real)
        for kind, block in zip(PLACES, files, strict=True)
    }
    return Guide(places, texts, shlex.split(command))


def complete_task(text: str) -> str:
    """Return a task's YAML with the lines that its guide says to copy from other tasks."""
    digits, table = (
        (ROOT / f"configs/task/{name}.yaml").read_text(encoding="utf-8")
        for name in ("digits", "table")
    )
    lines = [line for line in digits.splitlines() if not line.startswith((" ", "#", "_"))]
    stated = {line.partition(":")[0] for line in text.splitlines()} | {"test_fraction", "image"}
    base = [line for line in lines if line.partition(":")[0] not in stated]
    (tabular,) = re.findall(r"^tabular: .*\n(?:  .*\n)+", table, re.MULTILINE)
    return "\n".join([text.rstrip("\n"), *base, tabular])


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of mmx and its tests with the parts of all guides in place."""
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    for path in GUIDES:
        guide = read_guide(path)
        for kind, place in guide.places.items():
            assert not (folder / place).exists()
            assert (folder / place).parent.is_dir(), f"{path.name} names a folder that is not there"
            text = guide.texts[kind]
            is_task = kind == "yaml" and path.stem == "add_task"
            (folder / place).write_text(complete_task(text) if is_task else text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_says_where_its_part_goes(path: Path) -> None:
    guide = read_guide(path)
    name = Path(guide.places["class"]).stem
    assert Path(guide.places["yaml"]).stem == name
    assert Path(guide.places["test"]).stem.endswith(f"_{name}")
    assert all((ROOT / word).exists() for word in guide.command if word.startswith("tests"))
    assert guide.command[guide.command.index("-k") + 1].startswith(f"{name} or ")


@pytest.mark.slow
@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_what_covers_its_kind_passes(copy: Path, path: Path) -> None:
    guide = read_guide(path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *guide.command],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (count,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(count) > 10
