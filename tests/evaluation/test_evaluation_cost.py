"""What a model costs: operations counted by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.backends import cudnn, mha, mkldnn

from mmx.encoders import Encoder
from mmx.encoders.bilstm import BiLstm
from mmx.evaluation import cost as module
from mmx.evaluation.cost import measure_cost
from mmx.fusion.concat import Concat
from mmx.fusion.transformer import Transformer
from mmx.modalities import Batch, Features, Spec
from mmx.model import MultimodalModel
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)
CLASSES, STEPS = 3, 5


class Given(Encoder):
    """An encoder made of a given layer from ``(B, ...)`` to ``(B, D)`` or ``(B, T, D)``."""

    def __init__(self, spec: Spec, *, layer: Callable[[], nn.Module], width: int) -> None:
        super().__init__()
        self.layer, self.width = layer(), width
        self.modes: list[bool] = []

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        self.modes.append(self.training)
        z = self.layer(x)
        tokens = z if z.dim() == 3 else z[:, None]
        return Features(tokens, torch.ones(tokens.shape[:2]) > 0, tokens.mean(1))


class Lstm(BiLstm):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x, torch.ones(x.shape[:2]) > 0)


class Memory:
    """Rows of one modality, or features of it that are kept."""

    device = CPU

    def __init__(self, *shape: int, kept: int | None = None) -> None:
        self.shape, self.kept = shape, kept
        self.asked: list[int] = []

    def batches(self, batches: Any) -> Iterator[tuple[Any, Any]]:
        for rows in batches:
            self.asked.append(len(rows))
            yield rows, {}

    def assemble(self, rows: Any, stored: Any, *, augment: bool) -> Batch:
        assert not augment
        count = len(rows)
        present = {"a": torch.ones(count) > 0}
        target = torch.zeros(count, dtype=torch.int64)
        if self.kept is None:
            inputs = {"a": torch.randn(count, *self.shape)}
            return Batch(inputs, {}, present, target, complete=frozenset("a"))
        x = torch.randn(count, self.kept)
        features = {"a": Features(x[:, None], torch.ones(count, 1) > 0, x)}
        return Batch({}, {}, present, target, features)


def flops(
    layer: Callable[[], nn.Module],
    width: int,
    data: Memory,
    fusion: Any = Concat,
    rows: int = 10,
    precision: Precision = FP32,
) -> int:
    encoders = {"a": partial(Given, layer=layer, width=width)}
    model = MultimodalModel({"a": Spec()}, encoders, fusion, CLASSES)
    found = measure_cost(model, data, np.arange(rows), precision)
    assert list(found) == ["flops_per_sample", "seconds_per_sample"]
    assert found["seconds_per_sample"] > 0
    return found["flops_per_sample"]


HEAD = 2 * 8 * CLASSES  # a multiplication and an addition for each weight


@pytest.mark.parametrize("rows", [1, 10, 300])
def test_a_linear_model(rows: int) -> None:
    found = flops(lambda: nn.Linear(6, 8), 8, Memory(6), rows=rows)
    assert found == 2 * 6 * 8 + HEAD


def test_convolutions() -> None:
    def layer() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),  # 10 × 8 places
            nn.ReLU(),
            nn.Conv2d(4, 8, 3, stride=2),  # 4 × 3 places
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    found = flops(layer, 8, Memory(3, 10, 8))
    assert found == 2 * 4 * (3 * 9) * 80 + 2 * 8 * (4 * 9) * 12 + HEAD


def test_recurrent_layers() -> None:
    found = flops(lambda: Lstm(6, width=8, layers=1, dropout=0.0), 8, Memory(STEPS, 6))
    one_direction = 2 * STEPS * 4 * 4 * (6 + 4)  # four gates of 4 units, from input and state
    assert found == 2 * one_direction + HEAD


def test_recurrent_layers_beside_convolutions() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(6, 6, 3, padding=1)
            self.lstm = Lstm(6, width=8, layers=1, dropout=0.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(self.conv(x.transpose(1, 2)).transpose(1, 2))

    recurrent = flops(lambda: Lstm(6, width=8, layers=1, dropout=0.0), 8, Memory(STEPS, 6))
    assert flops(Both, 8, Memory(STEPS, 6)) == 2 * 6 * (3 * 6) * STEPS + recurrent


def test_attention_of_a_fusion() -> None:
    fusion = partial(Transformer, width=8, layers=1, heads=2)
    found = flops(lambda: nn.Linear(6, 5), 5, Memory(6), fusion)
    tokens = 2  # CLS and one of the modality; CLS alone asks
    projections = 2 * 8 * 8 * (1 + 2 * tokens + 1)  # query, keys and values, output
    attention = 2 * 2 * tokens * 8  # query times keys, weights times values
    feed_forward = 2 * 2 * 8 * 16
    block = projections + attention + feed_forward
    assert found == 2 * 6 * 5 + 2 * 5 * 8 + block + HEAD


def test_attention_that_torch_would_run_as_one_kernel() -> None:
    def layer() -> nn.Module:
        return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    found = flops(layer, 8, Memory(STEPS, 8))
    projections, attention = 4 * 2 * 8 * 8 * STEPS, 2 * 2 * STEPS * STEPS * 8
    assert found == projections + attention + 2 * 2 * 8 * 16 * STEPS + HEAD


def test_half_precision_is_as_many_operations() -> None:
    def layer() -> nn.Module:
        return Lstm(6, width=8, layers=1, dropout=0.0)

    half = Precision("bf16", CPU)
    assert flops(layer, 8, Memory(STEPS, 6), precision=half) == flops(layer, 8, Memory(STEPS, 6))


def test_features_that_are_kept_cost_nothing() -> None:
    assert flops(lambda: nn.Linear(6, 8), 8, Memory(kept=8)) == HEAD


def test_one_batch_in_evaluation_mode_without_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = Memory(6)
    encoders = {"a": partial(Given, layer=lambda: nn.Linear(6, 8), width=8)}
    model = MultimodalModel({"a": Spec()}, encoders, Concat, CLASSES).train()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    monkeypatch.setattr(module, "ENOUGH_SECONDS", math.inf)
    measure_cost(model, data, np.arange(1000), FP32)
    assert data.asked == [module.COUNTED_ROWS, BATCH_SIZE]
    assert model.encoders["a"].modes == [False] * 4  # one is counted, three are timed
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.parametrize(
    ("lasting", "best"),
    [
        ([0.016, 0.012, 0.018], 0.012),
        ([0.03, 0.024, 9.0], 0.024),
        ([5.0, 2.0, 9.0], 5.0),
    ],
)
def test_seconds_are_those_of_the_best_pass(
    lasting: list[float], best: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(
        [at for number, each in enumerate(lasting) for at in (number * 10, number * 10 + each)]
    )
    monkeypatch.setattr(module, "_now", lambda device: next(times))
    encoders = {"a": partial(Given, layer=lambda: nn.Linear(6, 8), width=8)}
    model = MultimodalModel({"a": Spec()}, encoders, Concat, CLASSES)
    found = measure_cost(model, Memory(6), np.arange(8), FP32)["seconds_per_sample"]
    assert found == pytest.approx(best / 8)


def kernels() -> tuple[bool, bool, bool, bool]:
    math = torch.backends.cuda.flash_sdp_enabled()
    return cudnn.enabled, mkldnn.enabled, mha.get_fastpath_enabled(), math


def test_kernels_are_as_before_whatever_happens() -> None:
    before = kernels()
    assert all(before)
    flops(lambda: nn.Linear(6, 8), 8, Memory(6))
    assert kernels() == before

    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert kernels() == (False, True, False, False)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        flops(Broken, 8, Memory(6))
    assert kernels() == before


def test_a_model_of_four_modalities(shop) -> None:
    here = shop()
    found = measure_cost(here.model, here.data, here.rows, here.precision)
    single = sum(
        measure_cost(one.model, one.data, one.rows, one.precision)["flops_per_sample"]
        for one in (shop(names=(name,)) for name in here.names)
    )
    # Absent rows are not encoded; the parts are summed, and each is rounded.
    assert found["flops_per_sample"] == pytest.approx(single, abs=4)
    assert found["flops_per_sample"] > 10_000
