"""One run on two GPUs: the same bits again, and the numbers of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ranked_runs import TORCHRUN, curves, require_same, train, weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices"),
]


def test_two_gpus_train_as_one_does_and_the_same_again(tmp_path: Path) -> None:
    one = train(tmp_path / "one", "device=cuda", "processes=1")
    two = train(tmp_path / "two", "device=cuda", "processes=2")
    for ours, theirs in zip(curves(one), curves(two), strict=True):
        assert ours["value"] == pytest.approx(theirs["value"], abs=1e-4)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, atol=1e-4, rtol=0)
    require_same(train(tmp_path / "again", "device=cuda", "processes=2"), two)
    require_same(train(tmp_path / "torchrun", "device=cuda", command=TORCHRUN), two)
