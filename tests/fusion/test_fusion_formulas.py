"""Every method against its formula, written again for one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmx.fusion import Fusion, Widths
from mmx.fusion.concat import Concat
from mmx.fusion.gmu import Gmu
from mmx.fusion.hierarchical import Hierarchical
from mmx.fusion.late_weighted import LateWeighted
from mmx.fusion.weighted_sum import WeightedSum
from mmx.modalities import Features

Row = dict[str, Tensor]  # pooled vectors of the modalities that a row has
Levels = dict[str, tuple[Tensor, ...]]
Params = dict[str, Tensor]
Naive = Callable[[Fusion, Params, Row, Levels, dict[str, Widths]], Tensor]

WIDTH, OUTPUTS = 3, 2
FIXED = {"a": 0.5, "b": 2.0, "c": 1.0, "d": 3.0}


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def affine(p: Params, name: str, x: Tensor) -> Tensor:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def side_by_side(row: Row, widths: dict[str, Widths]) -> Tensor:
    parts = [row.get(name, torch.zeros(widths[name].pooled)) for name in sorted(widths)]
    return torch.cat(parts)


def shares(p: Params, row: Row, widths: dict[str, Widths], *, fixed: bool) -> dict[str, Tensor]:
    names = sorted(widths)
    if fixed:
        raw = {name: torch.tensor(FIXED[name]) for name in names}
    elif len(names) == 1:
        raw = {names[0]: torch.tensor(1.0)}
    else:
        raw = {name: p["alpha.log_weights"][k].exp() for k, name in enumerate(names)}
    total = sum((raw[name] for name in row), torch.tensor(0.0))
    return {name: raw[name] / total for name in row}


def concat(fusion: Fusion, p: Params, row: Row, levels: Levels, widths: Any) -> Tensor:
    x = side_by_side(row, widths)
    return affine(p, "layers.0", x).clamp(min=0) if p else x


def hierarchical(fusion: Fusion, p: Params, row: Row, levels: Levels, widths: Any) -> Tensor:
    steps: list[Tensor] = []
    for k in range(3):
        parts = list(steps) if steps else [side_by_side(row, widths)]
        for name in sorted(widths):
            if k < len(widths[name].levels) and levels:
                absent = torch.zeros(widths[name].levels[k])
                parts.append(levels[name][k] if name in row else absent)
        steps.append(affine(p, f"steps.{k}.0", torch.cat(parts)).clamp(min=0))
    return steps[-1]


def weighted_sum(fusion: Fusion, p: Params, row: Row, levels: Levels, widths: Any) -> Tensor:
    alpha = shares(p, row, widths, fixed=False)
    total = torch.zeros(WIDTH)
    for name, x in row.items():
        total = total + alpha[name] * affine(p, f"projections.{name}", x)
    return total


def gmu(fusion: Fusion, p: Params, row: Row, levels: Levels, widths: Any) -> Tensor:
    names = sorted(widths)
    total = torch.zeros(WIDTH)
    for unit in range(WIDTH):
        gates = {}
        for name in row:
            if "gates.weight" not in p:
                gates[name] = torch.tensor(1.0)
                continue
            index = names.index(name) * WIDTH + unit
            score = p["gates.weight"][index] @ side_by_side(row, widths) + p["gates.bias"][index]
            gates[name] = score.exp()
        softmax = fusion.gate == "softmax"
        both = sum(gates.values(), torch.tensor(0.0))
        for name, x in row.items():
            gate = gates[name] / both if softmax else gates[name] / (1 + gates[name])
            hidden = torch.tanh(affine(p, f"hidden.{name}", x)[unit])
            total = total + gate * hidden * torch.eye(WIDTH)[unit]
    return total


def late(fusion: Fusion, p: Params, row: Row, levels: Levels, widths: Any) -> Tensor:
    fixed = "alpha.log_weights" not in p and len(widths) > 1
    alpha = shares(p, row, widths, fixed=fixed)
    total = torch.zeros(OUTPUTS)
    for name, x in row.items():
        if f"heads.{name}.weight" in p:
            decision = affine(p, f"heads.{name}", x)
        else:
            decision = affine(p, f"heads.{name}.2", affine(p, f"heads.{name}.0", x).clamp(min=0))
        if fusion.combine == "probabilities":
            decision = decision.exp() / decision.exp().sum()
        total = total + alpha[name] * decision
    return total.log() if fusion.combine == "probabilities" else total


CASES: dict[str, tuple[type[Fusion], dict[str, Any], Naive]] = {
    "concat": (Concat, {}, concat),
    "concat-hidden": (Concat, {"hidden": WIDTH}, concat),
    "hierarchical": (Hierarchical, {"width": WIDTH}, hierarchical),
    "hierarchical-plain": (Hierarchical, {"width": WIDTH, "levels": False}, hierarchical),
    "weighted_sum": (WeightedSum, {"width": WIDTH}, weighted_sum),
    "gmu-softmax": (Gmu, {"width": WIDTH}, gmu),
    "gmu-sigmoid": (Gmu, {"width": WIDTH, "gate": "sigmoid"}, gmu),
    "late": (LateWeighted, {}, late),
    "late-hidden": (LateWeighted, {"hidden": 4}, late),
    "late-fixed": (LateWeighted, {"alpha": "fixed", "weights": FIXED}, late),
    "late-probabilities": (LateWeighted, {"combine": "probabilities"}, late),
}


@pytest.mark.parametrize("case", CASES)
@given(
    seed=st.integers(0, 2**31),
    pooled=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    stages=st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_values_and_gradients(case: str, seed: int, pooled: list[int], stages: list[int]) -> None:
    method, options, naive = CASES[case]
    torch.manual_seed(seed)
    names, rows = "abcd"[: len(pooled)], 3
    widths = {
        name: Widths(width, tuple(range(1, depth + 1)))
        for name, width, depth in zip(names, pooled, stages, strict=False)
    }
    if options.get("weights"):
        options = {**options, "weights": {name: FIXED[name] for name in names}}
    fusion = method(widths, outputs=OUTPUTS, **options)
    for parameter in fusion.parameters():  # learned weights start equal: make them differ
        parameter.data.normal_()

    present = torch.rand(rows, len(names)) < 0.6
    present[torch.arange(rows), torch.randint(len(names), (rows,))] = True
    xs = {name: torch.randn(rows, widths[name].pooled, requires_grad=True) for name in names}
    levels = {name: tuple(torch.randn(rows, w) for w in widths[name].levels) for name in names}
    features = {
        name: Features(x[:, None], torch.ones(rows, 1) > 0, x, levels[name])
        for name, x in xs.items()
    }
    output = fusion(features, {name: present[:, m] for m, name in enumerate(names)})

    def one(i: int) -> Tensor:
        row = {name: xs[name][i] for m, name in enumerate(names) if present[i, m]}
        stage = {name: tuple(level[i] for level in levels[name]) for name in names}
        return naive(fusion, p, row, stage if options.get("levels", True) else {}, widths)

    p = dict(fusion.named_parameters())
    expected = torch.stack([one(i) for i in range(rows)])
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)

    leaves = [*p.values(), *xs.values()]
    cotangent = torch.randn_like(output)
    got = torch.autograd.grad(output, leaves, cotangent, allow_unused=True, retain_graph=True)
    want = torch.autograd.grad(expected, leaves, cotangent, allow_unused=True)
    for leaf, ours, theirs in zip(leaves, got, want, strict=True):
        ours = torch.zeros_like(leaf) if ours is None else ours
        theirs = torch.zeros_like(leaf) if theirs is None else theirs
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)


def features_of(**pooled: Tensor) -> dict[str, Features]:
    return {k: Features(x[:, None], torch.ones(len(x), 1) > 0, x) for k, x in pooled.items()}


def test_fixed_weights_by_hand() -> None:
    widths = {"a": Widths(1), "b": Widths(1)}
    fusion = WeightedSum(widths, outputs=2, width=1, alpha="fixed", weights={"b": 3.0, "a": 1.0})
    for projection in fusion.projections.values():
        torch.nn.init.ones_(projection.weight)
        torch.nn.init.zeros_(projection.bias)
    x = features_of(a=torch.tensor([[4.0], [4.0]]), b=torch.tensor([[8.0], [float("nan")]]))
    present = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    # 1/4 · 4 + 3/4 · 8 = 7; without b, all the weight is a's
    torch.testing.assert_close(fusion(x, present), torch.tensor([[7.0], [4.0]]))
    assert "alpha.log_weights" not in fusion.state_dict()


@pytest.mark.parametrize("method", [WeightedSum, LateWeighted])
def test_weights_must_be_read_and_complete(method: Any) -> None:
    widths = {"audio": Widths(1), "image": Widths(1)}
    with pytest.raises(ValueError, match="`weights`") as error:
        method(widths, outputs=2, weights={"image": 1.0})
    assert str(error.value) == ("`weights` (={'image': 1.0}) are read only where `alpha` is fixed")
    with pytest.raises(ValueError, match="`weights`") as error:
        method(widths, outputs=2, alpha="fixed", weights={"image": 1.0})
    assert str(error.value) == "`weights` are for image; the modalities are audio, image"


def test_label_tensors_of_deep_heads() -> None:
    fusion = LateWeighted({"a": Widths(3)}, outputs=2, hidden=5)
    assert fusion.label_tensors == ("heads.a.2.weight", "heads.a.2.bias")
    assert {len(fusion.state_dict()[name]) for name in fusion.label_tensors} == {2}


def test_mean_probability_never_underflows() -> None:
    fusion = LateWeighted({"a": Widths(1), "b": Widths(1)}, outputs=2, combine="probabilities")
    for head in fusion.heads.values():
        head.weight.data = torch.tensor([[1.0], [-1.0]])
        torch.nn.init.zeros_(head.bias)
    x = features_of(a=torch.tensor([[500.0]]), b=torch.tensor([[500.0]]))
    output = fusion(x, {"a": torch.tensor([True]), "b": torch.tensor([True])})
    torch.testing.assert_close(output, torch.tensor([[0.0, -1000.0]]))
