"""What asks nothing of torch and Hydra does not import them."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from mmx.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "hydra", "omegaconf", "pydantic", "numpy", "argparse", "rich"}
print("\\nimported:", *sorted(heavy & set(sys.modules)))
raise SystemExit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "imported"),
    [
        (["--help"], ""),
        (["--version"], ""),
        (["tarin"], ""),
        (["train", "--help"], ""),
        (["list", "."], "argparse pydantic"),
        (["completion", "bash"], ""),
        (["--complete", "mmx tr"], ""),
        (["--complete", "mmx train --c"], ""),
    ],
)
def test_imports(tmp_path, words, imported):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == (2 if words == ["tarin"] else 0)
    assert done.stdout.splitlines()[-1].strip() == f"imported: {imported}".strip()


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error(tmp_path):
    command = f"{sys.executable} -m mmx train --help | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.slow
def test_an_error_is_on_stderr_alone_with_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "mmx", "train", "seed=1.5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "mmx: 1 problem in the config\n"
        "seed=1.5: expected an integer ≥ 0 and ≤ 9223372036854775807\n  type:     seed=0\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_at_the_end_of_a_verb_nothing_is_collected_once_more():
    # Handlers at exit run from the last to the first.
    script = (
        "import atexit, gc, sys; from mmx.cli import main; "
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000)); "
        "sys.argv[1:] = ['--version']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["True"]
    called = script.replace("main()", "main(['--version'])")
    done = subprocess.run([sys.executable, "-c", called], capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["False"]
