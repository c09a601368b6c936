"""Sparsity patterns, and the mode that lays them over fresh weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import check_error, check_notes
from torch import Tensor, nn

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
from mmx.errors import Interrupted, TransferError
from mmx.fusion import Fusion
from mmx.fusion.concat import Concat
from mmx.fusion.gated import Gated
from mmx.fusion.late_weighted import LateWeighted
from mmx.mapping.linear import Linear
from mmx.mapping.pca import Pca
from mmx.modalities import Spec
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TfidfSpec, TokenSpec
from mmx.model import MultimodalModel, Parts
from mmx.training.optimizer import AdamW, Sgd
from mmx.transfer import Source, Start
from mmx.transfer.regularizers.mmd import Mmd
from mmx.transfer.regularizers.rkd import Rkd
from mmx.transfer.sparsity import PATTERNS, Layer, find_layers
from mmx.transfer.sparsity.channel import Channel
from mmx.transfer.sparsity.magnitude import Magnitude
from mmx.transfer.sparsity.n_m import NOfM
from mmx.transfer.structure import Structure

CLASSES = ("low", "middle", "high")
SPARSE = pytest.mark.parametrize("sparsity", PATTERNS)
SHAPES = st.lists(st.integers(1, 7), min_size=2, max_size=4)


def drawn(shape: list[int], seed: int) -> Tensor:
    """Return weights of few distinct sizes, so that some are equal."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-3, 4, shape)).float()


def mask_of(pattern: Any, weight: Tensor) -> Tensor:
    return pattern.masks(Layer(("w",)), {"w": weight})["w"]


def first_largest(sizes: list[float], count: int) -> list[bool]:
    """Return which of the sizes are among the largest, by a sort that keeps the first of equals."""
    order = sorted(range(len(sizes)), key=lambda k: (-sizes[k], k))
    return [k in order[:count] for k in range(len(sizes))]


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, amount=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_magnitude_keeps_the_largest_of_a_layer(shape: list[int], amount: float, seed: int) -> None:
    weight = drawn(shape, seed)
    mask = mask_of(Magnitude(amount), weight)
    count = weight.numel() - round(amount * weight.numel())
    wanted = first_largest([abs(v) for v in weight.flatten().tolist()], count)
    assert mask.flatten().tolist() == wanted
    assert (mask.shape, mask.dtype) == (weight.shape, torch.bool)


@settings(max_examples=100, deadline=None)
@given(shape=SHAPES, m=st.integers(2, 5), data=st.data(), seed=st.integers(0, 9))
def test_n_of_m_keeps_the_largest_of_each_group_of_inputs(
    shape: list[int], m: int, data: st.DataObject, seed: int
) -> None:
    n = data.draw(st.integers(1, m - 1))
    weight = drawn(shape, seed)
    mask = mask_of(NOfM(n, m), weight)
    assert (mask.shape, mask.dtype) == (weight.shape, torch.bool)
    assert mask.is_contiguous()
    for out in range(shape[0]):
        for position in np.ndindex(*shape[2:]):
            row = [abs(weight[(out, k, *position)].item()) for k in range(shape[1])]
            kept = [bool(mask[(out, k, *position)]) for k in range(shape[1])]
            for first in range(0, shape[1], m):
                assert kept[first : first + m] == first_largest(row[first : first + m], n)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, amount=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_channel_keeps_the_outputs_of_largest_norm(
    shape: list[int], amount: float, seed: int
) -> None:
    weight = drawn(shape, seed)
    mask = mask_of(Channel(amount), weight)
    norms = [sum(v * v for v in weight[c].flatten().tolist()) for c in range(shape[0])]
    count = max(1, shape[0] - round(amount * shape[0]))
    for c, stays in enumerate(first_largest(norms, count)):
        assert mask[c].all() if stays else not mask[c].any()


def test_two_of_four_by_hand() -> None:
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.0, 0.1, 5.0, 0.2, 9.0, 1.0]])
    assert mask_of(NOfM(2, 4), weight).int().tolist() == [[0, 1, 1, 0, 0, 0, 1, 1, 1, 1]]
    kernel = torch.zeros(1, 4, 1, 2)
    kernel[0, :, 0, 0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    kernel[0, :, 0, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    mask = mask_of(NOfM(1, 2), kernel)
    assert mask[0, :, 0, 0].int().tolist() == [1, 0, 1, 0]
    assert mask[0, :, 0, 1].int().tolist() == [0, 1, 0, 1]


def test_a_recurrent_unit_goes_with_all_its_gates() -> None:
    layer = Layer(("ih", "hh"), ("b",), gates=4)
    tensors = {"ih": torch.zeros(8, 3), "hh": torch.zeros(8, 2), "b": torch.ones(8)}
    tensors["ih"][3, 0] = 2.0  # gate 1 of unit 1
    tensors["hh"][6, 1] = 2.1  # gate 3 of unit 0
    masks = Channel(0.5).masks(layer, tensors)
    for name, mask in masks.items():
        assert mask.shape == tensors[name].shape
        flat = mask.view(4, 2, -1)
        assert flat[:, 0].all()
        assert not flat[:, 1].any()


TOKENS = TokenSpec(("stone", "river"), 4)
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "small_cnn": lambda: SmallCnn(ImageSpec(8, 8), width=8, depth=2),
    "resnet18": lambda: ResNet18(ImageSpec(8, 8)),
    "vit_b_16": lambda: VitB16(ImageSpec(8, 8), layers=1, heads=2, width=8, mlp_width=12),
    "logmel_cnn": lambda: LogmelCnn(AudioSpec(8000, 800), width=16, mels=8),
    "logmel_lstm": lambda: LogmelLstm(AudioSpec(8000, 800), width=6, mels=8),
    "mlp": lambda: Mlp(TabularSpec(("a",), (0.0,), (1.0,), (), ()), width=6, hidden=5),
    "embedding_mean": lambda: EmbeddingMean(TOKENS, width=6),
    "lstm": lambda: Lstm(TOKENS, width=6, embedding=4, layers=2),
    "text_cnn": lambda: TextCnn(TOKENS, width=7, embedding=4),
    "tfidf": lambda: Tfidf(TfidfSpec(("stone",), (1.0,), 1), width=6),
}


def with_norm(weight: str, norm: str) -> Layer:
    return Layer((f"{weight}.weight",), (f"{norm}.weight", f"{norm}.bias"))


def lstms(*names: str) -> list[Layer]:
    return [
        Layer(
            (f"{name}.weight_ih_l0", f"{name}.weight_hh_l0"),
            (f"{name}.bias_ih_l0", f"{name}.bias_hh_l0"),
            gates=4,
        )
        for name in names
    ]


def blocks() -> Iterator[Layer]:
    for stage in range(4):
        for block in range(2):
            here = f"layers.{stage}.{block}"
            yield with_norm(f"{here}.conv1", f"{here}.bn1")
            yield with_norm(f"{here}.conv2", f"{here}.bn2")
            if stage and not block:
                yield with_norm(f"{here}.downsample.0", f"{here}.downsample.1")


VIT = "net.encoder.layers.encoder_layer_0"
LAYERS: dict[str, list[Layer]] = {
    "small_cnn": [with_norm("stages.1.0", "stages.1.1")],
    "resnet18": list(blocks()),
    "vit_b_16": [
        Layer((f"{VIT}.self_attention.in_proj_weight",), (f"{VIT}.self_attention.in_proj_bias",)),
        *(
            Layer((f"{VIT}.{name}.weight",), (f"{VIT}.{name}.bias",))
            for name in ("self_attention.out_proj", "mlp.0", "mlp.3")
        ),
    ],
    "logmel_cnn": [
        with_norm("convolutions.1", "norms.1"),
        with_norm("convolutions.2", "norms.2"),
        Layer(("project.weight",), ("project.bias",)),
    ],
    "logmel_lstm": lstms("lstm.forwards.0", "lstm.backwards.0"),
    "mlp": [
        Layer(("layers.1.0.weight",), ("layers.1.0.bias", "layers.1.1.weight", "layers.1.1.bias"))
    ],
    "embedding_mean": [],
    "lstm": lstms("lstm.forwards.0", "lstm.backwards.0", "lstm.forwards.1", "lstm.backwards.1"),
    "text_cnn": [
        Layer((f"convolutions.{k}.weight",), (f"convolutions.{k}.bias",)) for k in range(3)
    ],
    "tfidf": [Layer(("layers.0.weight",), ("layers.0.bias",))],
}


@pytest.mark.parametrize("name", list(ENCODERS))
def test_which_layers_may_be_sparse(name: str) -> None:
    encoder = ENCODERS[name]()
    assert find_layers(encoder, "") == LAYERS[name]
    assert find_layers(encoder, "encoders.x.") == [
        Layer(
            tuple(f"encoders.x.{each}" for each in layer.weights),
            tuple(f"encoders.x.{each}" for each in layer.per_output),
            layer.gates,
        )
        for layer in LAYERS[name]
    ]
    state = encoder.state_dict()
    assert all(
        each in state for layer in LAYERS[name] for each in (*layer.weights, *layer.per_output)
    )


def test_layers_of_all_kinds() -> None:
    several = nn.ModuleDict(
        {
            "gru": nn.GRU(3, 2, num_layers=2, bidirectional=True, bias=False),
            "attention": nn.MultiheadAttention(4, 2, kdim=3, vdim=2, bias=False),
            "before": nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)),
            "apart": nn.LayerNorm(4),  # of what nobody knows
        }
    )
    ends = ("l0", "l0_reverse", "l1", "l1_reverse")
    assert find_layers(several, "") == [
        *(Layer((f"gru.weight_ih_{end}", f"gru.weight_hh_{end}"), (), gates=3) for end in ends),
        *(Layer((f"attention.{each}_proj_weight",)) for each in "qkv"),
        Layer(("attention.out_proj.weight",)),
        Layer(("before.1.weight",), ("before.1.bias",)),
    ]


SPECS: dict[str, Spec] = {
    "image": ImageSpec(8, 8),
    "tabular": TabularSpec(("a", "b"), (0.0, 0.0), (1.0, 1.0), (), ()),
}
FUSION = partial(Concat, hidden=6)


def make(
    seed: int,
    specs: dict[str, Spec] = SPECS,
    fusion: Callable[..., Fusion] = FUSION,
    width: int = 8,
) -> MultimodalModel:
    torch.manual_seed(seed)
    encoders: dict[str, Callable[..., Encoder]] = {
        "image": partial(SmallCnn, width=width, depth=2),
        "tabular": partial(Mlp, width=8, hidden=8),
        "text": partial(EmbeddingMean, width=8),
    }
    return MultimodalModel(specs, encoders, fusion, len(CLASSES))


def source(seed: int = 1, **options: Any) -> Source:
    return Source(make(seed, **options).state_dict(), CLASSES)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


WEIGHTS = {"encoders.image.stages.1.0.weight": 4 * 9, "encoders.tabular.layers.1.0.weight": 8}


@SPARSE
def test_fresh_values_stand_where_the_source_is_large(sparsity: str) -> None:
    model, given = make(2), source()
    before = state(model)
    start = Structure(sparsity=sparsity).start(given, model, CLASSES)
    assert start.report.density == dict.fromkeys(WEIGHTS, 0.5)
    for name, tensor in model.state_dict().items():
        mask = start.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor, torch.where(mask, before[name], torch.zeros_like(tensor))), name
    for name in WEIGHTS:
        kept, gone = (
            given.state[name][start.masks[name] == stays].abs() for stays in (True, False)
        )
        assert kept.mean() > gone.mean()
    rows = [start.masks[name].flatten(1) for name in WEIGHTS]
    whole_outputs = all(torch.equal(row.any(1), row.all(1)) for row in rows)
    assert whole_outputs or sparsity != "channel"
    others = {name for name in start.masks if name not in WEIGHTS}
    assert others == (
        {f"encoders.image.stages.1.1.{part}" for part in ("weight", "bias")}
        | {f"encoders.tabular.layers.1.{k}.{part}" for k in "01" for part in ("weight", "bias")}
        - {"encoders.tabular.layers.1.0.weight"}
        if whole_outputs
        else set()
    )
    assert start.report.counts() == {"copied": 0, "adapted": 0, "frozen": 0, "fresh": len(before)}
    assert (start.frozen, start.rates, start.weight_decay) == (frozenset(), {}, True)
    check_notes(
        start.report.notes,
        ("144", "288 weights", "1 layer", sparsity),
        ("32", "64 weights", "1 layer", sparsity),
    )


def test_a_channel_that_goes_answers_nothing() -> None:
    model = make(2)
    start = Structure(sparsity="channel", amount=0.25).start(source(), model, CLASSES)
    keep = start.masks["encoders.image.stages.1.1.weight"]
    assert keep.sum() == 6
    features = model.train().encoders["image"](torch.rand(5, 3, 8, 8))
    assert not features.tokens[:, :, ~keep].any()
    assert features.tokens[:, :, keep].amax((0, 1)).gt(0).all()


def test_a_recurrent_unit_that_goes_answers_nothing() -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(3, 4, batch_first=True)
    masks = Channel(0.5).masks(find_layers(layer, "")[0], layer.state_dict())
    for name, mask in masks.items():
        layer.state_dict()[name].masked_fill_(~mask, 0.0)
    gone = ~masks["weight_ih_l0"].view(4, 4, 3).any(2)[0]
    out = layer(torch.randn(2, 5, 3))[0]
    assert not out[:, :, gone].any()
    assert out[:, :, ~gone].ne(0).all()


def test_options_reach_the_patterns() -> None:
    ways = {
        "a quarter goes": (Structure(sparsity="magnitude", amount=0.25), 0.75),
        "1:4": (Structure(sparsity="n_m", n=1), 0.25),
        "2:8": (Structure(sparsity="n_m", m=8), None),
        "an eighth of channels": (Structure(sparsity="channel", amount=0.125), 0.875),
    }
    for mode, part in ways.values():
        density = mode.start(source(), make(2), CLASSES).report.density
        if part is not None:
            assert density == dict.fromkeys(WEIGHTS, part)
        else:  # the kernel has four input channels: less than a group
            assert list(density.values()) == [0.5, 0.25]


def test_a_modality_that_the_source_lacks_stays_dense() -> None:
    mode = Structure(sparsity="magnitude")
    start = mode.start(source(specs={"image": SPECS["image"]}), make(2), CLASSES)
    assert list(start.report.density) == ["encoders.image.stages.1.0.weight"]
    check_notes(
        [start.report.notes[1]],
        ("1 layer", "encoders.tabular.layers.1.0.weight", "tabular", "encoder"),
    )
    with pytest.raises(TransferError) as caught:
        mode.start(source(width=16, specs={"image": SPECS["image"]}), make(2), CLASSES)
    check_error(
        caught.value,
        "transfer.sparsity=magnitude",
        "encoder",
        "source",
        types=("source", "modality"),
    )


def test_fusion_weights_and_fresh_encoders() -> None:
    model, given = make(2), source()
    before = state(model)
    start = Structure(fusion_weights=True).start(given, model, CLASSES)
    fusion = {name for name in before if name.startswith("fusion.")}
    assert set(start.report.copied) == fusion
    assert set(start.report.fresh) == before.keys() - fusion
    check_notes(start.report.notes, ("2", "2 fusion", "fusion"))
    assert (start.masks, start.report.density) == ({}, {})
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, given.state[name] if name in fusion else before[name])


def test_fusion_weights_go_with_their_modality() -> None:
    specs: dict[str, Spec] = {"image": SPECS["image"], "text": TOKENS}
    model = make(2, specs=specs, fusion=partial(Gated, width=4))
    before = state(model)
    given = source(fusion=partial(Gated, width=4))
    start = Structure(fusion_weights=True).start(given, model, CLASSES)
    assert start.report.copied
    assert all("image" in name.split(".") for name in start.report.copied)
    for name, tensor in model.state_dict().items():
        wanted = given.state if name in start.report.copied else before
        assert torch.equal(tensor, wanted[name])


def test_fusion_weights_without_the_rows_of_the_classes() -> None:
    deciding = partial(LateWeighted, alpha="learned")
    model = make(2, fusion=deciding)
    start = Structure(fusion_weights=True).start(source(fusion=deciding), model, CLASSES)
    assert start.report.copied
    assert not set(start.report.copied) & set(model.label_tensors)


@pytest.mark.parametrize(
    ("mapping", "copied"), [(None, True), (partial(Linear, width=8), True), (Pca, False)]
)
def test_a_fusion_stays_fresh_over_a_mapping_that_is_fitted_anew(
    mapping: Any, copied: bool
) -> None:
    def made(seed: int) -> MultimodalModel:
        torch.manual_seed(seed)
        encoders = {"tabular": partial(Mlp, width=8, hidden=8)}
        specs = {"tabular": SPECS["tabular"]}
        parts = Parts(mapping=mapping)
        return MultimodalModel(specs, encoders, partial(Gated, width=4), len(CLASSES), parts)

    given, model = made(1).state_dict(), made(2)
    if not copied:  # what was fitted to the source's rows is not offered
        given = {name: each for name, each in given.items() if not name.startswith("mapping.")}
    before = state(model)
    start = Structure(fusion_weights=True).start(Source(given, CLASSES), model, CLASSES)
    assert bool(start.report.copied) == copied
    if not copied:
        check_notes(start.report.notes, ("fusion", "fresh", "mapping"))
        assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
        assert set(start.report.fresh) == set(before)


def test_a_fusion_that_does_not_fit() -> None:
    with pytest.raises(TransferError) as caught:
        Structure(fusion_weights=True).start(source(fusion=Concat), make(2), CLASSES)
    check_error(
        caught.value,
        "transfer.fusion_weights=true",
        "fusion",
        "source",
        types=("source", "encoders"),
    )


def test_what_the_mode_needs() -> None:
    alone = Structure()
    assert (alone.needs, alone.takes_fusion(("image",))) == ("architecture", False)
    assert alone.regularizable == {"relations"}
    assert alone.holds(Rkd())
    assert not alone.holds(Mmd)  # in the source's axes, which fresh encoders do not have
    assert Structure(sparsity="n_m").needs == "weights"
    assert not Structure(sparsity="n_m").takes_fusion(("image", "text"))
    fusing = Structure(fusion_weights=True)
    assert (fusing.needs, fusing.takes_fusion(("image",))) == ("weights", True)
    for mode in (fusing, Structure(sparsity="channel")):
        with pytest.raises(TransferError) as caught:
            mode.start(None, make(2), CLASSES)
        check_error(caught.value, "source")


SET = r"(: set transfer\.\w+=\w+ or transfer\.\w+=null)?"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amount": 0.5}, "`amount` (=0.5) is read only where `sparsity` is channel or magnitude"),
        (
            {"sparsity": "n_m", "amount": 0.5},
            "`amount` (=0.5) is read only where `sparsity` is channel or magnitude",
        ),
        ({"sparsity": "magnitude", "n": 2}, "`n` (=2) is read only where `sparsity` is n_m"),
        ({"sparsity": "channel", "m": 8}, "`m` (=8) is read only where `sparsity` is n_m"),
        ({"sparsity": "n_m", "n": 4}, "`n` (=4) must be below `m` (=4): 4 of them stay"),
    ],
)
def test_options_that_nothing_would_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}{SET}$"):
        Structure(**options)


@pytest.mark.parametrize(
    ("mode", "model", "message"),
    [
        (
            Structure(sparsity="n_m"),
            lambda: make(2, specs={"text": TOKENS}),
            "transfer.sparsity=n_m: has nothing to prune: no encoder has a linear, "
            "convolutional, recurrent or attention layer\n"
            "  tip: transfer.sparsity=none",
        ),
        (
            Structure(fusion_weights=True),
            lambda: make(2, fusion=Concat),
            "transfer.fusion_weights=true: has nothing to take: this fusion has no weights but "
            "those of its outputs\n"
            "  tip: transfer.fusion_weights=false",
        ),
    ],
)
def test_models_without_what_the_options_speak_of(
    mode: Structure, model: Callable[[], MultimodalModel], message: str
) -> None:
    with pytest.raises(TransferError) as caught:
        mode.equip(model())
    assert str(caught.value) == message
    assert Structure().misfits(model()) == []


def started(mode: Structure) -> Callable[[MultimodalModel], Start]:
    """Return how a bench starts: from the pattern of another model of its kind."""

    def start(model: MultimodalModel) -> Start:
        draw = torch.Generator().manual_seed(8)
        drawn = {n: torch.randn(t.shape, generator=draw) for n, t in model.state_dict().items()}
        return mode.start(Source(drawn, CLASSES), model, CLASSES)

    return start


OPTIMIZERS = pytest.mark.parametrize(
    "optimizer", [AdamW(weight_decay=0.5), Sgd(lr=0.1, momentum=0.9)], ids=["adamw", "sgd"]
)


@SPARSE
@OPTIMIZERS
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_zeros_stay_zero_in_training(
    bench: Callable[..., Any], sparsity: str, optimizer: AdamW | Sgd, precision: str
) -> None:
    mode = Structure(sparsity=sparsity)
    made = bench(start=started(mode), optimizer=optimizer, precision=precision)
    began = state(made.model)
    start = started(mode)(make_like(made))
    made.fit()
    assert start.masks
    for name, tensor in made.model.state_dict().items():
        mask = start.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert not tensor[~mask].any(), name
        if tensor.is_floating_point():
            part = tensor[mask].ne(began[name][mask]).double().mean().item()
            assert part > 0.4, (name, part)  # all that is not behind a dead unit has moved


def make_like(made: Any) -> MultimodalModel:
    """Return another model of a bench, since a start writes into the one it is given."""
    model: MultimodalModel = made.make_model()
    return model


@SPARSE
def test_zeros_stay_zero_over_an_interruption(
    bench: Callable[..., Any], stop_after: type, sparsity: str
) -> None:
    start = started(Structure(sparsity=sparsity))
    whole = bench(start=start)
    whole.fit()
    with pytest.raises(Interrupted):
        bench(start=start).fit(stop_after(7))
    resumed = bench(start=start)
    resumed.fit()
    masks = start(make_like(resumed)).masks
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name])
        if name in masks:
            assert not tensor[~masks[name]].any()
    assert resumed.epochs() == [each for each in whole.epochs() if each[0] > 1]


def test_a_small_part_of_a_small_layer_is_nothing() -> None:
    assert mask_of(Magnitude(0.1), torch.ones(2, 2)).all()
    assert mask_of(Channel(0.9), torch.ones(2, 2)).int().tolist() == [[1, 1], [0, 0]]
    assert mask_of(Channel(0.99), torch.ones(1, 2)).all()
    assert math.isclose(mask_of(Magnitude(0.3), torch.ones(5, 2)).double().mean().item(), 0.7)
