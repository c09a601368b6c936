"""What is imported when a command line is checked, and when a sweep forks its workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("pandas", "pyarrow", "scipy", "sklearn", "timm", "torchvision", "transformers")
CHECKED = f"""
import sys
import mmx.verbs.train
print("torch" in sys.modules)
import mmx.verbs.train_checked
print("torch" in sys.modules, [name for name in {SLOW} if name in sys.modules])
"""
FORKED = """
import sys
import mmx.verbs.train_sweep
from mmx.verbs.train_workers import _import_for_all
_import_for_all()
before = set(sys.modules)
from mmx.cli import main
words = ["source=none", "target=digits_av", "trainer.epochs=1", "cache=off", "device=cpu"]
code = main(["train", *words])
more = {name.partition(".")[0] for name in set(sys.modules) - before}
print("after", code, sorted(more & {*%r, "torchaudio", "PIL", "jinja2"}))
"""


def run(code: str, folder: Path) -> list[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        cwd=folder,
        env=environment,
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_line_is_checked_without_what_a_run_imports_later(tmp_path: Path) -> None:
    assert run(CHECKED, tmp_path) == ["False", "True []"]


@pytest.mark.slow
def test_a_forked_worker_imports_no_other_library(tmp_path: Path) -> None:
    said = run(FORKED % (SLOW,), tmp_path)
    assert said[-1] == "after 0 []", said
