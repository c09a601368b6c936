"""``scripts/pythons`` runs to its end and says what failed on which Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts/pythons"
INTERPRETER = """#!/bin/sh
mkdir -p "$3/bin"
cat >"$3/bin/python" <<'END'
#!/bin/sh
echo "python $*" >>"$0.calls"
case "$*" in *" pip "*) word=pip ;; *) word=pytest ;; esac
! [ -e "{fails}-$word" ]
END
cat >"$3/bin/mypy" <<'END'
#!/bin/sh
! [ -e "{fails}-mypy" ]
END
chmod +x "$3/bin/python" "$3/bin/mypy"
"""
"""Makes an environment whose commands fail where a file of the version and their name exists."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with the script and with stand-ins for Python 3.10 and 3.12."""
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for version in ("3.10", "3.12"):
        stub = tmp_path / f"bin/python{version}"
        stub.write_text(INTERPRETER.replace("{fails}", str(tmp_path / version)), encoding="utf-8")
        stub.chmod(0o755)
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    return tmp_path


def run(project: Path, *words: str) -> tuple[int, str]:
    """Return exit code and last line."""
    there = {"PATH": f"{project / 'bin'}:{os.defpath}", "PYTHONS": "3.10 3.11x 3.12"}
    done = subprocess.run(
        [project / "scripts/pythons", *words],
        env=there,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()[-1]


def read_calls(project: Path, version: str) -> list[str]:
    path = project / f"build/python{version}/bin/python.calls"
    return path.read_text(encoding="utf-8").splitlines()


def test_each_python_is_tried_and_absent_ones_are_named(project: Path) -> None:
    assert run(project) == (0, "passed: 3.10 3.12; failed: none; not found: 3.11x")
    for version in ("3.10", "3.12"):
        assert read_calls(project, version)[-1].endswith("-p no:cacheprovider -m not slow")


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (["3.10-mypy"], "passed: 3.12; failed: 3.10 (mypy); not found: 3.11x"),
        (
            ["3.10-mypy", "3.10-pytest"],
            "passed: 3.12; failed: 3.10 (mypy, pytest); not found: 3.11x",
        ),
        (["3.10-pip"], "passed: 3.12; failed: 3.10 (install); not found: 3.11x"),
        (
            ["3.10-pytest", "3.12-pytest"],
            "passed: none; failed: 3.10 (pytest) 3.12 (pytest); not found: 3.11x",
        ),
    ],
)
def test_what_fails_stops_no_other_and_is_named_at_the_end(
    project: Path, fails: list[str], said: str
) -> None:
    for name in fails:
        (project / name).touch()
    assert run(project) == (1, said)


def test_the_locked_versions_are_installed_once_until_they_change(project: Path) -> None:
    run(project)
    run(project, "tests/fusion")
    calls = read_calls(project, "3.12")
    assert [call for call in calls if " pip " in call] == calls[:2]
    assert calls[-1].endswith(" tests/fusion")
    (project / "requirements.lock").write_text("numpy==2.2.6\n", encoding="utf-8")
    run(project)
    assert len([call for call in read_calls(project, "3.12") if " pip " in call]) == 4


def test_no_python_at_all_is_a_failure(project: Path) -> None:
    shutil.rmtree(project / "bin")
    assert run(project) == (1, "passed: none; failed: none; not found: 3.10 3.11x 3.12")
