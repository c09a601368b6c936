"""What a manifest says of the repository that mmx's code is in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.runs import surroundings

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Make a folder that the code lies in; return ``git(*arguments)`` there."""
    package = tmp_path / "mmx"
    package.mkdir()
    (package / "model.py").write_text("width = 1\n")
    (tmp_path / "notes.txt").write_text("one\n")
    monkeypatch.setattr(surroundings, "PACKAGE", package)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody@example.com")

    def run(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


def test_the_commit_and_what_differs_from_it(git: Git, tmp_path: Path) -> None:
    git("init")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config.yaml").write_text("seed: 0\n")
    git("add", ".")
    git("commit", "-m", "first")
    assert surroundings.find_git_commit() == git("rev-parse", "HEAD").strip()
    assert surroundings.read_code_patch() == ""
    (tmp_path / "notes.txt").write_text("two\n")  # neither code nor config
    assert surroundings.read_code_patch() == ""
    (tmp_path / "mmx" / "model.py").write_text("width = 2\n")
    changed = [
        line for line in surroundings.read_code_patch().splitlines() if line[:2] in ("-w", "+w")
    ]
    assert changed == ["-width = 1", "+width = 2"]


def test_without_a_repository_or_a_commit_there_is_none(git: Git) -> None:
    assert (surroundings.find_git_commit(), surroundings.read_code_patch()) == (None, "")
    git("init")
    assert (surroundings.find_git_commit(), surroundings.read_code_patch()) == (None, "")
