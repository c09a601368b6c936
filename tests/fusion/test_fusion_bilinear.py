"""Methods that multiply modalities: tensor, low_rank, mutan, block, mfb, mcb."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor

from mmx.fusion import Fusion, Widths
from mmx.fusion.block import Block
from mmx.fusion.low_rank import LowRank
from mmx.fusion.mcb import CountSketch, Mcb, convolve
from mmx.fusion.mfb import Mfb
from mmx.fusion.mutan import Mutan
from mmx.fusion.normalisation import normalise_power
from mmx.fusion.tensor import Tensor as TensorFusion
from mmx.modalities import Features

Naive = Callable[[Any, Any], Tensor]

EPSILON = 1e-6


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def normalised(values: list[Tensor]) -> Tensor:
    roots = []
    for value in values:
        root = (value.abs() + EPSILON) ** 0.5 - EPSILON**0.5
        roots.append(root if value > 0 else -root)
    length = (sum(root**2 for root in roots) + EPSILON) ** 0.5
    return torch.stack([root / length for root in roots])


def multiplied(factors: list[Tensor]) -> Tensor:
    result = torch.tensor(1.0)
    for factor in factors:
        result = result * factor
    return result


def tensor(fusion: Any, row: Any) -> Tensor:
    columns = []
    for name in row.names:
        size = len(row.p[f"projections.{name}.weight"])
        here = name in row.pooled
        units = row.affine(f"projections.{name}", row.pooled[name]) if here else torch.zeros(size)
        columns.append([torch.tensor(1.0), *units])
    entries = torch.stack([multiplied(list(combination)) for combination in product(*columns)])
    return row.affine("linear", entries).clamp(min=0)


def low_rank(fusion: Any, row: Any) -> Tensor:
    width, ranks = len(row.p["bias"]), len(row.p["weights"])
    total = row.p["bias"]
    for r in range(ranks):
        units = slice(r * width, (r + 1) * width)
        factor = torch.ones(width)
        for name in row.names:
            rows = [row.p[f"factors.{name}.bias"][units]]
            inputs = [torch.tensor(1.0)]
            if name in row.pooled:
                rows += list(row.p[f"factors.{name}.weight"][units].T)
                inputs += list(row.pooled[name])
            factor = factor * sum(x * f for x, f in zip(inputs, rows, strict=True))
        total = total + row.p["weights"][r] * factor
    return total


def mutan(fusion: Any, row: Any) -> Tensor:
    squashed = {n: torch.tanh(row.affine(f"projections.{n}", x)) for n, x in row.pooled.items()}
    said = {name: row.affine(f"core.{name}", u) for name, u in squashed.items()}
    width = fusion.width
    ranks = len(next(iter(said.values()))) // width
    return torch.stack(
        [
            sum(multiplied([u[r * width + unit] for u in said.values()]) for r in range(ranks))
            for unit in range(width)
        ]
    )


def block(fusion: Any, row: Any) -> Tensor:
    fused, start = [], 0
    for k, chunk in enumerate([2, 1, 1]):
        said = {}
        for name, x in row.pooled.items():
            u = row.affine(f"factors.{name}.projection", x)[start : start + chunk]
            said[name] = row.affine(f"factors.{name}.core.{k}", u)
        ranks = len(next(iter(said.values()))) // chunk
        fused.append(
            normalised(
                [
                    sum(
                        multiplied([u[r * chunk + unit] for u in said.values()])
                        for r in range(ranks)
                    )
                    for unit in range(chunk)
                ]
            )
        )
        start += chunk
    return torch.cat(fused)


def mfb(fusion: Any, row: Any) -> Tensor:
    said = {name: row.affine(f"expansions.{name}", x) for name, x in row.pooled.items()}
    count = len(next(iter(said.values()))) // fusion.width
    return normalised(
        [
            sum(multiplied([u[unit * count + k] for u in said.values()]) for k in range(count))
            for unit in range(fusion.width)
        ]
    )


def sketch_of_product(fusion: Any, pooled: dict[str, Tensor], size: int) -> list[Tensor]:
    """Return the count sketch of the outer product, entry by entry."""
    buckets = [torch.tensor(0.0) for _ in range(size)]
    for units in product(*[range(len(x)) for x in pooled.values()]):
        bucket, entry = 0, torch.tensor(1.0)
        for (name, x), i in zip(pooled.items(), units, strict=True):
            bucket += int(fusion.sketches[name].buckets[i])
            entry = entry * x[i] * int(fusion.sketches[name].signs[i])
        buckets[bucket % size] = buckets[bucket % size] + entry
    return buckets


def mcb(fusion: Any, row: Any) -> Tensor:
    size = row.p["linear.weight"].shape[1]
    return row.affine("linear", normalised(sketch_of_product(fusion, row.pooled, size)))


CASES: dict[str, tuple[type[Fusion], dict[str, Any], Naive]] = {
    "tensor": (TensorFusion, {"width": 3, "factor_width": 2}, tensor),
    "low_rank": (LowRank, {"width": 3, "rank": 2}, low_rank),
    "mutan": (Mutan, {"width": 3, "rank": 2}, mutan),
    "block": (Block, {"width": 4, "blocks": 3, "rank": 2}, block),
    "mfb": (Mfb, {"width": 3, "factors": 2}, mfb),
    "mcb-even": (Mcb, {"width": 2, "sketch": 6}, mcb),
    "mcb-odd": (Mcb, {"width": 2, "sketch": 5}, mcb),
}
METHODS = pytest.mark.parametrize("method", [TensorFusion, LowRank, Mutan, Block, Mfb, Mcb])


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, formula: Callable[..., None]) -> None:
    method, options, naive = CASES[case]
    formula(method, options, naive)


def features_of(**pooled: Tensor) -> dict[str, Features]:
    return {k: Features(x[:, None], torch.ones(len(x), 1) > 0, x) for k, x in pooled.items()}


def here(*present: bool) -> dict[str, Tensor]:
    return {name: torch.tensor([each]) for name, each in zip("ab", present, strict=False)}


def trainable(fusion: Fusion) -> int:
    return sum(parameter.numel() for parameter in fusion.parameters() if parameter.requires_grad)


def test_tensor_holds_unimodal_and_bimodal_terms() -> None:
    fusion = TensorFusion({"a": Widths(2), "b": Widths(2)}, outputs=2, width=9, factor_width=2)
    for projection in fusion.projections.values():
        projection.weight.data = torch.eye(2)
    fusion.linear.weight.data = torch.eye(9)
    x = features_of(a=torch.tensor([[2.0, 3.0]]), b=torch.tensor([[5.0, 7.0]]))
    expected = [1.0, 5.0, 7.0, 2.0, 10.0, 14.0, 3.0, 15.0, 21.0]
    torch.testing.assert_close(fusion(x, here(True, True)), torch.tensor([expected]))
    without_b = [1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0]
    torch.testing.assert_close(fusion(x, here(True, False)), torch.tensor([without_b]))


@pytest.mark.parametrize(
    ("modalities", "factor_width"), [(1, 32), (2, 32), (3, 12), (4, 6), (11, 1), (12, 1)]
)
def test_tensor_chooses_an_affordable_factor_width(modalities: int, factor_width: int) -> None:
    widths = {f"m{index}": Widths(3) for index in range(modalities)}
    fusion = TensorFusion(widths, outputs=2, width=1)
    entries = (factor_width + 1) ** modalities
    assert trainable(fusion) == 3 * factor_width * modalities + entries


def test_tensor_refuses_an_absurd_product() -> None:
    widths = {f"m{index}": Widths(3) for index in range(20)}
    three = {name: widths[name] for name in ("m0", "m1", "m2")}
    TensorFusion(three, outputs=2, width=1, factor_width=99)
    with pytest.raises(ValueError, match="`factor_width`") as error:
        TensorFusion(three, outputs=2, factor_width=100)
    check_error(
        error.value, "factor_width", "100", "1,030,301 entries", "3 modalities", "1,000,000", "99"
    )
    with pytest.raises(ValueError, match="`factor_width`") as error:
        TensorFusion(widths, outputs=2)
    check_error(
        error.value,
        "factor_width",
        "1",
        "1,048,576 entries",
        "20 modalities",
        "1,000,000",
        "fusion=low_rank",
    )


@pytest.mark.parametrize("factor_width", [1, 4, 16])
def test_tensor_starts_with_factors_no_longer_than_their_one(factor_width: int) -> None:
    fusion = TensorFusion({"a": Widths(256)}, outputs=2, factor_width=factor_width)
    projected = fusion.projections["a"](torch.randn(500, 256))
    # A weight uniform in ±(D f)^-1/2 has the variance 1 / (3 D f).
    assert projected.square().sum(1).mean().item() == pytest.approx(1 / 3, rel=0.25)


def test_low_rank_has_47_parameters() -> None:
    fusion = LowRank({"a": Widths(10), "b": Widths(10)}, outputs=2, width=2, rank=1)
    assert trainable(fusion) == 47 == (10 + 1) * 2 + (10 + 1) * 2 + 1 + 2


def test_low_rank_by_hand() -> None:
    fusion = LowRank({"a": Widths(1), "b": Widths(1)}, outputs=2, width=1, rank=2)
    fusion.factors["a"].weight.data = torch.tensor([[2.0], [0.5]])
    fusion.factors["a"].bias.data = torch.tensor([1.0, -1.0])
    fusion.factors["b"].weight.data = torch.tensor([[3.0], [-1.0]])
    fusion.factors["b"].bias.data = torch.tensor([0.5, 2.0])
    fusion.weights.data = torch.tensor([1.0, 10.0])
    fusion.bias.data = torch.tensor([0.25])
    x = features_of(a=torch.tensor([[4.0]]), b=torch.tensor([[2.0]]))
    # (8 + 1)(6 + ½) + 10 (2 − 1)(−2 + 2) + ¼, and without b: 9 · ½ + 10 · 1 · 2 + ¼
    torch.testing.assert_close(fusion(x, here(True, True)), torch.tensor([[58.75]]))
    torch.testing.assert_close(fusion(x, here(True, False)), torch.tensor([[24.75]]))


def test_products_start_at_one() -> None:
    widths = {"a": Widths(3), "b": Widths(5), "c": Widths(2)}
    nothing = features_of(a=torch.zeros(1, 3), b=torch.zeros(1, 5), c=torch.zeros(1, 2))
    present = {name: torch.tensor([True]) for name in widths}
    fused = LowRank(widths, outputs=2)(nothing, present)
    torch.testing.assert_close(fused, torch.ones(1, 128))
    fused = Mfb(widths, outputs=2)(nothing, present)
    torch.testing.assert_close(fused, torch.full((1, 128), 128**-0.5), rtol=1e-6, atol=0)
    for fusion in (Mutan(widths, outputs=2), Block(widths, outputs=2)):
        biases = [p for name, p in fusion.named_parameters() if "core" in name and p.dim() == 1]
        assert biases
        assert all((bias == 1).all() for bias in biases)


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        (TensorFusion, {"factor_width": 3}, 5 * 3 + (3 + 1) * 4),
        (LowRank, {"rank": 2}, 2 * (5 + 1) * 4 + 2 + 4),
        (Mutan, {"rank": 7}, (5 + 1) * 4 + (4 + 1) * 4),
        (Block, {"blocks": 2, "rank": 7}, (5 + 1) * 4 + 2 * (2 + 1) * 2),
        (Mfb, {"factors": 7}, (5 + 1) * 4),
        (Mcb, {"sketch": 9}, (9 + 1) * 4),
    ],
)
def test_a_single_modality_is_projected_once(
    method: Any, options: dict[str, int], expected: int
) -> None:
    assert trainable(method({"a": Widths(5)}, outputs=2, width=4, **options)) == expected


def test_blocks_share_the_width_out() -> None:
    widths = {"a": Widths(5), "b": Widths(5)}
    x = features_of(a=torch.randn(1, 5), b=torch.randn(1, 5))
    fused = Block(widths, outputs=2, width=11, blocks=4)(x, here(True, True))[0]
    lengths = [part.norm().item() for part in fused.split([3, 3, 3, 2])]
    assert lengths == pytest.approx([1.0] * 4, abs=1e-5)
    few = Block(widths, outputs=2, width=2, blocks=4)
    assert few(x, here(True, True)).abs()[0].tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


def test_power_normalised_by_hand() -> None:
    x = torch.tensor([[9.0, -16.0, 0.0], [1e-2, 0.0, 0.0]])
    expected = torch.tensor([[0.6, -0.8, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(normalise_power(x), expected, rtol=0, atol=1e-3)
    lengths = normalise_power(torch.randn(8, 64)).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(8), rtol=0, atol=1e-6)


def test_power_normalised_has_finite_slopes() -> None:
    roots = (EPSILON + 4.0) ** 0.5 - EPSILON**0.5
    for x, slope in [
        (torch.tensor([[0.0, 0.0]]), 0.5 / EPSILON),
        (torch.tensor([[0.0, 4.0]]), 0.5 * EPSILON**-0.5 / math.hypot(roots, EPSILON**0.5)),
    ]:
        normal = normalise_power(x.requires_grad_())
        assert normal[0, 0].item() == 0
        (gradient,) = torch.autograd.grad(normal[0, 0], x)
        assert gradient.tolist()[0] == pytest.approx([slope, 0.0], rel=1e-9)


def test_power_normalised_agrees_in_single_precision() -> None:
    x = torch.randn(16, 32) * 10.0 ** torch.randint(-9, 3, (16, 32))
    single = normalise_power(x.float())
    torch.testing.assert_close(single.double(), normalise_power(x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [1, 4, 7])
@pytest.mark.parametrize("modalities", [2, 3])
def test_convolved_sketches_are_the_sketch_of_the_outer_product(size: int, modalities: int) -> None:
    widths = {name: Widths(3 + index) for index, name in enumerate("abc"[:modalities])}
    fusion = Mcb(widths, outputs=2, sketch=size)
    x = {name: torch.randn(width.pooled) for name, width in widths.items()}
    sketches = [fusion.sketches[name](each[None]) for name, each in x.items()]
    expected = torch.stack(sketch_of_product(fusion, x, size))
    everywhere = [torch.tensor([True])] * modalities
    torch.testing.assert_close(convolve(sketches, everywhere)[0], expected)

    circular = sketches[0][0]
    for sketch in sketches[1:]:
        entries = [
            sum(circular[i] * sketch[0, (j - i) % size] for i in range(size)) for j in range(size)
        ]
        circular = torch.stack(entries)
    torch.testing.assert_close(circular, expected)


def test_sketches_keep_inner_products_in_expectation() -> None:
    # Positive entries: were signs left out, every collision would add to the estimate.
    x, y = 0.5 + torch.rand(2, 8), 0.5 + torch.rand(2, 8)
    both = [torch.tensor([True, True])] * 2
    one, joint = [], []
    for _ in range(600):
        first, second = CountSketch(8, 64), CountSketch(8, 64)
        one.append(first(x).prod(0).sum())
        joint.append(convolve([first(x), second(y)], both).prod(0).sum())
    exact = x.prod(0).sum()
    for estimates, expected in [(one, exact), (joint, exact * y.prod(0).sum())]:
        found = torch.stack(estimates)
        error = found.std().item() / len(found) ** 0.5
        assert error < 0.03 * expected
        assert found.mean().item() == pytest.approx(expected.item(), abs=3 * error)


def test_hashes_are_drawn_at_construction_and_kept() -> None:
    widths = {"a": Widths(50), "b": Widths(50)}

    def hashes(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        state = Mcb(widths, outputs=2, sketch=16).state_dict()
        return {name: x for name, x in state.items() if name.startswith("sketches")}

    ours, again, other = hashes(0), hashes(0), hashes(1)
    names = {f"sketches.{name}.{part}" for name in "ab" for part in ("buckets", "signs")}
    assert ours.keys() == names
    assert all(torch.equal(ours[name], again[name]) for name in names)
    assert not any(torch.equal(ours[name], other[name]) for name in names)
    assert not torch.equal(ours["sketches.a.signs"], ours["sketches.b.signs"])
    for name in "ab":
        assert set(ours[f"sketches.{name}.signs"].tolist()) == {-1, 1}
        buckets = ours[f"sketches.{name}.buckets"]
        assert buckets.min() >= 0
        assert 12 < buckets.max() < 16


def test_sketches_are_never_in_half_precision() -> None:
    sketch, x = CountSketch(40, 8), torch.randn(3, 40)
    for dtype, kept in [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        rounded = x.to(dtype)
        assert sketch(rounded).dtype == kept
        assert torch.equal(sketch(rounded), sketch(rounded.to(kept)))


@METHODS
def test_half_precision_is_close_to_single(method: Any) -> None:
    torch.set_default_dtype(torch.float32)
    widths = {"a": Widths(24), "b": Widths(40)}
    fusion = method(widths, outputs=2)
    a, b = torch.randn(16, 24).bfloat16(), torch.randn(16, 40).bfloat16()
    present = {"a": torch.ones(16) > 0, "b": torch.arange(16) % 4 > 0}
    expected = fusion(features_of(a=a.float(), b=b.float()), present)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = fusion(features_of(a=a, b=b), present)
    assert (fused - expected).norm() < 0.03 * expected.norm()
    fused.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())
