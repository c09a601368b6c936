"""Adapters by themselves: what they compute, where they stand, how they travel."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import catalogue
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import find_example
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmx.contract import Part
from mmx.contract.encoder import EncoderSubject
from mmx.encoders import Encoder
from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.audio.logmel_lstm import LogmelLstm
from mmx.encoders.image.resnet import ResNet18
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.image.vit_b_16 import VitB16
from mmx.encoders.tabular.mlp import Mlp
from mmx.encoders.text.embedding_mean import EmbeddingMean
from mmx.encoders.text.lstm import Lstm
from mmx.encoders.text.text_cnn import TextCnn
from mmx.encoders.text.tfidf import Tfidf
from mmx.modalities import Features
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TfidfSpec, TokenSpec
from mmx.training import checkpoint
from mmx.training.memory_format import use_channels_last
from mmx.transfer.adapters import (
    BottleneckLayer,
    LowRankUpdate,
    add_bottlenecks,
    add_lora,
    base_name,
)
from mmx.transfer.adapters.places import AdapterPlace, find_places

B = 3
WORDS = ("stone", "river", "cloud", "grass")
SOUND = AudioSpec(sample_rate=8000, max_samples=1200)
TOKENS = TokenSpec(WORDS, 5)
IMAGE = ImageSpec(8, 8)
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "small_cnn": lambda: SmallCnn(IMAGE, width=8, depth=2),
    "resnet18": lambda: ResNet18(IMAGE),
    "vit_b_16": lambda: VitB16(IMAGE, layers=2, heads=2, width=8, mlp_width=12),
    "logmel_cnn": lambda: LogmelCnn(SOUND, width=16, mels=8),
    "logmel_lstm": lambda: LogmelLstm(SOUND, width=6, layers=2, mels=8),
    "mlp": lambda: Mlp(TabularSpec(("a", "b"), (0.0,) * 2, (1.0,) * 2, (), ()), width=6, hidden=5),
    "embedding_mean": lambda: EmbeddingMean(TOKENS, width=6),
    "lstm": lambda: Lstm(TOKENS, width=6, embedding=4),
    "text_cnn": lambda: TextCnn(TOKENS, width=7, embedding=4),
    "tfidf": lambda: Tfidf(TfidfSpec(WORDS, (1.0,) * 4, 1), width=6),
}
KINDS = {
    name: kind
    for group in catalogue.GROUPS
    if group.startswith("encoder/")
    for name, kind in catalogue.classes(group).items()
}
_MODULES = {KINDS[name].__module__ for name in ENCODERS}
OTHERS = {
    name: kind
    for name, kind in KINDS.items()
    if kind.__module__ not in _MODULES and name != "spectrogram_resnet18"
}
"""Encoders of other modules, as they are by default; not a second ResNet-18, too slow."""
STATED = pytest.mark.parametrize("name", list(ENCODERS))
EACH = pytest.mark.parametrize("name", [*ENCODERS, *OTHERS])
SMALL = pytest.mark.parametrize("name", [name for name in ENCODERS if name != "resnet18"])
BOTH = pytest.mark.parametrize("kind", ["lora", "bottleneck"])


@cache
def find_subject(name: str) -> EncoderSubject:
    """Return an encoder of another module as the contract tries it; a published one is tiny."""
    options, spec = find_example(OTHERS[name])
    part = Part(OTHERS[name], options)
    return EncoderSubject.of(part) if spec is None else EncoderSubject(part, part.make, spec)


def make(name: str) -> Encoder:
    torch.manual_seed(1)
    encoder = ENCODERS[name]() if name in ENCODERS else find_subject(name).build()
    return use_channels_last(encoder).eval()


def inputs(name: str) -> tuple[Tensor, Tensor | None]:
    if name in OTHERS:
        return find_subject(name).make_inputs()
    draw = torch.Generator().manual_seed(2)
    if name in ("small_cnn", "resnet18", "vit_b_16"):
        return torch.rand(B, 3, 8, 8, generator=draw), None
    if name in ("logmel_cnn", "logmel_lstm"):
        return torch.randn(B, 1200, generator=draw), torch.tensor([1200, 700, 90])
    if name in ("embedding_mean", "lstm", "text_cnn"):
        words = torch.tensor([[2, 3, 4, 5, 2], [5, 2, 0, 0, 0], [1, 0, 0, 0, 0]])
        return words, torch.tensor([5, 2, 1])
    return torch.randn(B, 4, generator=draw), None


def add(kind: str, encoder: nn.Module) -> tuple[str, ...]:
    torch.manual_seed(3)
    if kind == "lora":
        return add_lora(encoder, rank=2, alpha=3.0)
    return add_bottlenecks(encoder, width=3)


def tensors(features: Features) -> list[Tensor]:
    return [features.tokens, features.mask, features.pooled, *features.levels]


def adapters(encoder: nn.Module) -> dict[str, nn.Module]:
    kinds = (LowRankUpdate, BottleneckLayer)
    return {n: module for n, module in encoder.named_modules() if isinstance(module, kinds)}


def move(encoder: nn.Module) -> None:
    """Give the adapters values as training might."""
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for module in adapters(encoder).values():
            for parameter in module.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))


@EACH
@BOTH
def test_an_adapted_encoder_starts_as_it_was_bit_for_bit(name: str, kind: str) -> None:
    encoder, (x, lengths) = make(name), inputs(name)
    before = encoder(x, lengths)
    add(kind, encoder)
    after = encoder(x, lengths)
    assert adapters(encoder)
    for one, other in zip(tensors(before), tensors(after), strict=True):
        assert torch.equal(one, other)


@SMALL
@BOTH
def test_every_adapter_is_reached_by_the_loss(name: str, kind: str) -> None:
    encoder, (x, lengths) = make(name), inputs(name)
    add(kind, encoder)
    features = encoder.train()(x, lengths)
    valid = features.tokens * features.mask[:, :, None]
    (valid.square().sum() + features.pooled.square().sum()).backward()
    for where, module in adapters(encoder).items():
        up = module.up if isinstance(module, LowRankUpdate) else module.up.weight
        assert up.grad is not None, where
        assert up.grad.abs().sum() > 0, where
        assert all(p.grad is not None for p in module.parameters()), where


@SMALL
def test_lora_equals_the_encoder_with_the_updates_merged(name: str) -> None:
    encoder, merged, (x, lengths) = make(name), make(name), inputs(name)
    add("lora", encoder)
    move(encoder)
    values = {n: t.detach().double().numpy() for n, t in encoder.state_dict().items()}
    own = merged.state_dict()
    for original in [n for n in values if n.endswith(".original")]:
        start = original.removesuffix("original")
        weight, up, down = values[original], values[f"{start}0.up"], values[f"{start}0.down"]
        flat = weight.reshape(len(weight), -1).copy()
        for i in range(flat.shape[0]):
            for j in range(flat.shape[1]):
                flat[i, j] += 3.0 / 2 * sum(up[i, r] * down[r, j] for r in range(up.shape[1]))
        own[base_name(original)].copy_(torch.from_numpy(flat.reshape(weight.shape)))
        assert not np.allclose(flat, weight.reshape(flat.shape))
    with torch.no_grad():
        got, want = encoder(x, lengths), merged(x, lengths)
    for one, other in zip(tensors(got), tensors(want), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_lora_of_a_matrix_by_hand() -> None:
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    add_lora(layer, rank=1, alpha=0.5)
    update = layer.parametrizations.weight[0]
    with torch.no_grad():
        update.up.copy_(torch.tensor([[2.0], [-1.0]]))
        update.down.copy_(torch.tensor([[10.0, 20.0]]))
    # W + 0.5 · [[20, 40], [-10, -20]]
    assert layer.weight.tolist() == [[11.0, 22.0], [-2.0, -6.0]]
    assert layer(torch.tensor([1.0, 0.0])).tolist() == [11.0, -2.0]


def test_the_update_keeps_its_size_over_ranks() -> None:
    weight = torch.zeros(6, 5)
    sizes = []
    for rank in (1, 4):
        update = LowRankUpdate(weight, rank=rank, alpha=2.0)
        nn.init.ones_(update.up)
        nn.init.ones_(update.down)
        sizes.append(update(weight))
    assert torch.equal(sizes[0], sizes[1])
    assert sizes[0].eq(2.0).all()


@pytest.mark.parametrize(
    ("shape", "rank", "thin"), [((6, 5), 4, 4), ((6, 3), 4, 3), ((2, 9, 3, 3), 8, 2)]
)
def test_the_smaller_side_bounds_the_rank(shape: tuple[int, ...], rank: int, thin: int) -> None:
    update = LowRankUpdate(torch.zeros(shape), rank=rank, alpha=1.0)
    assert tuple(update.up.shape) == (shape[0], thin)
    assert tuple(update.down.shape) == (thin, math.prod(shape[1:]))
    assert not update.up.any()
    assert update.down.abs().max() <= 1 / math.sqrt(math.prod(shape[1:]))
    assert update.down.abs().max() > 0


def test_updates_are_added_in_float32_under_autocast() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    add_lora(layer, rank=1, alpha=1.0)
    nn.init.constant_(layer.parametrizations.weight[0].up, 1e-3)
    nn.init.ones_(layer.parametrizations.weight[0].down)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = layer.weight
    assert weight.dtype == torch.float32
    assert weight.item() == pytest.approx(1.001)  # in bfloat16 it would be 1


def test_the_vector_of_padding_stays_zero() -> None:
    layer = nn.Embedding(4, 3, padding_idx=0)
    add_lora(layer, rank=2, alpha=2.0)
    update = layer.parametrizations.weight[0]
    optimizer = torch.optim.AdamW(update.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(torch.tensor([[0, 1, 2], [0, 0, 3]])) - 1).square().sum().backward()
        optimizer.step()
    assert not layer.weight[0].any()
    assert layer.weight[1:].ne(layer.parametrizations.weight.original[1:]).all()


def naive_bottleneck(h: np.ndarray, module: BottleneckLayer) -> np.ndarray:
    """Return the bottleneck of one position ``(D,)``, unit by unit."""
    down, up = (
        (each.weight.detach().double().numpy(), each.bias.detach().double().numpy())
        for each in (module.down, module.up)
    )
    y = h.astype(np.float64).copy()
    for k in range(len(down[1])):
        z = down[1][k] + sum(down[0][k, d] * h[d] for d in range(len(h)))
        z = z * 0.5 * (1 + math.erf(z / math.sqrt(2)))
        for d in range(len(h)):
            y[d] += up[0][d, k] * z
    return y + up[1]


@settings(max_examples=25, deadline=None)
@given(
    features=st.integers(1, 5),
    width=st.integers(1, 6),
    axis=st.sampled_from([1, -1]),
    inner=st.lists(st.integers(1, 3), max_size=2),
)
def test_a_bottleneck_is_the_formula_at_every_position(
    features: int, width: int, axis: int, inner: list[int]
) -> None:
    torch.manual_seed(features + 10 * width)
    module = BottleneckLayer(features, width=width, axis=axis)
    nn.init.normal_(module.up.weight)
    nn.init.normal_(module.up.bias)
    shape = (2, features, *inner) if axis == 1 else (2, *inner, features)
    h = torch.randn(shape)
    got = module(h).detach().movedim(axis, -1).reshape(-1, features)
    wanted = [naive_bottleneck(each.numpy(), module) for each in h.movedim(axis, -1).flatten(0, -2)]
    np.testing.assert_allclose(got.numpy(), np.stack(wanted), rtol=1e-4, atol=1e-5)
    assert module.down.out_features == min(width, features)


def test_a_bottleneck_keeps_the_type_of_what_it_adds_to() -> None:
    module = BottleneckLayer(4, width=2, axis=-1)
    nn.init.ones_(module.up.weight)
    h = torch.randn(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(h).dtype == torch.float32
        assert module(h.bfloat16()).dtype == torch.bfloat16


WHERE = {
    "small_cnn": {"stages.0.2": AdapterPlace(4, 1), "stages.1.1": AdapterPlace(8, 1)},
    "resnet18": {
        "stem.1": AdapterPlace(64, 1),
        "layers.0.1.bn2": AdapterPlace(64, 1),
        "layers.1.1.bn2": AdapterPlace(128, 1),
        "layers.2.1.bn2": AdapterPlace(256, 1),
        "layers.3.1.bn2": AdapterPlace(512, 1),
    },
    "vit_b_16": {
        "net.conv_proj": AdapterPlace(8, 1),
        "net.encoder.layers.encoder_layer_0.self_attention": AdapterPlace(8, -1),
        "net.encoder.layers.encoder_layer_0.mlp.3": AdapterPlace(8, -1),
        "net.encoder.layers.encoder_layer_1.self_attention": AdapterPlace(8, -1),
        "net.encoder.layers.encoder_layer_1.mlp.3": AdapterPlace(8, -1),
    },
    "logmel_cnn": {
        "norms.0": AdapterPlace(2, 1),
        "norms.1": AdapterPlace(4, 1),
        "norms.2": AdapterPlace(8, 1),
        "project": AdapterPlace(16, -1),
    },
    "logmel_lstm": {
        "lstm.forwards.0": AdapterPlace(3, -1),
        "lstm.backwards.0": AdapterPlace(3, -1),
        "lstm.forwards.1": AdapterPlace(3, -1),
        "lstm.backwards.1": AdapterPlace(3, -1),
    },
    "mlp": {"layers.0.1": AdapterPlace(5, -1), "layers.1.1": AdapterPlace(6, -1)},
    "embedding_mean": {"words.embedding": AdapterPlace(6, -1)},
    "lstm": {
        "words.embedding": AdapterPlace(4, -1),
        "lstm.forwards.0": AdapterPlace(3, -1),
        "lstm.backwards.0": AdapterPlace(3, -1),
    },
    "text_cnn": {
        "words.embedding": AdapterPlace(4, -1),
        "convolutions.0": AdapterPlace(3, 1),
        "convolutions.1": AdapterPlace(2, 1),
        "convolutions.2": AdapterPlace(2, 1),
    },
    "tfidf": {"layers.0": AdapterPlace(6, -1)},
}


@STATED
def test_where_bottlenecks_stand(name: str) -> None:
    encoder = make(name)
    assert find_places(encoder) == WHERE[name]
    assert add("bottleneck", encoder) == tuple(WHERE[name])
    for where, place in WHERE[name].items():
        adapter = encoder.get_submodule(f"{where}.adapter")
        assert (adapter.up.out_features, adapter.axis) == (place.features, place.axis)


class Unstated(nn.Module):
    """An encoder that says nothing of its depths, and holds layers in many ways."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(2, 3, 1), nn.GroupNorm(1, 3), nn.ReLU())
        self.many = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.GRU(3, 5, bidirectional=True)})
        self.layer = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.free = nn.Parameter(torch.zeros(2))


def test_places_in_an_encoder_that_states_no_depths() -> None:
    assert find_places(Unstated()) == {
        "first.1": AdapterPlace(3, 1),
        "many.a": AdapterPlace(4, -1),
        "many.b": AdapterPlace(10, -1),
        "norm": AdapterPlace(4, -1),
    }
    names = add_lora(Unstated(), rank=1, alpha=1.0)
    assert names == (
        "first.0.weight",
        "many.a.weight",
        "many.b.weight_ih_l0",
        "many.b.weight_hh_l0",
        "many.b.weight_ih_l0_reverse",
        "many.b.weight_hh_l0_reverse",
        "layer.weight",
    )


@BOTH
def test_nothing_to_adapt(kind: str) -> None:
    holder = nn.Sequential(nn.LayerNorm(3), nn.ReLU(), nn.ParameterList([torch.zeros(3)]))
    assert add(kind, holder) == ()
    assert not adapters(holder)


@pytest.mark.parametrize("several", [False, True])
def test_attention_of_unequal_widths_has_matrices_of_its_own(several: bool) -> None:
    options: dict[str, Any] = {"kdim": 3, "vdim": 2} if several else {}
    names = add_lora(nn.MultiheadAttention(4, 2, **options), rank=1, alpha=1.0)
    own = ("q_proj_weight", "k_proj_weight", "v_proj_weight") if several else ("in_proj_weight",)
    assert names == (*own, "out_proj.weight")


@SMALL
@BOTH
def test_an_adapted_encoder_is_copied_saved_and_loaded(
    name: str, kind: str, tmp_path: Path
) -> None:
    encoder, (x, lengths) = make(name), inputs(name)
    add(kind, encoder)
    move(encoder)
    encoder.train()(x, lengths).pooled.sum().backward()  # a step's graph must not be in the way
    twin = copy.deepcopy(encoder)
    path = tmp_path / "encoder.safetensors"
    checkpoint.write_checkpoint(path, encoder.state_dict(), {})
    other = make(name)
    add(kind, other)
    other.load_state_dict(checkpoint.read_checkpoint(path)[0])
    own = {id(parameter) for parameter in encoder.parameters()}
    assert not own & {id(parameter) for parameter in twin.parameters()}
    want = encoder.eval()(x, lengths)
    for each in (twin, other):
        for one, two in zip(tensors(each.eval()(x, lengths)), tensors(want), strict=True):
            assert torch.equal(one, two)


@SMALL
def test_plain_names(name: str) -> None:
    encoder = make(name)
    before = set(encoder.state_dict())
    add("lora", encoder)
    after = {base_name(n) for n in encoder.state_dict()}
    own = {f"{where}.{part}" for where in adapters(encoder) for part in ("up", "down")}
    assert after - own == before


@BOTH
def test_an_adapted_encoder_compiles(kind: str) -> None:
    encoder, (x, lengths) = make("mlp"), inputs("mlp")
    add(kind, encoder)
    move(encoder)
    want = encoder(x, lengths)
    encoder.compile(dynamic=True, backend="eager")
    got = encoder(x, lengths)
    assert torch.equal(got.pooled, want.pooled)
    got.pooled.sum().backward()
    assert all(p.grad is not None for each in adapters(encoder).values() for p in each.parameters())


def test_a_weight_that_is_updated_is_no_copy() -> None:
    layer = nn.Linear(2, 2)
    weight = layer.weight
    add_lora(layer, rank=1, alpha=1.0)
    assert parametrize.is_parametrized(layer, "weight")
    assert layer.parametrizations.weight.original is weight
