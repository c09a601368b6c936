"""DELTA: where the maps are, what a channel is worth, and the distance of maps."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from refusals import check_error
from torch import Tensor, nn

from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.audio.logmel_lstm import LogmelLstm
from mmx.encoders.audio.spectrogram_cnn import SpectrogramCnn
from mmx.encoders.audio.spectrogram_resnet18 import SpectrogramResNet18
from mmx.encoders.image.resnet import ResNet18
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.image.vit_b_16 import VitB16
from mmx.encoders.tabular.mlp import Mlp
from mmx.encoders.text.embedding_mean import EmbeddingMean
from mmx.encoders.text.lstm import Lstm
from mmx.encoders.text.text_cnn import TextCnn
from mmx.errors import TransferError
from mmx.modalities import Batch, Features
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TokenSpec
from mmx.transfer.regularizers import channel_weights as worth
from mmx.transfer.regularizers.channel_weights import HEAD_RIDGE, weigh_channels
from mmx.transfer.regularizers.delta import map_distance
from mmx.transfer.regularizers.maps import Map, compute_maps, find_stages

IMAGES, SOUNDS = ImageSpec(8, 8), AudioSpec(8000, 900)
WORDS = TokenSpec(("stone", "river"), 4)
TABLE = TabularSpec(("a", "b"), (0.0, 0.0), (1.0, 1.0), (), ())

CNN = partial(SmallCnn, IMAGES, width=8, depth=2)
VIT = partial(VitB16, IMAGES, layers=6, heads=2, width=8, mlp_width=8)
LOGMEL = partial(LogmelCnn, SOUNDS, width=16, mels=8)
SPECTRAL = partial(SpectrogramCnn, SOUNDS, width=8, depth=2, mels=8)
SPECTRAL_RESNET = partial(SpectrogramResNet18, SOUNDS, mels=16)
MLP = partial(Mlp, TABLE, width=6, hidden=5)
MEAN = partial(EmbeddingMean, WORDS, width=5)
LSTM = partial(LogmelLstm, SOUNDS, width=4, mels=8)
TEXT_CNN = partial(TextCnn, WORDS, width=6, embedding=4)
ENCODERS = {
    "cnn": CNN,
    "vit": VIT,
    "logmel": LOGMEL,
    "spectral": SPECTRAL,
    "mlp": MLP,
    "mean": MEAN,
    "lstm": LSTM,
    "text_cnn": TEXT_CNN,
}


def make(kind: str) -> nn.Module:
    torch.manual_seed(1)
    return ENCODERS[kind]().double().eval().requires_grad_(False)


def inputs(kind: str, rows: int, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    draw = torch.Generator().manual_seed(seed)
    if kind in ("cnn", "vit"):
        return torch.rand(rows, 3, 8, 8, generator=draw, dtype=torch.float64), None
    if kind == "mlp":
        return torch.randn(rows, TABLE.width, generator=draw, dtype=torch.float64), None
    if kind in ("logmel", "lstm", "spectral", "spectral_resnet"):
        x = torch.rand(rows, 900, generator=draw, dtype=torch.float64) - 0.5
        lengths = torch.randint(200, 900, (rows,), generator=draw)
        return x * (torch.arange(900) < lengths[:, None]), lengths
    ids = torch.randint(1, 4, (rows, 4), generator=draw)
    return ids, torch.randint(1, 5, (rows,), generator=draw)


# --- where the maps are ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "names"),
    [
        (CNN, ["stages.0", "stages.1"]),
        (partial(ResNet18, IMAGES), ["layers.0", "layers.1", "layers.2", "layers.3"]),
        (VIT, [f"net.encoder.layers.encoder_layer_{k}" for k in (1, 2, 4, 5)]),
        (LOGMEL, ["norms.0", "norms.1", "norms.2"]),
        (SPECTRAL, ["stages.0", "stages.1"]),
        (SPECTRAL_RESNET, ["layers.0", "layers.1", "layers.2", "layers.3"]),
        (MLP, ["layers.0", "layers.1"]),
        (MEAN, [""]),
        (LSTM, [""]),
        (TEXT_CNN, [""]),
        (partial(Lstm, WORDS, width=4), [""]),
    ],
    ids=lambda each: getattr(getattr(each, "func", None), "__name__", None),
)
def test_stages(encoder, names):
    with torch.device("meta"):
        made = encoder()
    assert [
        each for stage in find_stages(made) for each, m in made.named_modules() if m is stage
    ] == (names)


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("cnn", [(4, 16), (8, 16)]),
        ("vit", [(8, 5)] * 4),
        ("mlp", [(5, 1), (6, 1)]),
        ("mean", [(5, 1)]),
        ("logmel", [(2, 24), (4, 6), (8, 3)]),
    ],
)
def test_maps_have_channels_and_positions(kind, shapes):
    encoder = make(kind)
    maps = compute_maps(encoder, *inputs(kind, 3))
    assert [tuple(each.values.shape[1:]) for each in maps] == shapes
    assert not any(each.values.requires_grad for each in maps)
    assert not any(module._forward_hooks for module in encoder.modules())


def test_tokens_of_a_transformer_are_positions():
    encoder = make("vit")
    x, _ = inputs("vit", 2)
    said = []
    handle = encoder.net.encoder.layers[1].register_forward_hook(lambda m, a, out: said.append(out))
    found = compute_maps(encoder, x, None)[0]
    handle.remove()
    assert torch.equal(found.values, said[0].transpose(1, 2))


# --- distance of maps -----------------------------------------------------------------------


def naive_distance(new: Map, old: Map, weight: Tensor) -> Tensor:
    n, channels, positions = new.values.shape
    total = torch.zeros((), dtype=torch.float64)
    for i in range(n):
        valid = [p for p in range(positions) if new.valid is None or new.valid[i, p]]
        for c in range(channels):
            squares = sum((new.values[i, c, p] - old.values[i, c, p]) ** 2 for p in valid)
            total = total + weight[c] * channels / len(valid) * squares / 2 / n
    return total


@pytest.mark.parametrize("masked", [False, True])
def test_map_distance(masked):
    torch.manual_seed(3)
    valid = torch.tensor([[True, False, True], [True, True, True]]) if masked else None
    new = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    old, weight = torch.randn(2, 4, 3).double(), torch.randn(4).softmax(0).double()
    found = map_distance(Map(new, valid), Map(old, valid), weight)
    expected = naive_distance(Map(new, valid), Map(old, valid), weight)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    (one,), (other,) = torch.autograd.grad(found, new), torch.autograd.grad(expected, new)
    torch.testing.assert_close(one, other, rtol=1e-10, atol=0)
    if masked:
        assert torch.equal(one[0, :, 1], torch.zeros(4, dtype=torch.float64))


# --- what a channel is worth ----------------------------------------------------------------


def make_context(parts: list[Batch], kind: str = "classes", seed: int = 4) -> SimpleNamespace:
    return SimpleNamespace(rows=lambda: iter(parts), kind=kind, outputs=3, seed=seed)


def batch_of(kind: str, rows: int, seed: int, target: Tensor | None = None) -> Batch:
    x, lengths = inputs(kind, rows, seed)
    present = torch.arange(rows) % 4 != 1
    if x.is_floating_point():
        x[~present] = torch.nan
    y = torch.arange(rows) % 3 if target is None else target
    return Batch({"m": x}, {} if lengths is None else {"m": lengths}, {"m": present}, y)


def naive_weights(encoder: nn.Module, parts: list[Batch], y_of, chosen: list[int]) -> list[Tensor]:
    """One pass for each channel and row; the head by augmented least squares."""
    rows = []
    for part in parts:
        for i in part.present["m"].nonzero().squeeze(1).tolist():
            lengths = part.lengths["m"][i : i + 1] if part.lengths else None
            rows.append((part.inputs["m"][i : i + 1], lengths, y_of(part.target[i])))
    pooled = torch.cat([encoder(x, lengths).pooled for x, lengths, _ in rows])
    targets = torch.stack([y for *_, y in rows])
    mean, centre = pooled.mean(0), targets.mean(0)
    variance = (pooled - mean).square().mean()
    eye = torch.eye(pooled.shape[1], dtype=torch.float64)
    penalised = torch.cat([pooled - mean, (len(rows) * HEAD_RIDGE * variance).sqrt() * eye])
    wanted = torch.cat([targets - centre, torch.zeros(pooled.shape[1], targets.shape[1])])
    weight = torch.linalg.lstsq(penalised, wanted).solution

    def loss(each) -> float:
        x, lengths, y = each
        return ((encoder(x, lengths).pooled[0] - mean) @ weight + centre - y).square().sum().item()

    found = []
    for stage in find_stages(encoder):
        said = []
        handle = stage.register_forward_hook(lambda m, a, out, said=said: said.append(out))
        loss(rows[0])
        handle.remove()
        pooled_stage = isinstance(said[0], Features)
        axis = 2 if not pooled_stage and said[0].ndim == 3 else 1
        channels = (said[0].pooled if pooled_stage else said[0]).shape[axis]
        rises = []
        for c in range(channels):

            def zeroed(module, args, out, c=c, axis=axis, pooled_stage=pooled_stage):
                changed = (out.pooled if pooled_stage else out).clone()
                changed.select(axis, c).zero_()
                return replace(out, pooled=changed) if pooled_stage else changed

            before = sum(loss(rows[i]) for i in chosen) / len(chosen)
            handle = stage.register_forward_hook(zeroed)
            rises.append(sum(loss(rows[i]) for i in chosen) / len(chosen) - before)
            handle.remove()
        rise = torch.tensor(rises, dtype=torch.float64)
        scaled = (rise - rise.mean()) / ((rise - rise.mean()) ** 2).mean().sqrt()
        found.append(scaled.exp() / scaled.exp().sum())
    return found


def one_hot(y: Tensor) -> Tensor:
    return torch.eye(3, dtype=torch.float64)[y]


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_channel_weights(monkeypatch, kind):
    monkeypatch.setattr(worth, "ROWS_A_PASS", 9)  # so that channels come in several groups
    encoder = make(kind)
    parts = [batch_of(kind, rows, seed) for rows, seed in ((7, 1), (1, 2), (6, 3))]
    total = sum(int(part.present["m"].sum()) for part in parts)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(4)).tolist()
    found = weigh_channels(make_context(parts), encoder, "m", 6)
    expected = naive_weights(encoder, parts, one_hot, order[:6])
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
        assert one.sum().item() == pytest.approx(1.0)
    assert not any(m._forward_hooks or "forward" in vars(m) for m in encoder.modules())


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_how_many_channels_are_tried_at_once_is_nothing(monkeypatch, at_once):
    encoder, parts = make("cnn"), [batch_of("cnn", 9, 1)]
    expected = weigh_channels(make_context(parts), encoder, "m", 64)
    monkeypatch.setattr(worth, "ROWS_A_PASS", at_once)
    for one, other in zip(
        weigh_channels(make_context(parts), encoder, "m", 64), expected, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "target", "y_of"),
    [
        ("regression", torch.linspace(-1, 1, 9).double(), lambda y: y[None]),
        ("multilabel", (torch.arange(18).view(9, 2) % 5 < 2).double(), lambda y: y),
    ],
)
def test_targets_that_are_no_classes(kind, target, y_of):
    encoder, parts = make("mlp"), [batch_of("mlp", 9, 1, target)]
    rows = list(range(int(parts[0].present["m"].sum())))
    found = weigh_channels(make_context(parts, kind), encoder, "m", 64)
    for one, other in zip(found, naive_weights(encoder, parts, y_of, rows), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_rows_are_drawn_by_the_seed():
    encoder, parts = make("cnn"), [batch_of("cnn", 20, 1)]
    one, again, other = (
        weigh_channels(make_context(parts, seed=seed), encoder, "m", 4)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_channels_that_are_all_alike_weigh_the_same():
    encoder = make("mlp")
    for parameter in encoder.parameters():
        parameter.zero_()
    (first, second) = weigh_channels(make_context([batch_of("mlp", 6, 1)]), encoder, "m", 6)
    torch.testing.assert_close(first, torch.full((5,), 0.2, dtype=torch.float64))
    torch.testing.assert_close(second, torch.full((6,), 1 / 6, dtype=torch.float64))


# --- the penalty ----------------------------------------------------------------------------


def test_penalty(world, bound):
    here = world()
    penalty = bound(here, "delta", strength=0.3, probe_rows=12)
    expected = torch.zeros((), dtype=torch.float64)
    for name in ("image", "tabular"):
        x = here.batch.inputs[name][here.batch.present[name]]
        weights = weigh_channels(here.make_context(), here.reference.encoder(name), name, 12)
        pairs = zip(
            compute_maps(here.model.encoders[name], x, None),
            compute_maps(here.source.encoders[name], x, None),
            weights,
            strict=True,
        )
        expected += sum(naive_distance(*each) for each in pairs) / 2
    found = penalty(here.step())
    torch.testing.assert_close(found.detach(), 0.3 * expected, rtol=1e-10, atol=0)


def test_the_target_may_be_in_training_mode_and_the_source_is_not(world, bound):
    here = world(moved=0.0)
    penalty = bound(here, "delta")
    here.model.train()
    penalty.train()
    assert penalty(here.step()) > 0.01  # batch statistics are not the moving ones
    assert not here.source.training


def test_watching_changes_nothing_and_holds_nothing(world, bound):
    here = world()
    plain = here.step().outputs
    penalty = bound(here, "delta")
    step = here.step()
    assert torch.equal(step.outputs, plain)
    penalty(step)
    assert all(not recorder._maps for recorder in penalty.recorders.values())
    with torch.no_grad():
        here.step()
    assert all(not recorder._maps for recorder in penalty.recorders.values())
    copied = copy.deepcopy(here.model)
    copied(here.batch)  # a copy is not watched
    assert copied.state_dict().keys() == here.model.state_dict().keys()


def test_frozen_encoders_with_features_are_left_out(world, bound):
    here = world()
    penalty = bound(here, "delta")
    both = penalty(here.step())
    inputs = {k: x for k, x in here.batch.inputs.items() if k != "image"}
    features = {"image": here.model.encode(here.batch)["image"].map(Tensor.detach)}
    penalty.recorders["image"].take()
    alone = penalty(here.step(replace(here.batch, inputs=inputs, features=features)))
    image = bound(here, "delta")
    only = {"image": here.batch.inputs["image"]}
    step = here.step()
    rest = image(replace(step, batch=replace(step.batch, inputs=only)))
    torch.testing.assert_close((alone + rest) / 2, both)


def test_a_target_all_of_whose_features_are_there_has_nothing_to_hold(world, regularizer):
    here = world()
    cached = replace(here.batch, inputs={"text": here.batch.inputs["text"]})
    with pytest.raises(TransferError) as caught:
        regularizer("delta").bind(here.make_context(rows=lambda: iter([cached])))
    check_error(caught.value, "regularizer=delta", "encoder", "source", types=("regularizer=none",))


def test_encoders_of_other_shapes_are_refused(world, bound):
    here = world()
    torch.manual_seed(1)
    here.source.encoders["image"] = SmallCnn(IMAGES, width=8, depth=1).double().eval()
    penalty = bound(here, "delta")
    with pytest.raises(TransferError) as caught:
        penalty(here.step())
    check_error(caught.value, "regularizer=delta", "4", "16", "8", "64", types=("regularizer=rkd",))


@pytest.mark.parametrize("made", [SPECTRAL, SPECTRAL_RESNET])
def test_every_stage_of_a_spectrogram_has_a_map(made):
    encoder = made().double().eval().requires_grad_(False)
    x, lengths = inputs("spectral", 2)
    maps = compute_maps(encoder, x, lengths)
    assert [each.values.shape[1] for each in maps] == list(encoder.level_widths)
    for each, level in zip(maps, encoder(x, lengths).levels, strict=True):
        torch.testing.assert_close(each.mean(each.values), level)


def test_stages_that_are_gone_around_are_refused():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList(nn.Sequential(nn.Linear(TABLE.width, 3)) for _ in "ab")

        def forward(self, x, lengths=None):
            first, second = self.stages
            pooled = first(x) + second[0](x)
            return Features(pooled[:, None], torch.ones(len(x), 1).bool(), pooled)

    with pytest.raises(TransferError) as caught:
        weigh_channels(make_context([batch_of("mlp", 6, 1)]), Around().double().eval(), "m", 6)
    check_error(
        caught.value, "regularizer=delta", "1", "2 stages", "Around", types=("regularizer=rkd",)
    )


@pytest.mark.parametrize("kind", ["logmel", "spectral"])
def test_padding_of_sounds_counts_nothing(kind):
    encoder, source = make(kind), make(kind)
    for parameter in encoder.parameters():
        parameter.add_(0.1)
    x, lengths = inputs("logmel", 4)
    longer = torch.nn.functional.pad(x, (0, 400))
    values = []
    for sound in (x, longer):
        pairs = zip(
            compute_maps(encoder, sound, lengths), compute_maps(source, sound, lengths), strict=True
        )
        weight = torch.full((16,), 1 / 16, dtype=torch.float64)
        values.append([map_distance(a, b, weight[: a.values.shape[1]]) for a, b in pairs])
    assert values[0][0] > 0
    for one, other in zip(*values, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
