"""The mode: what it copies, freezes and trains, and what real training leaves as it was."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
from refusals import Refusal, check_error, check_notes, check_refusals
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.encoders.audio.spectrogram_cnn import SpectrogramCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.errors import Interrupted, TransferError
from mmx.fusion.concat import Concat
from mmx.modalities import Batch, Features, Spec
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.model import MultimodalModel, set_training_mode
from mmx.training.optimizer import AdamW, Sgd
from mmx.transfer import Source, Start
from mmx.transfer.adapter import Adapter
from mmx.transfer.adapters import base_name
from mmx.transfer.parameter import Parameter

CLASSES = ("low", "middle", "high")
KINDS = ("lora", "bottleneck")
BOTH = pytest.mark.parametrize("kind", KINDS)
Kind = Literal["lora", "bottleneck"]


def table(*columns: str) -> TabularSpec:
    return TabularSpec(columns, (0.0,) * len(columns), (1.0,) * len(columns), (), ())


SPECS: dict[str, Spec] = {"image": ImageSpec(8, 8), "tabular": table("a", "b")}


def make(
    seed: int, mode: Adapter | None = None, specs: dict[str, Spec] = SPECS, layers: int = 2
) -> MultimodalModel:
    torch.manual_seed(seed)
    encoders: dict[str, Callable[..., Encoder]] = {
        "image": partial(SmallCnn, width=8, depth=2),
        "tabular": partial(Mlp, width=8, hidden=8, layers=layers),
        "audio": partial(SpectrogramCnn, width=8, depth=2, mels=8),
    }
    model = MultimodalModel(specs, encoders, partial(Concat, hidden=6), len(CLASSES))
    if mode is not None:
        mode.equip(model)
    return model


def source(specs: dict[str, Spec] = SPECS, layers: int = 2) -> Source:
    return Source(make(1, specs=specs, layers=layers).state_dict(), CLASSES)


def batch() -> Batch:
    draw = torch.Generator().manual_seed(5)
    inputs = {
        "image": torch.rand(4, 3, 8, 8, generator=draw),
        "tabular": torch.randn(4, 4, generator=draw),
    }
    present = {name: torch.ones(4, dtype=torch.bool) for name in inputs}
    return Batch(inputs, {}, present, torch.zeros(4, dtype=torch.int64))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def lists(start: Start) -> list[str]:
    report = start.report
    return sorted([*report.copied, *report.adapted, *report.frozen, *report.fresh])


def added(model: nn.Module) -> set[str]:
    parts = (".0.up", ".0.down", "adapter.up.weight", "adapter.up.bias", "adapter.down.weight")
    return {name for name in model.state_dict() if name.endswith((*parts, "adapter.down.bias"))}


AFFINE = {
    *(f"encoders.image.stages.{at}.{part}" for at in ("0.2", "1.1") for part in ("weight", "bias")),
    *(f"encoders.tabular.layers.{at}.1.{part}" for at in "01" for part in ("weight", "bias")),
}
STATISTICS = {
    f"encoders.image.stages.{at}.{part}"
    for at in ("0.2", "1.1")
    for part in ("running_mean", "running_var", "num_batches_tracked")
}


@BOTH
@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_what_is_frozen(kind: Kind, norms: bool, batch_norm: Literal["eval", "train"]) -> None:
    if batch_norm == "train" and not norms:
        return
    mode = Adapter(kind=kind, norms=norms, batch_norm=batch_norm)
    model, given = make(2, mode), source()
    before = state(model)
    start = mode.start(given, model, CLASSES)
    encoders = {n for n in before if n.startswith("encoders.")} - added(model)
    frozen = encoders - (AFFINE if norms else set())
    frozen -= STATISTICS if batch_norm == "train" else set()
    assert set(start.report.frozen) == frozen
    assert start.frozen == frozen & dict(model.named_parameters()).keys()
    assert set(start.report.fresh) == added(model)
    assert set(start.report.copied) == before.keys() - frozen - added(model)
    assert start.report.adapted == ()
    assert lists(start) == sorted(before)
    assert start.frozen_statistics == (
        {"encoders.image.stages.0.2", "encoders.image.stages.1.1"}
        if batch_norm == "eval"
        else frozenset()
    )
    assert (start.frozen_encoders, start.rates, start.thaw) == (frozenset(), {}, {})
    for name, tensor in model.state_dict().items():
        wanted = before[name] if name in added(model) else given.state[base_name(name)]
        assert torch.equal(tensor, wanted), name


@BOTH
def test_training_starts_where_parameter_transfer_does(kind: Kind) -> None:
    mode = Adapter(kind=kind)
    plainly, adapted = make(2), make(2, mode)
    Parameter().start(source(), plainly, CLASSES)
    mode.start(source(), adapted, CLASSES)
    assert torch.equal(plainly.eval()(batch()), adapted.eval()(batch()))
    assert added(adapted)


def test_what_a_model_draws_is_drawn_before_its_adapters() -> None:
    plainly, adapted = make(2).state_dict(), make(2, Adapter()).state_dict()
    for name, tensor in adapted.items():
        if base_name(name) in plainly:
            assert torch.equal(tensor, plainly[base_name(name)])


# lora of rank 2: kernels 4·(3·9) and 8·(4·9), matrices 8·4 and 8·8; bottlenecks of 3 units.
LORA = 2 * (4 + 27) + 2 * (8 + 36) + 2 * (8 + 4) + 2 * (8 + 8)
BOTTLENECKS = (2 * 4 * 3 + 3 + 4) + 3 * (2 * 8 * 3 + 3 + 8)
NORMS, BEHIND = 2 * 4 + 2 * 8 + 4 * 8, (16 * 6 + 6) + (6 * 3 + 3)
FROZEN = 4 * 27 + 8 * 36 + (4 * 8 + 8) + (8 * 8 + 8)


@pytest.mark.parametrize(
    ("mode", "adapters"),
    [(Adapter(rank=2), LORA), (Adapter(kind="bottleneck", width=3), BOTTLENECKS)],
)
def test_how_much_trains(mode: Adapter, adapters: int) -> None:
    model = make(2, mode)
    start = mode.start(source(), model, CLASSES)
    trained = [p.numel() for n, p in model.named_parameters() if n not in start.frozen]
    assert sum(trained) == adapters + NORMS + BEHIND
    assert sum(p.numel() for p in model.parameters()) == adapters + NORMS + BEHIND + FROZEN
    check_notes(
        start.report.notes, (mode.kind, f"{adapters:,}", f"{FROZEN:,}", "encoders", "frozen")
    )


def test_options_reach_the_adapters() -> None:
    update = make(2, Adapter(rank=3, alpha=6.0)).encoders["image"].stages[1][0]
    assert update.parametrizations.weight[0].scale == 2.0
    assert update.parametrizations.weight[0].up.shape == (8, 3)
    assert make(2, Adapter()).encoders["image"].stages[1][0].parametrizations.weight[0].scale == 2
    narrow = make(2, Adapter(kind="bottleneck", width=5)).encoders["image"].stages[1][1]
    assert narrow.adapter.down.out_features == 5


@BOTH
def test_an_encoder_that_the_source_lacks_is_trained_and_its_adapters_are_not(kind: Kind) -> None:
    mode = Adapter(kind=kind)
    model = make(2, mode)
    start = mode.start(source({"image": SPECS["image"]}), model, CLASSES)
    tabular = {n for n, _ in model.named_parameters() if n.startswith("encoders.tabular.")}
    assert tabular & start.frozen == tabular & added(model)
    assert tabular & set(start.report.fresh) == tabular
    assert not {n for n in start.frozen if "image" in n} & added(model)
    assert lists(start) == sorted(model.state_dict())


def test_a_fresh_encoder_keeps_its_own_statistics() -> None:
    mode = Adapter()
    model = make(2, mode)
    start = mode.start(source({"tabular": SPECS["tabular"]}), model, CLASSES)
    assert start.frozen_statistics == frozenset()
    set_training_mode(model, start.frozen, start.frozen_statistics)
    assert model.encoders["image"].stages[0][2].training


@BOTH
def test_a_layer_that_does_not_fit_is_trained_beside_its_adapter(kind: Kind) -> None:
    wider: dict[str, Spec] = {**SPECS, "tabular": table("a", "b", "c")}
    mode = Adapter(kind=kind)
    model = make(2, mode)
    start = mode.start(source(wider), model, CLASSES)
    (first,) = {
        n for n in start.report.fresh if base_name(n) == "encoders.tabular.layers.0.0.weight"
    }
    assert first not in start.frozen
    assert not added(model) & start.frozen
    check_notes(
        [start.report.notes[0]],
        ("encoders.tabular.layers.0.0.weight", "8×4 here", "8×6 in the source", "source"),
    )


def test_adapters_do_not_count_for_min_copied() -> None:
    wider: dict[str, Spec] = {**SPECS, "tabular": table("a", "b", "c")}
    exactly, above = Adapter(min_copied=7 / 8), Adapter(min_copied=0.9)
    exactly.start(source(wider), make(2, exactly), CLASSES)
    with pytest.raises(TransferError) as caught:
        above.start(source(wider), make(2, above), CLASSES)
    check_error(
        caught.value,
        "7",
        "8 tensors",
        "transfer.min_copied=0.9",
        "encoders.tabular.layers.0.0.weight",
        "8×4 here",
        "8×6 in the source",
    )


@BOTH
def test_sound_through_the_frozen_eyes_of_another_modality(kind: Kind) -> None:
    mode = Adapter(kind=kind, map={"audio": "image"})
    specs: dict[str, Spec] = {"audio": AudioSpec(8000, 800)}
    model, given = make(2, mode, specs), source({"image": SPECS["image"]})
    start = mode.start(given, model, CLASSES)
    first = next(
        n for n in model.state_dict() if base_name(n) == "encoders.audio.stages.0.0.weight"
    )
    seen = given.state["encoders.image.stages.0.0.weight"].sum(1, keepdim=True)
    assert torch.equal(model.state_dict()[first], seen)
    assert first in start.frozen
    assert "encoders.audio.stages.0.0.weight: summed over 3 input channels" in start.report.notes
    assert mode.modality_map == {"audio": "image"}


def test_what_is_taken_behind_the_encoders() -> None:
    assert Adapter().takes_fusion(("image", "tabular"))
    assert not Adapter().takes_fusion(("image",))
    assert not Adapter(fusion=False).takes_fusion(("image", "tabular"))
    assert Adapter(fusion=True).takes_fusion(("image",))
    mode = Adapter(fusion=False)
    model = make(2, mode)
    start = mode.start(source(), model, CLASSES)
    behind = {name for name in model.state_dict() if not name.startswith("encoders.")}
    assert set(start.report.fresh) == behind | added(model)
    named = Adapter(class_map={"low": "high", "high": "low"})
    given, model = source(), make(2, named)
    start = named.start(given, model, CLASSES)
    assert start.report.adapted == ("head.weight", "head.bias")
    assert torch.equal(model.head.bias, given.state["head.bias"][[2, 1, 0]])
    assert set(start.frozen).isdisjoint({"head.weight", "fusion.layers.0.weight"})


def test_the_source_is_needed() -> None:
    assert Adapter().needs == "weights"
    assert Adapter().regularizable == frozenset()
    with pytest.raises(TransferError, match=r"^adapter transfer needs a trained source$"):
        Adapter().start(None, make(2, Adapter()), CLASSES)


SET = r"(: set transfer\.\w+=\w+ or transfer\.\w+=null)?"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 4}, "`width` (=4) is read only where `kind` is bottleneck"),
        ({"kind": "bottleneck", "rank": 4}, "`rank` (=4) is read only where `kind` is lora"),
        ({"kind": "bottleneck", "alpha": 0.5}, "`alpha` (=0.5) is read only where `kind` is lora"),
        (
            {"norms": False, "batch_norm": "train"},
            "`batch_norm` (=train) moves the statistics of norms that `norms` (=False) freezes",
        ),
    ],
)
def test_options_that_nothing_would_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}{SET}$"):
        Adapter(**options)


class Gain(Encoder):
    """One number for each input: nothing that an adapter could stand in."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.width = 4
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        return Features((x * self.gain)[:, None], torch.ones(len(x), 1) > 0, x * self.gain)


@BOTH
def test_an_encoder_with_nothing_to_adapt(kind: Kind) -> None:
    mode = Adapter(kind=kind)
    model = MultimodalModel({"tabular": SPECS["tabular"]}, {"tabular": Gain}, Concat, 3)
    (problem,) = mode.misfits(model)
    check_refusals(
        [problem],
        [
            Refusal(
                f"transfer.kind={kind}",
                ("Gain", "tabular", "encoder"),
                type_this="transfer=feature   (freezes it whole), or transfer=parameter",
            )
        ],
    )
    with pytest.raises(TransferError) as caught:
        mode.equip(model)
    assert caught.value.message == f"{problem.given}: {problem.reason}"
    assert mode.misfits(make(2)) == []


class Adapted:
    """How a bench's model is equipped, and started from another model of its kind."""

    def __init__(self, mode: Adapter) -> None:
        self.mode = mode

    def change(self, model: MultimodalModel) -> None:
        torch.manual_seed(9)
        other = copy.deepcopy(model)
        for parameter in other.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
        self.source = Source(state(other), CLASSES)
        self.mode.equip(model)

    def start(self, model: MultimodalModel) -> Start:
        self.started = self.mode.start(self.source, model, CLASSES)
        self.began = state(model)
        return self.started


def trained(bench: Callable[..., Any], mode: Adapter, **options: Any) -> tuple[Any, Adapted]:
    """Return a bench that has been trained, and how it started."""
    adapted = Adapted(mode)
    made = bench(start=adapted.start, change=adapted.change, **options)
    made.fit()
    return made, adapted


@BOTH
@pytest.mark.parametrize("optimizer", [AdamW(weight_decay=0.5), Sgd()], ids=["adamw", "sgd"])
@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_training_leaves_the_source_as_it_was(
    bench: Callable[..., Any],
    kind: Kind,
    optimizer: AdamW | Sgd,
    batch_norm: Literal["eval", "train"],
) -> None:
    mode = Adapter(kind=kind, batch_norm=batch_norm)
    made, adapted = trained(bench, mode, optimizer=optimizer)
    given, report = adapted.source.state, adapted.started.report
    same = {n: torch.equal(t, adapted.began[n]) for n, t in made.model.state_dict().items()}
    assert {name for name, kept in same.items() if kept} == set(report.frozen)
    for name in report.frozen:
        assert torch.equal(made.model.state_dict()[name], given[base_name(name)]), name
    assert (set(report.copied) >= STATISTICS) == (batch_norm == "train")


def test_training_without_the_norms_leaves_all_but_the_adapters(bench: Callable[..., Any]) -> None:
    made, adapted = trained(bench, Adapter(norms=False))
    assert set(adapted.started.report.frozen) >= STATISTICS | AFFINE
    for name, tensor in made.model.state_dict().items():
        inside = name.startswith("encoders.") and name not in added(made.model)
        assert torch.equal(tensor, adapted.began[name]) == inside, name


@BOTH
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_training_in_half_precision(bench: Callable[..., Any], kind: Kind, precision: str) -> None:
    made, adapted = trained(bench, Adapter(kind=kind), precision=precision)
    for name, tensor in made.model.state_dict().items():
        assert tensor.dtype in (torch.float32, torch.int64)
        kept = torch.equal(tensor, adapted.began[name])
        assert kept == (name in adapted.started.report.frozen), name


@BOTH
def test_an_interruption_changes_no_bit(
    bench: Callable[..., Any], stop_after: type, kind: Kind
) -> None:
    mode = Adapter(kind=kind)
    whole, _ = trained(bench, mode)
    adapted = Adapted(mode)
    stopped = bench(start=adapted.start, change=adapted.change)
    with pytest.raises(Interrupted):
        stopped.fit(stop_after(7))
    assert stopped.state_path.exists()
    resumed, _ = trained(bench, mode)
    wanted = whole.model.state_dict()
    assert resumed.model.state_dict().keys() == wanted.keys()
    assert all(torch.equal(t, wanted[name]) for name, t in resumed.model.state_dict().items())
    assert resumed.epochs() == [each for each in whole.epochs() if each[0] > 1]
