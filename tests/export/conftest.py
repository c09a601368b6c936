"""Exported folders, and the loader beside a model in a process that cannot import mmx."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mmx.cli import main

Rows = Sequence[dict[str, Any]]
Answers = list[Any]


def export(run: Path, name: str, folder: Path, *words: str) -> Path:
    code = main(["export", str(run), "--format", name, "--out", str(folder), *words])
    assert code == 0
    return folder


def run_loader(folder: Path, rows: Rows, tmp: Path, *, alone: bool = True) -> Answers:
    """Return the answers of ``run_model.py``; alone: in a process where importing mmx fails."""
    blocked = tmp / "blocked"
    blocked.mkdir(exist_ok=True)
    if alone:
        (blocked / "mmx.py").write_text("raise ImportError('mmx is blocked')\n")
    asked = tmp / "rows.json"
    asked.write_text(json.dumps(rows), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(folder / "run_model.py"), str(asked)],
        env={**os.environ, "PYTHONPATH": str(blocked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def predict(run: Path, data: Path, output: Path) -> list[dict[str, str]]:
    """Return the rows that ``mmx predict`` writes."""
    assert main(["predict", str(run), str(data), "--output", str(output)]) == 0
    with output.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def exporting() -> Callable[..., Path]:
    """Return ``export(run, format, folder, *words)``."""
    return export


@pytest.fixture
def loading(tmp_path: Path) -> Callable[[Path, Rows], Answers]:
    """Return ``run(folder, rows)``: what ``run_model.py`` answers without mmx."""
    return lambda folder, rows: run_loader(folder, rows, tmp_path)


@pytest.fixture
def loading_with_mmx(tmp_path: Path) -> Callable[[Path, Rows], Answers]:
    """Return ``run(folder, rows)``: what ``run_model.py`` answers by mmx."""
    return lambda folder, rows: run_loader(folder, rows, tmp_path, alone=False)


@pytest.fixture
def predicting(tmp_path: Path) -> Callable[[Path, Path], list[dict[str, str]]]:
    """Return ``predict(run, data)``: the rows of ``mmx predict``."""
    return lambda run, data: predict(run, data, tmp_path / "predicted.csv")
