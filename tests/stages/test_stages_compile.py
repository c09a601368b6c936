"""What compile=reduce-overhead does with a module: graphs in training alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmx.stages.phases import training_setup


class Recorder:
    """Stands for torch.compile: counts the calls of what it has compiled."""

    def __init__(self) -> None:
        self.calls = 0
        self.options: dict[str, Any] = {}

    def __call__(self, plain: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
        self.options = options

        def compiled(*args: Any, **named: Any) -> Tensor:
            self.calls += 1
            return plain(*args, **named)

        return compiled


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(training_setup.torch, "compile", made)
    return made


def test_steps_are_replayed_and_evaluation_is_not(recorder: Recorder) -> None:
    module, x = nn.Linear(3, 2), torch.ones(4, 3)
    expected = module(x)
    training_setup._replay(module)
    assert recorder.options == {"mode": "reduce-overhead", "dynamic": True}
    assert torch.equal(module(x), expected)
    assert recorder.calls == 1
    with torch.no_grad():  # whose features of many batches one graph would write over each other
        assert torch.equal(module(x), expected)
    with torch.inference_mode():
        module(x)
    assert recorder.calls == 1


def test_a_copy_computes_with_its_own_weights(recorder: Recorder) -> None:
    module, x = nn.Linear(3, 2), torch.ones(4, 3)
    training_setup._replay(module)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.weight.zero_()
        other.bias.zero_()
    assert other(x).abs().sum() == 0
    assert recorder.calls == 0
