"""Counted operations: by hand, and as many as torch's own counter finds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmx.evaluation.operation_counter import OperationCounter

Pass = Callable[[], object]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def attend() -> object:
    query = draw(2, 4, 5, 8)
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(query, draw(2, 4, 7, 8), draw(2, 4, 7, 8))


def attend_in_one_kernel() -> object:
    """A fused operator for which torch has a formula, and mmx none."""
    query = torch.empty(2, 4, 5, 8, device="meta")
    run = torch.ops.aten._scaled_dot_product_efficient_attention
    return run(query, query, query, None, False)


PASSES: dict[str, Pass] = {
    "product": lambda: draw(2, 3) @ draw(3, 4),
    "vector": lambda: draw(3, 4) @ draw(4),
    "batched": lambda: draw(6, 2, 3) @ draw(6, 3, 4),
    "broadcast": lambda: draw(5, 1, 2, 3) @ draw(7, 3, 4),
    "einsum": lambda: torch.einsum("bij,bjk,k->bi", draw(2, 3, 4), draw(2, 4, 5), draw(5)),
    "baddbmm": lambda: torch.baddbmm(draw(6, 2, 4), draw(6, 2, 3), draw(6, 3, 4)),
    "linear": lambda: nn.Linear(6, 8)(draw(3, 5, 6)),
    "bilinear": lambda: nn.Bilinear(3, 4, 5)(draw(2, 3), draw(2, 4)),
    "conv1d": lambda: nn.Conv1d(4, 6, 3, stride=2, dilation=2)(draw(2, 4, 20)),
    "conv2d": lambda: nn.Conv2d(4, 6, (3, 2), padding=1, groups=2)(draw(2, 4, 9, 7)),
    "conv3d": lambda: nn.Conv3d(2, 3, 2, bias=False)(draw(2, 2, 4, 5, 6)),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2)(draw(2, 4, 5, 6)),
    "transposed in groups": lambda: nn.ConvTranspose1d(4, 6, 3, groups=2)(draw(2, 4, 5)),
    "gru": lambda: nn.GRU(4, 6, num_layers=2)(draw(5, 2, 4)),
    "attention": lambda: nn.MultiheadAttention(8, 2)(draw(5, 2, 8), draw(7, 2, 8), draw(7, 2, 8)),
    "attention in steps": attend,
    "attention in one kernel": attend_in_one_kernel,
    "transformer": lambda: nn.TransformerEncoderLayer(8, 2, 16)(draw(5, 2, 8)),
    "nothing to count": lambda: nn.BatchNorm1d(4)(draw(3, 4)).relu().softmax(1).cumsum(0),
}

UNCOUNTED = ("vector", "bilinear", "nothing to count")
"""Passes of operators for which torch has no formula either."""


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("gradients", [False, True])
def test_as_many_as_torch_counts(name: str, gradients: bool) -> None:
    with torch.set_grad_enabled(gradients):
        with FlopCounterMode(display=False) as theirs:
            PASSES[name]()
        with OperationCounter() as ours:
            PASSES[name]()
    assert ours.total == theirs.get_total_flops()
    assert (ours.total > 0) == (name not in UNCOUNTED)


def test_by_hand() -> None:
    with OperationCounter() as counter:
        nn.Conv2d(3, 4, 3, padding=1)(draw(2, 3, 10, 8))
        assert counter.total == 2 * 2 * 80 * 4 * 27
        nn.Linear(6, 8)(draw(5, 6))
    assert counter.total == 2 * 2 * 80 * 4 * 27 + 2 * 5 * 6 * 8


def test_results_stay_as_they_are() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16).eval()
    alone = layer(draw(5, 2, 8))
    with OperationCounter():
        counted = layer(draw(5, 2, 8))
    assert torch.equal(counted, alone)
    assert counted.requires_grad


@pytest.mark.slow
def test_the_compiler_stays_out() -> None:
    code = (
        "import sys, torch\n"
        "from mmx.evaluation.operation_counter import OperationCounter\n"
        "with OperationCounter():\n"
        "    torch.nn.TransformerEncoderLayer(8, 2, 16)(torch.randn(5, 2, 8))\n"
        "    torch.nn.Conv2d(3, 4, 3)(torch.randint(9, (2, 3, 9, 9)).float())\n"
        "print([each for each in ('torch._dynamo', 'sympy', 'triton') if each in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
