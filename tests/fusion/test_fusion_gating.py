"""Gates, products, attention, sets and steps: each against its formula, and by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor

from mmx.fusion import Fusion, Widths
from mmx.fusion.attention import Attention
from mmx.fusion.deepset import Deepset
from mmx.fusion.film import Film
from mmx.fusion.gated import Gated
from mmx.fusion.hierarchical import Hierarchical
from mmx.fusion.multiplicative import Multiplicative
from mmx.fusion.weighted_sum import WeightedSum
from mmx.modalities import Features

Naive = Callable[[Any, Any], Tensor]
WIDTH = 3


def gated(fusion: Fusion, row: Any) -> Tensor:
    width = len(row.p[f"projections.{row.names[0]}.bias"])
    p = {name: torch.zeros(width) for name in row.names}
    for name, x in row.pooled.items():
        p[name] = row.affine(f"projections.{name}", x)
    blocks = []
    for name in row.names:
        block = p[name]
        if name in row.pooled and len(row.names) > 1:
            others = torch.cat([p[other] for other in row.names if other != name])
            block = block + torch.tanh(row.p[f"gates.{name}"]) * row.affine(f"mix.{name}", others)
        blocks.append(block)
    return torch.cat(blocks)


def film(fusion: Fusion, row: Any) -> Tensor:
    c = fusion.conditioned
    z = row.affine("projection", row.pooled[c]) if c in row.pooled else torch.zeros(fusion.width)
    for name in sorted(row.pooled):
        if name != c:
            gamma = 1 + row.affine(f"scales.{name}", row.pooled[name])
            z = gamma * z + row.affine(f"shifts.{name}", row.pooled[name])
    return z


def full_fold(row: Any, name: str, z1: Tensor, z2: Tensor) -> Tensor:
    left, right, core, u, v, b = (
        row.p[f"folds.{name}.{part}"]
        for part in ("left.weight", "right.weight", "core.weight", "u.weight", "v.weight", "v.bias")
    )
    factor = len(left)
    units = []
    for k in range(len(z1)):
        unit = b[k]
        for i in range(len(z1)):
            unit = unit + u[k, i] * z1[i] + v[k, i] * z2[i]
            for j in range(len(z2)):
                w = sum(
                    left[r, i] * core[k, r * factor + s] * right[s, j]
                    for r in range(factor)
                    for s in range(factor)
                )
                unit = unit + z1[i] * w * z2[j]
        units.append(unit)
    return torch.stack(units)


def vector_fold(row: Any, name: str, z1: Tensor, z2: Tensor) -> Tensor:
    return row.affine(f"folds.{name}.w", z1) * z2 + row.affine(f"folds.{name}.u", z1)


def multiplicative(fusion: Fusion, row: Any) -> Tensor:
    fold = vector_fold if f"folds.{row.names[-1]}.w.weight" in row.p else full_fold
    z = None
    for name in row.names:
        if name in row.pooled:
            p = row.affine(f"projections.{name}", row.pooled[name])
            z = p if z is None else fold(row, name, z, p)
    assert z is not None
    return z


def weighed(row: Any, scores: dict[str, Tensor]) -> Tensor:
    total = sum((score.exp() for score in scores.values()), torch.tensor(0.0))
    parts = [
        scores[name].exp() / total * row.affine(f"projections.{name}", x)
        for name, x in row.pooled.items()
    ]
    return torch.stack(parts).sum(0)


def attention(fusion: Fusion, row: Any) -> Tensor:
    if len(row.names) == 1:
        return row.affine(f"projections.{row.names[0]}", row.pooled[row.names[0]])
    every = row.affine("scores", row.side_by_side())
    return weighed(row, {name: every[row.names.index(name)] for name in row.pooled})


def per_sample(fusion: Fusion, row: Any) -> Tensor:
    scores = {name: torch.tensor(0.0) for name in row.pooled}
    if len(row.names) > 1:
        for name, x in row.pooled.items():
            own = row.affine(f"projections.{name}", x)
            log_w = row.p["alpha.log_weights"][row.names.index(name)]
            scores[name] = log_w + (row.p[f"scores.{name}"] * own).sum()
    return weighed(row, scores)


def deepset(fusion: Fusion, row: Any) -> Tensor:
    embedded = [row.affine(f"embeddings.{n}", x).clamp(min=0) for n, x in row.pooled.items()]
    if fusion.pool == "max":
        pool = embedded[0]
        for each in embedded[1:]:
            pool = torch.where(each > pool, each, pool)
    else:
        pool = torch.stack(embedded).sum(0)
        if fusion.pool == "mean":
            pool = pool / len(embedded)
    return row.affine("layers.0", pool).clamp(min=0)


def gmu(fusion: Fusion, row: Any) -> Tensor:
    """Sigmoid gates alone."""
    total = torch.zeros(fusion.width)
    gates = row.affine("gates", row.side_by_side())
    for name, x in row.pooled.items():
        start = row.names.index(name) * fusion.width
        gate = 1 / (1 + (-gates[start : start + fusion.width]).exp())
        total = total + gate * torch.tanh(row.affine(f"hidden.{name}", x))
    return total


def in_steps(naive: Naive) -> Naive:
    """Return the naive hierarchy of a naive method."""

    def run(fusion: Fusion, row: Any) -> Tensor:
        fused: list[Tensor] = []
        for k, step in enumerate(fusion.steps, 1):
            widths: dict[str, int] = {}
            here: dict[str, Tensor] = {}
            for name in row.names:
                stages = row.widths[name].levels
                if k == 1:
                    widths[name] = row.widths[name].pooled
                    here.update({name: row.pooled[name]} if name in row.pooled else {})
                if fusion.staged[k - 1] and k <= len(stages):
                    widths[f"{name}@0{k}"] = stages[k - 1]
                    if name in row.pooled:
                        here[f"{name}@0{k}"] = row.levels[name][k - 1]
            for j, before in enumerate(fused, 1):
                widths[f"@fused0{j}"], here[f"@fused0{j}"] = len(before), before
            prefix = f"steps.{k - 1}."
            p = {n.removeprefix(prefix): x for n, x in row.p.items() if n.startswith(prefix)}
            inner = dataclasses.replace(
                row,
                names=sorted(widths),
                widths={name: Widths(width) for name, width in widths.items()},
                pooled={name: here[name] for name in sorted(here)},
                p=p,
            )
            fused.append(naive(step, inner))
        return fused[-1]

    return run


CASES: dict[str, tuple[type[Fusion], dict[str, Any], Naive]] = {
    "gated": (Gated, {}, gated),
    "film": (Film, {}, film),
    "multiplicative-full": (Multiplicative, {"factor": 2}, multiplicative),
    "multiplicative-vector": (Multiplicative, {"form": "vector"}, multiplicative),
    "attention": (Attention, {}, attention),
    "deepset-sum": (Deepset, {"pool": "sum"}, deepset),
    "deepset-mean": (Deepset, {"pool": "mean"}, deepset),
    "deepset-max": (Deepset, {"pool": "max"}, deepset),
    "weighted_sum-per_sample": (WeightedSum, {"alpha": "per_sample"}, per_sample),
}
FUSES: dict[str, tuple[dict[str, Any], Naive]] = {
    "gated": ({}, gated),
    "film": ({}, film),
    "multiplicative": ({"form": "vector"}, multiplicative),
    "attention": ({}, attention),
    "deepset": ({"pool": "max"}, deepset),
    "weighted_sum": ({"alpha": "per_sample"}, per_sample),
    "gmu": ({"gate": "sigmoid"}, gmu),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, formula: Callable[..., None]) -> None:
    method, options, naive = CASES[case]
    formula(method, {"width": WIDTH, **options}, naive)


@pytest.mark.parametrize("levels", [True, False])
@pytest.mark.parametrize("fuse", FUSES)
def test_steps_of_any_method(fuse: str, levels: bool, formula: Callable[..., None]) -> None:
    options, naive = FUSES[fuse]
    given = {"width": WIDTH, "levels": levels, "fuse": fuse, "fuse_options": options}
    formula(Hierarchical, given, in_steps(naive), examples=8)


def test_one_step_alone(formula: Callable[..., None]) -> None:
    options = {"width": WIDTH, "depth": 1, "fuse": "attention"}
    formula(Hierarchical, options, in_steps(attention), examples=8)


def test_any_conditioned_modality() -> None:
    """The harness varies the names, so ``conditioned`` is checked here."""
    torch.manual_seed(0)
    widths = {name: Widths(4) for name in "abc"}
    fusion = Film(widths, outputs=2, width=WIDTH, conditioned="b")
    x = {name: torch.randn(2, 4) for name in "abc"}
    z = fusion.projection(x["b"])
    for name in "ac":
        z = (1 + fusion.scales[name](x[name])) * z + fusion.shifts[name](x[name])
    torch.testing.assert_close(fusion(*batch(x)), z)


def batch(
    pooled: dict[str, Tensor], absent: tuple[str, ...] = ()
) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return features of the vectors, NaN where absent, and who is present."""
    rows = len(next(iter(pooled.values())))
    here = {name: torch.full((rows,), name not in absent) for name in pooled}
    pooled = {name: x * torch.nan if name in absent else x for name, x in pooled.items()}
    return {n: Features(x[:, None], here[n][:, None], x) for n, x in pooled.items()}, here


def filled(fusion: Fusion, **values: float) -> Fusion:
    """Fill every parameter by the part of its name that ``values`` has; others become zero."""
    for name, parameter in fusion.named_parameters():
        (value,) = [v for part, v in values.items() if part in name.split(".")] or [0.0]
        torch.nn.init.constant_(parameter, value)
    return fusion


def plain(linear: Any) -> None:
    """Make a linear layer hand its input on."""
    torch.nn.init.eye_(linear.weight)
    torch.nn.init.zeros_(linear.bias)


def ones(count: int) -> dict[str, Widths]:
    return {name: Widths(1) for name in "abcd"[:count]}


def column(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def test_gates_start_shut_and_then_open() -> None:
    torch.manual_seed(0)
    fusion = Gated({"a": Widths(4), "b": Widths(5)}, outputs=2, width=WIDTH)
    x = {"a": torch.randn(6, 4), "b": torch.randn(6, 5)}
    start = torch.cat([fusion.projections[name](x[name]) for name in "ab"], dim=1)
    torch.testing.assert_close(fusion(*batch(x)), start, rtol=0, atol=0)
    optimizer = torch.optim.SGD(fusion.parameters(), lr=0.1)
    shut = [name for name, _ in fusion.named_parameters() if name.startswith("mix.")]
    for step in range(2):
        optimizer.zero_grad()
        fusion(*batch(x)).square().sum().backward()
        zero = [name for name, p in fusion.named_parameters() if not p.grad.any()]
        assert zero == (shut if step == 0 else [])
        optimizer.step()
    assert Gated.shut_at_start == ("mix.*",)


def test_gated_by_hand() -> None:
    fusion = filled(Gated(ones(3), outputs=2, width=1), projections=1.0, gates=1.0, mix=2.0)
    x = {"a": column(0.0), "b": column(2.0), "c": column(4.0)}  # p: 1, 3, 5
    t = torch.tensor(1.0).tanh()
    expected = torch.stack([1 + t * 16, 3 + t * 12, 5 + t * 8])[None]
    torch.testing.assert_close(fusion(*batch(x)), expected)
    without_b = torch.stack([1 + t * 10, torch.tensor(0.0), 5 + t * 2])[None]
    torch.testing.assert_close(fusion(*batch(x, absent=("b",))), without_b)


def test_film_by_hand() -> None:
    fusion = Film(ones(3), outputs=2, width=1)
    filled(fusion, projection=1.0, scales=2.0, shifts=3.0)
    # z = x_a + 1; γ = 1 + 2 x + 2, β = 3 x + 3
    x = {"a": column(4.0), "b": column(1.0), "c": column(0.0)}
    assert fusion(*batch(x)).item() == 3 * (5 * 5 + 6) + 3
    assert fusion(*batch(x, absent=("b",))).item() == 3 * 5 + 3
    assert fusion(*batch(x, absent=("b", "c"))).item() == 5
    assert fusion(*batch(x, absent=("a",))).item() == 3 * 6 + 3
    assert fusion(*batch(x, absent=("a", "c"))).item() == 6


def test_gamma_starts_near_one() -> None:
    torch.manual_seed(0)
    fusion = Film({"a": Widths(256), "b": Widths(256)}, outputs=2)
    gamma = 1 + fusion.scales["b"](torch.randn(64, 256))
    assert abs(gamma.mean().item() - 1) < 0.02
    assert 0.05 < gamma.std().item() < 0.15


def test_film_needs_a_modality_to_condition() -> None:
    with pytest.raises(ValueError, match="conditioned") as error:
        Film({"image": Widths(1), "audio": Widths(1)}, outputs=2, conditioned="imge")
    check_error(error.value, "`conditioned` (=imge)", "audio, image")


@pytest.mark.parametrize("form", ["full", "vector"])
def test_folds_by_hand(form: Any) -> None:
    fusion = Multiplicative(ones(3), outputs=2, width=1, form=form)
    if form == "full":
        fusion = Multiplicative(ones(3), outputs=2, width=1, factor=1)
    filled(fusion, left=2.0, right=3.0, core=5.0, u=7.0, v=11.0, w=2.0)
    for projection in fusion.projections.values():
        plain(projection)

    def fold(z1: float, z2: float) -> float:
        if form == "full":
            return 30 * z1 * z2 + 7 * z1 + 11 * z2 + 11
        return (2 * z1 + 2) * z2 + 7 * z1 + 7

    x = {"a": column(1.0), "b": column(2.0), "c": column(3.0)}
    assert fusion(*batch(x)).item() == fold(fold(1, 2), 3)
    assert fusion(*batch(x, absent=("c",))).item() == fold(1, 2)
    assert fusion(*batch(x, absent=("b",))).item() == fold(1, 3)
    assert fusion(*batch(x, absent=("a",))).item() == fold(2, 3)
    assert fusion(*batch(x, absent=("a", "b"))).item() == 3


@pytest.mark.parametrize("form", ["full", "vector"])
def test_folding_three_keeps_rows_apart(form: Any) -> None:
    torch.manual_seed(0)
    fusion = Multiplicative({name: Widths(5) for name in "abc"}, outputs=2, form=form)
    x = {name: torch.randn(5, 5) for name in "abc"}
    together = fusion(*batch(x))
    for i in range(5):
        alone = fusion(*batch({name: each[i : i + 1] for name, each in x.items()}))
        torch.testing.assert_close(together[i : i + 1], alone)


def test_factor_keeps_the_product_small_and_is_read_by_the_full_form_only() -> None:
    widths = {name: Widths(256) for name in "abc"}
    numbers = [
        sum(p.numel() for p in Multiplicative(widths, outputs=2, **options).parameters())
        for options in ({}, {"factor": 16}, {"factor": 8})
    ]
    assert numbers[0] == numbers[1] == 3 * 257 * 128 + 2 * (2 * 16 * 128 + 256 * 128 + 257 * 128)
    assert numbers[2] < numbers[1]
    with pytest.raises(ValueError, match="factor") as error:
        Multiplicative(widths, outputs=2, form="vector", factor=8)
    check_error(error.value, "factor", "8", "form")


def test_attention_by_hand() -> None:
    fusion = filled(Attention(ones(2), outputs=2, width=1))
    for projection in fusion.projections.values():
        plain(projection)
    fusion.scores.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    x = {"a": column(torch.tensor(3.0).log().item()), "b": column(4.0)}
    expected = 0.75 * x["a"] + 0.25 * x["b"]  # e^{ln 3} against e^0
    torch.testing.assert_close(fusion(*batch(x)), expected)
    torch.testing.assert_close(fusion(*batch(x, absent=("a",))), x["b"])


def test_per_sample_starts_equal_and_weighs_each_row() -> None:
    fusion = WeightedSum(ones(2), outputs=2, width=1, alpha="per_sample")
    for projection in fusion.projections.values():
        plain(projection)
    ln3 = torch.tensor(3.0).log().item()
    x = {"a": column(ln3, 0.0), "b": column(0.0, ln3)}
    torch.testing.assert_close(fusion(*batch(x)), column(ln3 / 2, ln3 / 2))
    for score in fusion.scores.values():
        torch.nn.init.ones_(score)
    torch.testing.assert_close(fusion(*batch(x)), column(0.75 * ln3, 0.75 * ln3))
    torch.testing.assert_close(fusion(*batch(x, absent=("a",))), x["b"])
    with pytest.raises(ValueError, match="weights") as error:
        WeightedSum(ones(2), outputs=2, alpha="per_sample", weights={"a": 1.0, "b": 1.0})
    check_error(error.value, "weights", "1.0", "b", "alpha")


@pytest.mark.parametrize(
    ("pool", "everyone", "without_a"), [("sum", 12.0, 5.0), ("mean", 3.0, 5 / 3), ("max", 7.0, 4.0)]
)
def test_pools_by_hand(pool: Any, everyone: float, without_a: float) -> None:
    fusion = Deepset(ones(4), outputs=2, width=1, pool=pool)
    for linear in [*fusion.embeddings.values(), fusion.layers[0]]:
        plain(linear)
    x = {"a": column(7.0), "b": column(-2.0), "c": column(1.0), "d": column(4.0)}  # -2: relu is 0
    torch.testing.assert_close(fusion(*batch(x)), column(everyone))
    torch.testing.assert_close(fusion(*batch(x, absent=("a",))), column(without_a))


@pytest.mark.parametrize("pool", ["sum", "mean", "max"])
def test_a_set_has_no_order(pool: Any) -> None:
    torch.manual_seed(0)
    fusion = Deepset({name: Widths(4) for name in "abc"}, outputs=2, pool=pool)
    for name in "bc":
        fusion.embeddings[name].load_state_dict(fusion.embeddings["a"].state_dict())
    x, y, z = torch.randn(3, 5, 4)
    one, two = batch({"a": x, "b": y, "c": z}), batch({"a": z, "b": x, "c": y})
    torch.testing.assert_close(fusion(*one), fusion(*two))


VARIANTS: list[tuple[type[Fusion], dict[str, Any]]] = [
    (Film, {"conditioned": "b"}),
    (Multiplicative, {"form": "vector"}),
    (Deepset, {"pool": "sum"}),
    (Deepset, {"pool": "max"}),
    (WeightedSum, {"alpha": "per_sample"}),
    *((Hierarchical, {"fuse": fuse, "fuse_options": FUSES[fuse][0]}) for fuse in FUSES),
    (Hierarchical, {"fuse": "multiplicative", "levels": False}),
    (Hierarchical, {"fuse": "deepset", "depth": 1}),
]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("method", "options"), VARIANTS, ids=str)
def test_every_parameter_learns_with_every_option(
    method: type[Fusion], options: dict[str, Any], count: int
) -> None:
    torch.manual_seed(0)
    names = "bac"[:count]
    fusion = method({name: Widths(4, (2, 3)) for name in names}, outputs=2, **options)
    features = {
        name: Features(x[:, None], torch.ones(6, 1) > 0, x, (torch.randn(6, 2), torch.randn(6, 3)))
        for name, x in ((name, torch.randn(6, 4)) for name in names)
    }
    output = fusion(features, {name: torch.ones(6) > 0 for name in names})
    (output * torch.randn_like(output)).sum().backward()
    dead = [n for n, p in fusion.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in dead if ".mix." not in name] == []
