"""Runs in several processes, as tests start and compare them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mmx.runs.directory import RunDirectory

MMX = [sys.executable, "-m", "mmx"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TORCHRUN += ["-m", "mmx"]
LINE = [
    "experiment=moving_profiles",
    "source=none",
    "control=none",
    "target.classes=null",
    "target.per_class=25",  # 200 rows: the last batch of an epoch is uneven
    "trainer.batch_size=29",
    "trainer.accumulate=2",
    "trainer.epochs=4",
    "balance=weights",  # the loss of a batch depends on the labels of the whole step
    "precision=fp32",
    "encoder.sequence.dropout=0",
]


def start(folder: Path, command: list[str], *words: str) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MMX_CACHE_DIR": str(folder / "cache")}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *words],
        cwd=folder,
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,  # a group of its own, to which a terminal would send Ctrl-C
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Return what a process has said on stderr."""
    try:
        _, said = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == code, said
    return said


def find_run(folder: Path) -> RunDirectory:
    (found,) = (folder / "outputs/runs").iterdir()
    return RunDirectory(found)


def train(folder: Path, *words: str, command: list[str] = MMX) -> RunDirectory:
    """Return the run of :data:`LINE` with more overrides."""
    finish(start(folder, command, "train", *LINE, *words))
    return find_run(folder)


def curves(run: RunDirectory) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.metrics()]


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return load_file(run.path / "checkpoints/target/best.safetensors")


def answers(run: RunDirectory) -> dict[str, Any]:
    return {k: v for k, v in run.summary().items() if k not in ("run", "timing", "faster")}


def require_same(one: RunDirectory, other: RunDirectory) -> None:
    assert curves(one) == curves(other)
    assert answers(one) == answers(other)
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
