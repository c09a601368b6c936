"""A search that is killed with -9 between two trials, and resumed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmx.cli import main
from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint

pytestmark = pytest.mark.slow

KEYS = ("candidate", "epochs", "val", "score", "steps", "error")


def test_trials_that_had_ended_are_kept(
    tables: dict[str, Path], overrides: Callable[..., list[str]], tmp_path: Path, capsys: Any
) -> None:
    given = overrides(
        tables["one"],
        tables["two"],
        ("image",),
        "transfer=auto",
        "transfer.budget_steps=400",
        "trainer.epochs=20",
        "trainer.source_epochs=1",
        "trainer.threads=1",
        "trainer.checkpoint_seconds=0",
        "control=none",
        "device=cpu",
    )
    command = [sys.executable, "-m", "mmx", "train", *given, f"output_dir={tmp_path / 'killed'}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    trials: list[dict[str, Any]] = []
    while len(trials) < 3 and process.poll() is None:
        time.sleep(0.01)
        for path in tmp_path.glob("killed/runs/*/auto.json"):
            trials = json.loads(path.read_text())["trials"]
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()
    (path,) = (tmp_path / "killed" / "runs").iterdir()
    before = json.loads((path / "auto.json").read_text())
    assert before["winner"] is None
    assert main(["resume", str(path)]) == 0
    after = json.loads((path / "auto.json").read_text())
    count = len(before["trials"])
    assert after["trials"][:count] == before["trials"]  # seconds and all
    assert main(["train", *given, f"output_dir={tmp_path / 'whole'}"]) == 0
    (whole,) = (tmp_path / "whole" / "runs").iterdir()
    other = json.loads((whole / "auto.json").read_text())
    for key in ("plan", "order", "scores", "rungs", "winner"):
        assert after[key] == other[key]
    assert [[e[key] for key in KEYS] for e in after["trials"]] == [
        [e[key] for key in KEYS] for e in other["trials"]
    ]
    files = [RunDirectory(each).stage_file("target") for each in (path, whole)]
    one, two = (checkpoint.read_checkpoint(file)[0] for file in files)
    assert all(one[name].equal(two[name]) for name in one)
