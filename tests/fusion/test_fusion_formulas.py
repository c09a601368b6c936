"""Every method against its formula, written again for one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor

from mmx.fusion import Fusion, Widths
from mmx.fusion.concat import Concat
from mmx.fusion.gmu import Gmu
from mmx.fusion.hierarchical import Hierarchical
from mmx.fusion.late_weighted import LateWeighted
from mmx.fusion.weighted_sum import WeightedSum
from mmx.modalities import Features

Naive = Callable[[Any, Any], Tensor]

WIDTH, OUTPUTS = 3, 2
FIXED = {"a": 0.5, "b": 2.0, "c": 1.0, "d": 3.0}


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def shares(row: Any, *, fixed: bool) -> dict[str, Tensor]:
    if fixed:
        raw = {name: torch.tensor(FIXED[name]) for name in row.names}
    elif len(row.names) == 1:
        raw = {row.names[0]: torch.tensor(1.0)}
    else:
        raw = {name: row.p["alpha.log_weights"][k].exp() for k, name in enumerate(row.names)}
    total = sum((raw[name] for name in row.pooled), torch.tensor(0.0))
    return {name: raw[name] / total for name in row.pooled}


def concat(fusion: Fusion, row: Any) -> Tensor:
    x = row.side_by_side()
    return row.affine("layers.0", x).clamp(min=0) if row.p else x


def hierarchical(fusion: Fusion, row: Any) -> Tensor:
    steps: list[Tensor] = []
    for k in range(3):
        parts = list(steps) if steps else [row.side_by_side()]
        for name in row.names if fusion.staged[k] else []:
            if k < len(row.widths[name].levels):
                absent = torch.zeros(row.widths[name].levels[k])
                parts.append(row.levels[name][k] if name in row.pooled else absent)
        steps.append(row.affine(f"steps.{k}.0", torch.cat(parts)).clamp(min=0))
    return steps[-1]


def weighted_sum(fusion: Fusion, row: Any) -> Tensor:
    alpha = shares(row, fixed=False)
    total = torch.zeros(WIDTH)
    for name, x in row.pooled.items():
        total = total + alpha[name] * row.affine(f"projections.{name}", x)
    return total


def gmu(fusion: Fusion, row: Any) -> Tensor:
    total = torch.zeros(WIDTH)
    for unit in range(WIDTH):
        gates = {}
        for name in row.pooled:
            if "gates.weight" not in row.p:
                gates[name] = torch.tensor(1.0)
                continue
            index = row.names.index(name) * WIDTH + unit
            gates[name] = row.affine("gates", row.side_by_side())[index].exp()
        softmax = fusion.gate == "softmax"
        both = sum(gates.values(), torch.tensor(0.0))
        for name, x in row.pooled.items():
            gate = gates[name] / both if softmax else gates[name] / (1 + gates[name])
            hidden = torch.tanh(row.affine(f"hidden.{name}", x)[unit])
            total = total + gate * hidden * torch.eye(WIDTH)[unit]
    return total


def late(fusion: Fusion, row: Any) -> Tensor:
    fixed = "alpha.log_weights" not in row.p and len(row.names) > 1
    alpha = shares(row, fixed=fixed)
    total = torch.zeros(OUTPUTS)
    for name, x in row.pooled.items():
        if f"heads.{name}.weight" in row.p:
            decision = row.affine(f"heads.{name}", x)
        else:
            decision = row.affine(f"heads.{name}.2", row.affine(f"heads.{name}.0", x).clamp(min=0))
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
def test_values_and_gradients(case: str, formula: Callable[..., None]) -> None:
    method, options, naive = CASES[case]
    formula(method, options, naive)


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
    check_error(error.value, "weights", "1.0", "alpha", "image")
    with pytest.raises(ValueError, match="`weights`") as error:
        method(widths, outputs=2, alpha="fixed", weights={"image": 1.0})
    check_error(error.value, "weights", "image", "audio")


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
