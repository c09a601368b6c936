"""scripts/cache_sweep.py: what it takes for the same run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mmx.training import checkpoint

SCRIPT = Path(__file__).parents[2] / "scripts" / "cache_sweep.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cache_sweep", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, *, weight: float = 0.5, accuracy: float = 0.25, seconds: float = 1.0) -> Path:
    """Write what of a finished run is compared."""
    summary: dict[str, Any] = {
        "source": {"metrics": {"val": {"accuracy": 0.5}}},
        "target": {"metrics": {"test": {"accuracy": accuracy, "loss": float("nan")}}},
        "timing": {"target_s": seconds},
    }
    tensors = {"w": torch.tensor([weight, 1.0]), "steps": torch.tensor(3)}
    checkpoint.write_checkpoint(
        folder / "checkpoints/target/best.safetensors", tensors, {"s": seconds}
    )
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_seconds_make_no_difference_and_every_bit_does(script: ModuleType, tmp_path: Path) -> None:
    one = run(tmp_path / "one")
    later = run(tmp_path / "later", seconds=9.0)
    # Three numbers and two tensors; NaN is as it was.
    assert script.compared({"seed=1": one}, {"seed=1": later}) == (5, [])
    nearby = float(torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)))
    other = run(tmp_path / "other", weight=nearby, accuracy=0.75)
    count, found = script.compared({"seed=1": one}, {"seed=1": other})
    assert count == 5
    assert found[0] == "seed=1: target.metrics.test.accuracy: 0.25 with a cache, 0.75 without"
    assert found[1].startswith("seed=1: checkpoints/target/best.safetensors w: ")
    assert len(found) == 2


def test_runs_are_matched_by_their_job(script: ModuleType, tmp_path: Path) -> None:
    one, two = run(tmp_path / "one"), run(tmp_path / "two", accuracy=0.5)
    both = {"seed=1": one, "seed=2": two}
    assert script.compared(both, {"seed=2": two, "seed=1": one}) == (10, [])
    assert script.compared(both, {"seed=1": one}) == (5, ["seed=2: only with a cache"])
    assert script.compared({}, {"seed=1": one}) == (0, ["seed=1: only without a cache"])


def test_equal_bits_of_another_type_or_shape_differ(script: ModuleType) -> None:
    zeros = torch.zeros(4)
    same = [zeros, zeros.reshape(2, 2), zeros.int(), torch.tensor(0.0), -zeros]
    assert len({script.digest(each) for each in same}) == 5
    assert script.digest(torch.ones(3, 2).T) == script.digest(torch.ones(2, 3))
