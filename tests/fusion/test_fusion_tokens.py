"""Token-level methods against their formulas, written with loops over heads, queries and keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor

import mmx.fusion.bottleneck
from mmx.fusion import Fusion, Widths
from mmx.fusion.attention_blocks import MultiheadAttention
from mmx.fusion.bottleneck import Bottleneck
from mmx.fusion.cross_attention import CrossAttention
from mmx.fusion.mult import Mult
from mmx.fusion.perceiver import Perceiver
from mmx.fusion.tokens import keep_last, make_sinusoids
from mmx.fusion.transformer import Transformer
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean

Tokens = list[Tensor]
Naive = Callable[[Any, Any], Tensor]

WIDTH, HEADS = 3, 2
METHODS = (Bottleneck, CrossAttention, Mult, Perceiver, Transformer)
EACH = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def position(index: int, width: int) -> Tensor:
    values = []
    for unit in range(width):
        angle = index / 10000 ** (2 * (unit // 2) / width)
        values.append(math.cos(angle) if unit % 2 else math.sin(angle))
    return torch.tensor(values)


def norm(row: Any, name: str, x: Tensor) -> Tensor:
    centred = x - x.sum() / len(x)
    variance = (centred * centred).sum() / len(x)
    return centred / (variance + 1e-5).sqrt() * row.p[f"{name}.weight"] + row.p[f"{name}.bias"]


def attend(row: Any, name: str, query: Tensor, keys: Tokens, heads: int = HEADS) -> Tensor:
    q = row.affine(f"{name}.query", query)
    size = len(q) // heads
    found = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = []
        for key in keys:
            k = row.affine(f"{name}.key", key)
            scores.append(((q[part] * k[part]).sum() / math.sqrt(size)).exp())
        mixed = torch.zeros(size)
        for score, key in zip(scores, keys, strict=True):
            value = row.affine(f"{name}.value", key)[part]
            mixed = mixed + score / sum(scores) * value
        found.append(mixed)
    return row.affine(f"{name}.output", torch.cat(found))


def feed_forward(row: Any, name: str, x: Tensor) -> Tensor:
    hidden = row.affine(f"{name}.0", x)
    gelu = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return row.affine(f"{name}.2", gelu)


def self_block(row: Any, name: str, tokens: Tokens) -> Tokens:
    normed = [norm(row, f"{name}.norm", z) for z in tokens]
    after = []
    for z, own in zip(tokens, normed, strict=True):
        y = z + attend(row, f"{name}.attention", own, normed)
        after.append(y + feed_forward(row, f"{name}.feed_forward", norm_forward(row, name, y)))
    return after


def norm_forward(row: Any, name: str, y: Tensor) -> Tensor:
    return norm(row, f"{name}.forward_norm", y)


def mean(tokens: Tokens) -> Tensor:
    total = torch.zeros_like(tokens[0])
    for token in tokens:
        total = total + token
    return total / len(tokens)


def projected(row: Any, name: str, x: Tensor) -> Tensor:
    linear = row.affine(f"projections.linear.{name}", x)
    return norm(row, f"projections.norm.{name}", linear)


def placed(row: Any, name: str) -> Tokens:
    tokens = row.tokens[name]
    return [projected(row, name, x) + position(i, WIDTH) for i, x in enumerate(tokens)]


def cross_attention(fusion: Fusion, row: Any) -> Tensor:
    p = {name: placed(row, name) for name in row.tokens}
    parts = []
    for name in row.names:
        if name not in p:
            parts.append(torch.zeros(WIDTH))
            continue
        others = [token for other in sorted(p) if other != name for token in p[other]]
        after = []
        for token in p[name]:
            found = attend(row, f"attention.{name}", token, others) if others else 0
            after.append(norm(row, f"norms.{name}", token + found))
        parts.append(mean(after))
    return torch.cat(parts)


def convolve(row: Any, name: str) -> Tokens:
    weight = row.p[f"convolutions.{name}.weight"]
    tokens, middle = row.tokens[name], weight.shape[2] // 2
    z = []
    for i in range(len(tokens)):
        total = torch.zeros(WIDTH)
        for tap in range(weight.shape[2]):
            if 0 <= i + tap - middle < len(tokens):
                total = total + weight[:, :, tap] @ tokens[i + tap - middle]
        z.append(norm(row, f"norms.{name}", total) + position(i, WIDTH))
    return z


def cross_modal(row: Any, name: str, target: Tokens, source: Tokens) -> Tokens:
    keys = [norm(row, f"{name}.source_norm", token) for token in source]
    after = []
    for token in target:
        z = norm(row, f"{name}.norm", token)
        y = z + attend(row, f"{name}.attention", z, keys) if keys else z
        y = norm_forward(row, name, y)
        after.append(y + feed_forward(row, f"{name}.feed_forward", y))
    return after


def mult(fusion: Fusion, row: Any) -> Tensor:
    layers = 2 if any(".1.attention" in name for name in row.p) else 1
    z = {name: convolve(row, name) for name in row.tokens}
    parts = []
    for target in row.names:
        sources = [name for name in row.names if name != target]
        if target not in z:
            parts.append(torch.zeros(WIDTH * max(len(sources), 1)))
            continue
        streams = []
        for source in sources:
            stream = z[target]
            for layer in range(layers):
                block = f"targets.{target}.cross.{source}.{layer}"
                stream = cross_modal(row, block, stream, z.get(source, []))
            streams.append(stream)
        y = [torch.cat(each) for each in zip(*streams, strict=True)] if streams else z[target]
        for layer in range(layers):
            y = self_block(row, f"targets.{target}.memory.{layer}", y)
        y = [norm(row, f"targets.{target}.norm", each) for each in y]
        parts.append(mean(y) if fusion.pool == "mean" else y[-1])
    return torch.cat(parts)


def bottleneck(fusion: Fusion, row: Any) -> Tensor:
    cls, f = row.p["cls"], list(row.p["bottlenecks"])
    layers = max(int(name.split(".")[1]) for name in row.p if name.startswith("layers.")) + 1
    z = {n: [cls[m], *placed(row, n)] for m, n in enumerate(row.names) if n in row.tokens}
    for layer in range(layers):
        written = []
        for name in z:
            shared = f if layer >= fusion.fusion_layer else []
            after = self_block(row, f"layers.{layer}.{name}", z[name] + shared)
            count = len(z[name])
            z[name] = after[:count]
            written.append(after[count:])
        if layer >= fusion.fusion_layer:
            f = [mean([each[n] for each in written]) for n in range(len(f))]
    return mean([norm(row, "norm", tokens[0]) for tokens in z.values()])


def perceiver(fusion: Fusion, row: Any) -> Tensor:
    p = [token for name in sorted(row.tokens) for token in placed(row, name)]
    z = list(row.p["latents"])
    for layer in range(len(fusion.cross)):
        name, after = f"cross.{layer}", []
        keys = [norm(row, f"{name}.source_norm", token) for token in p]
        for latent in z:
            y = latent + attend(row, f"{name}.attention", norm(row, f"{name}.norm", latent), keys)
            after.append(y + feed_forward(row, f"{name}.feed_forward", norm_forward(row, name, y)))
        z = self_block(row, f"within.{layer}", after)
    return mean([norm(row, "norm", latent) for latent in z])


def transformer(fusion: Fusion, row: Any) -> Tensor:
    z = [row.p["cls"]]
    for name in sorted(row.tokens):
        z.append(projected(row, name, mean(list(row.tokens[name]))))
    for layer in range(len(fusion.layers)):
        z = self_block(row, f"layers.{layer}", z)
    return norm(row, "norm", z[0])


SMALL = {"width": WIDTH, "heads": HEADS}
CASES: dict[str, tuple[type[Fusion], dict[str, Any], Naive]] = {
    "cross_attention": (CrossAttention, SMALL, cross_attention),
    "mult": (Mult, SMALL, mult),
    "mult-deep": (
        Mult,
        {**SMALL, "layers": 2, "memory_layers": 2, "kernel": 5, "pool": "last"},
        mult,
    ),
    "bottleneck": (Bottleneck, {**SMALL, "bottlenecks": 2}, bottleneck),
    "bottleneck-late": (
        Bottleneck,
        {**SMALL, "bottlenecks": 1, "layers": 4, "fusion_layer": 1},
        bottleneck,
    ),
    "perceiver": (Perceiver, {**SMALL, "latents": 2}, perceiver),
    "perceiver-shallow": (Perceiver, {**SMALL, "latents": 3, "layers": 1}, perceiver),
    "transformer": (Transformer, SMALL, transformer),
    "transformer-shallow": (Transformer, {**SMALL, "layers": 1}, transformer),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, formula: Callable[..., None]) -> None:
    method, options, naive = CASES[case]
    formula(method, options, naive, examples=6)


Batch = tuple[dict[str, Features], dict[str, Tensor]]
STEPS = {"a": 1, "b": 7, "c": 4}  # nothing is of one length


def widths(count: int = 3) -> dict[str, Widths]:
    return {name: Widths(2 + m) for m, name in enumerate("abc"[:count])}


def make(method: type[Fusion], count: int = 3, **options: Any) -> Fusion:
    """Return the method with parameters that differ from where they start."""
    fusion = method(widths(count), outputs=2, width=6, **options)
    for parameter in fusion.parameters():
        parameter.data.normal_(0, 0.5)
    return fusion.eval()


def sample(rows: int = 4, count: int = 3) -> Batch:
    features, present = {}, {}
    for name, each in widths(count).items():
        x = torch.randn(rows, STEPS[name], each.pooled)
        mask = torch.ones(rows, STEPS[name]) > 0
        mask[1:, 1 + STEPS[name] // 2 :] = False
        features[name] = Features(x, mask, torch.randn(rows, each.pooled))
        present[name] = torch.ones(rows) > 0
    return features, present


def with_tokens(features: dict[str, Features], name: str, **parts: Tensor) -> dict[str, Features]:
    old = features[name]
    new = Features(parts.get("tokens", old.tokens), parts.get("mask", old.mask), old.pooled)
    return {**features, name: new}


def close(actual: Tensor, expected: Tensor) -> bool:
    return torch.allclose(actual, expected, rtol=0, atol=1e-12)


@EACH
@pytest.mark.parametrize("junk", [0.0, float("nan"), float("inf")])
def test_longer_padding_changes_nothing(method: type[Fusion], junk: float) -> None:
    fusion, (features, present) = make(method), sample()
    expected = fusion(features, present)
    padded = dict(features)
    for extra, (name, each) in enumerate(features.items(), start=2):
        rows, steps, width = each.tokens.shape
        tokens = each.tokens.masked_fill(~each.mask[:, :, None], junk)
        tokens = torch.cat([tokens, torch.full((rows, extra, width), junk)], dim=1)
        mask = torch.cat([each.mask, torch.zeros(rows, extra) > 0], dim=1)
        padded = with_tokens(padded, name, tokens=tokens.requires_grad_(), mask=mask)
        assert tokens.shape[1] == steps + extra
    output = fusion(padded, present)
    assert close(output, expected)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())
    for each in padded.values():
        assert each.tokens.grad is not None
        assert (each.tokens.grad[~each.mask] == 0).all()
        assert (each.tokens.grad[each.mask] != 0).any()


@EACH
def test_a_valid_token_of_zeros_is_still_a_token(method: type[Fusion]) -> None:
    fusion, (features, present) = make(method), sample()
    tokens = features["b"].tokens.clone()
    tokens[:, 2] = 0
    zero = with_tokens(features, "b", tokens=tokens)
    mask = features["b"].mask.clone()
    mask[:, 2] = False
    assert not close(fusion(zero, present), fusion(with_tokens(zero, "b", mask=mask), present))


@EACH
def test_tokens_are_told_apart_by_position_whatever_feature_0_holds(method: type[Fusion]) -> None:
    fusion, (features, present) = make(method), sample()
    tokens = features["b"].tokens.clone()
    tokens[:, :, 0] = 0
    before = fusion(with_tokens(features, "b", tokens=tokens), present)
    tokens = tokens[:, [1, 0, *range(2, STEPS["b"])]]
    after = fusion(with_tokens(features, "b", tokens=tokens), present)
    if method is Transformer:  # a mean has no order
        assert close(after, before)
    else:
        assert (before - after).abs().amax(1).min() > 1e-4


@EACH
def test_positions_count_valid_tokens_only(method: type[Fusion]) -> None:
    fusion = make(method, **({"kernel": 1} if method is Mult else {}))
    features, present = sample()
    hole = torch.tensor([True, False, True, True, False, True, True])
    mask = hole.expand(len(present["b"]), -1)
    with_hole = fusion(with_tokens(features, "b", mask=mask), present)
    short = features["b"].tokens[:, hole]
    without = with_tokens(features, "b", tokens=short, mask=torch.ones(short.shape[:2]) > 0)
    assert close(with_hole, fusion(without, present))


@EACH
def test_no_modality_is_cut_to_the_length_of_another(method: type[Fusion]) -> None:
    fusion, (features, present) = make(method), sample()
    tokens = features["b"].tokens.clone()
    tokens[0, -1] += 1.0
    change = fusion(with_tokens(features, "b", tokens=tokens), present) - fusion(features, present)
    assert change[0].abs().max() > 1e-4
    assert close(change[1:], torch.zeros(3, fusion.width))  # there it is padding


@EACH
def test_the_scale_of_an_encoder_does_not_drown_anything(method: type[Fusion]) -> None:
    fusion, (features, present) = make(method), sample()
    expected = fusion(features, present)
    for scale in (0.1, 100.0):
        scaled = with_tokens(features, "b", tokens=features["b"].tokens * scale)
        torch.testing.assert_close(fusion(scaled, present), expected, rtol=0, atol=0.02)


@EACH
def test_no_valid_token_is_as_good_as_absent(method: type[Fusion]) -> None:
    fusion, (features, present) = make(method), sample()
    nothing = with_tokens(features, "b", mask=torch.zeros_like(features["b"].mask))
    absent = {**present, "b": torch.zeros(4) > 0}
    assert torch.equal(fusion(nothing, present), fusion(features, absent))
    assert not close(fusion(features, absent), fusion(features, present))


@EACH
@pytest.mark.parametrize(("width", "heads"), [(2, 1), (5, 4), (7, 2), (64, 4)])
def test_any_width_goes_with_any_heads(method: type[Fusion], width: int, heads: int) -> None:
    fusion = method(widths(), outputs=2, width=width, heads=heads)
    assert fusion(*sample()).shape == (4, fusion.width)
    times = {CrossAttention: 3, Mult: 6}
    assert fusion.width == times.get(method, 1) * width


OPTIONS: list[tuple[type[Fusion], dict[str, Any]]] = [
    (Bottleneck, {"layers": 4, "fusion_layer": 2, "bottlenecks": 1}),
    (Bottleneck, {"layers": 3, "heads": 1}),
    (CrossAttention, {"heads": 1}),
    (Mult, {"layers": 2, "memory_layers": 2, "pool": "last"}),
    (Perceiver, {"layers": 1, "latents": 2}),
    (Transformer, {"layers": 1}),
]


@pytest.mark.parametrize(("method", "options"), OPTIONS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_parameter_learns_with_other_options(
    method: type[Fusion], options: dict[str, Any], count: int
) -> None:
    fusion = method(widths(count), outputs=2, **options)
    features, present = sample(count=count)
    # A single key gets all the attention, whatever the query: give each modality several.
    features = {
        name: Features(torch.randn(4, 3, x.tokens.shape[2]), torch.ones(4, 3) > 0, x.pooled)
        for name, x in features.items()
    }
    (fusion(features, present) * torch.randn(4, fusion.width)).sum().backward()
    largest = {n: 0.0 if p.grad is None else p.grad.abs().max() for n, p in named(fusion)}
    assert [name for name, value in largest.items() if value < 1e-9] == []


def named(fusion: Fusion) -> list[tuple[str, torch.nn.Parameter]]:
    return list(fusion.named_parameters())


@EACH
def test_dropout_is_for_training_only(method: type[Fusion]) -> None:
    batch = sample()
    torch.manual_seed(3)
    plain = method(widths(), outputs=2)
    torch.manual_seed(3)
    dropping = method(widths(), outputs=2, dropout=0.5)
    assert torch.equal(plain.train()(*batch), plain.eval()(*batch))
    assert torch.equal(dropping.eval()(*batch), plain(*batch))
    dropping.train()
    assert not torch.equal(dropping(*batch), dropping(*batch))
    drops = [module for module in dropping.modules() if isinstance(module, torch.nn.Dropout)]
    assert drops
    assert {drop.p for drop in drops} == {0.5}


@EACH
def test_bfloat16_is_close(method: type[Fusion]) -> None:
    torch.set_default_dtype(torch.float32)
    fusion, batch = method(widths(), outputs=2), sample()
    batch[1]["c"] = torch.tensor([True, False, False, True])
    expected = fusion(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = fusion(*batch)
        output.float().square().sum().backward()
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())


def test_a_query_that_sees_nothing_gets_exactly_zeros() -> None:
    attention = MultiheadAttention(5, heads=2, dropout=0.0)
    x = torch.randn(3, 4, 5, requires_grad=True)
    y = torch.randn(3, 6, 5, requires_grad=True)
    mask = torch.rand(3, 6) < 0.5
    mask[0], mask[1:, :2] = False, True
    output = attention(x, y, mask)
    assert (output[0] == 0).all()
    assert (output[1:] != 0).all()
    (output * torch.randn(3, 4, 5)).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert (x.grad[0] == 0).all()
    assert (y.grad[0] == 0).all()
    assert (y.grad[~mask] == 0).all()
    assert (x.grad[1:] != 0).all()
    assert (y.grad[mask] != 0).all()


def test_attention_by_hand() -> None:
    attention = MultiheadAttention(1, heads=1, dropout=0.0)
    for parameter in attention.parameters():
        torch.nn.init.ones_(parameter)
    x, y = torch.ones(1, 1, 1), torch.tensor([[[0.0], [math.log(3)], [50.0]]])
    output = attention(x, y, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(output.item(), 3 / 4 * math.log(3))  # e⁰ : e^ln 3 = 1 : 3


def test_positions_by_hand() -> None:
    mask = torch.tensor([[True, True, True], [False, True, True]])
    s = make_sinusoids(mask, 3, torch.float64)
    slow = 10000 ** (-2 / 3)
    first, second = [0.0, 1.0, 0.0], [math.sin(1), math.cos(1), math.sin(slow)]
    third = [math.sin(2), math.cos(2), math.sin(2 * slow)]
    torch.testing.assert_close(s[0], torch.tensor([first, second, third]))
    torch.testing.assert_close(s[1, 1:], torch.tensor([first, second]))
    assert make_sinusoids(mask, 3, torch.bfloat16).dtype == torch.float32


def test_pools_by_hand() -> None:
    x = torch.tensor([[[1.0], [3.0], [float("nan")]], [[float("nan")]] * 3])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    torch.testing.assert_close(masked_mean(x, mask), torch.tensor([[2.0], [0.0]]))
    assert keep_last(mask).tolist() == [[False, True, False], [False, False, False]]


def test_nobody_to_look_at() -> None:
    alone = CrossAttention(widths(1), outputs=2, width=6)
    assert {name.split(".")[0] for name, _ in named(alone)} == {"projections", "norms"}
    alone_mult = Mult(widths(1), outputs=2, width=6)
    assert not any(".cross." in name for name, _ in named(alone_mult))
    assert alone_mult.width == alone.width == 6


def input_of(module: str, fusion: Fusion, batch: Batch) -> Tensor:
    """Return what goes into a module of the fusion."""
    seen: list[Tensor] = []
    watched = fusion.get_submodule(module)
    handle = watched.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    fusion(*batch)
    handle.remove()
    (only,) = seen
    return only


def changed_b(batch: Batch) -> Batch:
    features, present = batch
    return with_tokens(features, "b", tokens=features["b"].tokens + 1.0), present


def test_nothing_crosses_before_the_fusion_layer() -> None:
    fusion, batch = make(Bottleneck, layers=4, fusion_layer=1), sample()
    for layer in range(3):
        for name in "ac":
            module, own = f"layers.{layer}.{name}", STEPS[name] + 1
            before, after = (input_of(module, fusion, x) for x in (batch, changed_b(batch)))
            assert torch.equal(before[:, :own], after[:, :own])
            assert before.shape[1] == own + (4 if layer >= 1 else 0)
    # Layer 1 writes to the bottleneck tokens, layer 2 reads them, layer 3 gets what it read.
    before, after = (input_of("layers.3.a", fusion, x) for x in (batch, changed_b(batch)))
    assert (before != after)[:, :2].any(2).all()


def test_what_crosses_goes_through_the_bottleneck_tokens_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fusion, batch = make(Bottleneck, layers=4, fusion_layer=0), sample()

    def crossing() -> tuple[bool, bool]:
        """Return whether a change of b is seen in the CLS of a and of b."""
        before, after = (input_of("norm", fusion, x) for x in (batch, changed_b(batch)))
        assert before.shape == (4, 3, 6)
        same = (before == after).all(2)
        return not same[:, 0].any(), not same[:, 1].any()

    assert crossing() == (True, True)
    monkeypatch.setattr(
        mmx.fusion.bottleneck, "mean_present", lambda x, _: torch.ones_like(x[:, 0])
    )
    assert crossing() == (False, True)


def test_modalities_must_have_a_layer_left_to_meet() -> None:
    with pytest.raises(ValueError, match="`fusion_layer`") as error:
        Bottleneck(widths(), outputs=2, layers=3, fusion_layer=2)
    check_error(error.value, "fusion_layer", "2", "layers", "1")


def test_kernel_must_be_odd() -> None:
    with pytest.raises(ValueError, match="`kernel`") as error:
        Mult(widths(), outputs=2, kernel=2)
    check_error(error.value, "`kernel` (=2)", "odd")
