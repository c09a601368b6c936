"""Command lines at random: only errors of mmx's own, exit code 2, and no hang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_overrides.py"


@pytest.mark.slow
def test_lines_at_random(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "40", "--seed", "7"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
