"""Each option of transfer=parameter by itself, on a model of two encoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from refusals import check_error, check_notes
from torch import Tensor

from mmx.cli import main
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.errors import TransferError
from mmx.fusion import Fusion
from mmx.fusion.concat import Concat
from mmx.fusion.ensemble import Ensemble
from mmx.fusion.late_mean import LateMean
from mmx.mapping.linear import Linear
from mmx.modalities import Spec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.model import MultimodalModel, Parts
from mmx.transfer import Source, Start
from mmx.transfer import parameter as module
from mmx.transfer.freezing import limit_epochs
from mmx.transfer.parameter import Parameter
from mmx.transfer.phases import LinearProbe, Snapshot, TrainEpochs, WiseFT
from mmx.transfer.regularizers.l2_sp import L2Sp
from mmx.transfer.regularizers.stochnorm import Stochnorm

CLASSES = ("a", "b", "c")
FUSION = partial(Concat, hidden=6)


def line(start: Start) -> set[str]:
    """Return the names of the tensors on the line of wise_ft."""
    return {name for each in start.phases if isinstance(each, Snapshot) for name in each.names}


def table(*columns: str) -> TabularSpec:
    return TabularSpec(columns, (0.0,) * len(columns), (1.0,) * len(columns), (), ())


SPECS: dict[str, Spec] = {"image": ImageSpec(8, 8), "tabular": table("x")}
IMAGE: dict[str, Spec] = {"image": SPECS["image"]}


def make(
    seed: int,
    specs: dict[str, Spec] = SPECS,
    fusion: Any = FUSION,
    outputs: int = 3,
    **parts: Any,
) -> MultimodalModel:
    """Return a model whose image encoder has 3 depths and whose tabular encoder has 2."""
    torch.manual_seed(seed)
    encoders = {
        "image": partial(SmallCnn, width=8, depth=3),
        "tabular": partial(Mlp, width=8, hidden=8, layers=2),
    }
    model = MultimodalModel(specs, encoders, fusion, outputs, Parts(**parts))
    for buffer in model.buffers():  # statistics that differ between any two models
        buffer.add_(seed)
    return model


def source(specs: dict[str, Spec] = SPECS, fusion: Any = FUSION) -> Source:
    return Source(make(1, specs, fusion).state_dict(), CLASSES)


def state(model: MultimodalModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def named(model: MultimodalModel, *starts: str) -> set[str]:
    return {name for name in model.state_dict() if name.startswith(starts)}


def begin(options: dict[str, Any], given: Source | None = None, **other: Any) -> tuple[Any, Start]:
    model = make(2, **other)
    return model, Parameter(**options).start(given or source(), model, CLASSES)


@pytest.mark.parametrize(("count", "whole"), [(1, set()), (2, {"tabular"})])
def test_the_lowest_depths_of_each_copied_encoder_are_frozen(count: int, whole: set[str]) -> None:
    model, start = begin({"freeze_depth": count})
    starts = [f"encoders.image.stages.{k}." for k in range(count)]
    starts += [f"encoders.tabular.layers.{k}." for k in range(count)]
    wanted = named(model, *starts)
    assert set(start.report.frozen) == wanted
    assert {"encoders.image.stages.0.2.running_mean"} < wanted
    assert start.frozen == wanted & dict(model.named_parameters()).keys()
    assert start.frozen_encoders == whole
    assert not start.rates.keys() & wanted


def test_an_encoder_that_the_source_lacks_is_not_frozen() -> None:
    model, start = begin({"freeze_depth": 3}, source(IMAGE))
    assert set(start.report.frozen) == named(model, "encoders.image.")
    assert start.frozen_encoders == {"image"}


def test_what_is_fresh_in_a_frozen_depth_trains_and_is_said() -> None:
    wider: dict[str, Spec] = {**SPECS, "tabular": table("x", "y")}
    _, start = begin({"freeze_depth": 1}, source(wider))
    fresh = "encoders.tabular.layers.0.0.weight"
    assert fresh in start.report.fresh
    assert start.rates[fresh] == 1.0
    assert "encoders.tabular.layers.0.0.bias" in start.report.frozen
    assert f"{fresh} is fresh and trains, in a frozen depth" in start.report.notes


DEEP = [
    (
        {"freeze_depth": 3},
        "transfer.freeze_depth=3: the tabular encoder has 2 depths",
        "transfer.freeze_depth=2",
    ),
    (
        {"reinitialize": 2},
        "transfer.reinitialize=2: the tabular encoder has 2 depths: "
        "nothing of the source's would be left of it",
        "transfer.reinitialize=1",
    ),
    (
        {"freeze_depth": 2, "reinitialize": 1},
        "transfer.freeze_depth=2 transfer.reinitialize=1: the tabular encoder has 2 depths: "
        "one cannot be fresh and stay as it was copied",
        "transfer.freeze_depth=1",
    ),
]


@pytest.mark.parametrize(("options", "message", "tip"), DEEP)
def test_more_depths_than_there_are_are_refused(
    options: dict[str, int], message: str, tip: str
) -> None:
    with pytest.raises(TransferError) as caught:
        begin(options)
    assert str(caught.value) == f"{message}\n  tip: {tip}"


@pytest.mark.parametrize("patterns", [(), ("encoders.*",)])
def test_gradual_unfreezing_with_nothing_left_to_thaw_is_refused(patterns: Sequence[str]) -> None:
    options = {"unfreeze_every": 2, "freeze": patterns}
    with pytest.raises(TransferError) as caught:
        begin(options if patterns else {**options, "freeze_depth": 3}, source(IMAGE), specs=IMAGE)
    why = "nothing is left to thaw"
    if not patterns:
        why = "no depth of an encoder is left to thaw: all are frozen for good, or fresh"
    assert str(caught.value) == (
        f"transfer.unfreeze_every=2: {why}\n  tip: transfer.unfreeze_every=0"
    )


def test_gradual_unfreezing_with_nothing_to_train_at_first_is_refused() -> None:
    with pytest.raises(TransferError) as caught:
        begin({"unfreeze_every": 1, "freeze": ("fusion.*", "head.*")})
    check_error(
        caught.value,
        "transfer.unfreeze_every=1",
        "epoch",
        types=("transfer.freeze", "transfer.unfreeze_every=0"),
    )


def test_what_leaves_nothing_to_train_names_every_option() -> None:
    with pytest.raises(TransferError) as caught:
        begin({"freeze": ("fusion.*", "head.*"), "freeze_depth": 3}, source(IMAGE), specs=IMAGE)
    check_error(
        caught.value,
        "transfer.freeze=fusion.*,head.*",
        "transfer.freeze_depth=3",
        types=("encoders.image.*", "fusion.*"),
    )


def test_depths_thaw_from_the_top_down() -> None:
    model, start = begin({"unfreeze_every": 3, "freeze_depth": 1})
    wanted = {}
    for prefix, epoch in (
        ("encoders.image.stages.2.", 3),
        ("encoders.image.stages.1.", 6),
        ("encoders.tabular.layers.1.", 3),
    ):
        wanted |= {n: epoch for n, _ in model.named_parameters() if n.startswith(prefix)}
    assert start.thaw == wanted
    assert start.frozen.isdisjoint(wanted)
    behind = {n for n, _ in model.named_parameters() if n.startswith(("fusion.", "head."))}
    every = {n for n, _ in model.named_parameters()}
    assert every - start.frozen_in(0) == behind
    assert every - start.frozen_in(3) == behind | {n for n, epoch in wanted.items() if epoch == 3}
    assert start.frozen_in(6) == start.frozen


def test_fresh_depths_do_not_wait_and_are_not_waited_for() -> None:
    model, start = begin({"unfreeze_every": 1, "reinitialize": 1})
    fresh = named(model, "encoders.image.stages.2.", "encoders.tabular.layers.1.")
    assert fresh <= set(start.report.fresh)
    assert start.frozen_in(0).isdisjoint(fresh)
    assert {start.thaw[n] for n in start.thaw if "image.stages.1." in n} == {1}
    assert {start.thaw[n] for n in start.thaw if "image.stages.0." in n} == {2}
    assert {start.thaw[n] for n in start.thaw if "tabular.layers.0." in n} == {1}


@pytest.mark.parametrize(
    ("epochs", "late", "note"),
    [
        (7, (), None),
        (
            6,
            ("encoders.image.stages.0.",),
            "gradual unfreezing: 1 of 3 depths never thaw in 6 epochs; "
            "transfer.unfreeze_every=1 thaws all",
        ),
        (
            4,
            ("encoders.image.stages.0.", "encoders.image.stages.1.", "encoders.tabular.layers.0."),
            "gradual unfreezing: 2 of 3 depths never thaw in 4 epochs; "
            "transfer.unfreeze_every=1 thaws all",
        ),
        (
            1,
            ("encoders.",),
            "gradual unfreezing: 3 of 3 depths never thaw in 1 epoch; trainer.epochs=7 thaws all",
        ),
    ],
)
def test_what_never_thaws_is_frozen_and_said(
    epochs: int, late: tuple[str, ...], note: str | None
) -> None:
    model, start = begin({"unfreeze_every": 2, "wise_ft": "curve"})
    short = limit_epochs(start, model, epochs)
    frozen = named(model, *late) if late else set()
    assert set(short.report.frozen) == frozen
    assert short.frozen == frozen & dict(model.named_parameters()).keys()
    assert short.thaw == {n: e for n, e in start.thaw.items() if n not in frozen}
    assert not short.rates.keys() & frozen
    assert not line(short) & frozen
    assert short.report.notes == (note,) if note else short == start
    encoders = {"encoders.": {"image", "tabular"}}
    assert short.frozen_encoders == encoders.get("".join(late), set())
    counts = short.report.counts()
    assert sum(counts.values()) == len(model.state_dict())


def test_a_line_on_which_nothing_thaws_is_said() -> None:
    model, start = begin({"unfreeze_every": 2, "wise_ft": "curve", "fusion": False})
    short = limit_epochs(start, model, 1)
    assert any("stay as trained all along the line" in note for note in start.report.notes)
    assert line(short) == set()
    check_notes(
        [note for note in short.report.notes if "wise_ft" in note or " line" in note],
        ("wise_ft", "source"),
    )


def test_rates_fall_from_depth_to_depth() -> None:
    options = {"copied_rate": 0.2, "layer_decay": 0.5, "head_rate": 3.0, "fusion": False}
    model, start = begin(options)
    expected = {}
    for name, _ in model.named_parameters():
        part = name.split(".")
        if name.startswith("encoders."):
            depth, count = int(part[3]), {"image": 3, "tabular": 2}[part[1]]
            expected[name] = 0.2 * 0.5 ** (count - 1 - depth)
        else:
            expected[name] = 3.0
    assert start.rates == pytest.approx(expected, rel=1e-15)
    assert set(start.rates) == {name for name, _ in model.named_parameters()}


def test_what_is_copied_behind_the_encoders_learns_at_the_copied_rate() -> None:
    model, start = begin({"copied_rate": 0.2, "layer_decay": 0.5, "head_rate": 3.0})
    assert {start.rates[name] for name in named(model, "fusion.", "head.")} == {0.2}


def test_a_decay_that_slows_nothing_is_said() -> None:
    model = make(2, IMAGE)
    model.encoders["image"].depths = lambda: (("",),)
    start = Parameter(layer_decay=0.5).start(source(IMAGE), model, CLASSES)
    assert set(start.rates.values()) == {1.0}
    check_notes(start.report.notes, ("layer_decay", "encoders"))


NORMS = {f"encoders.image.stages.{k}.{i}" for k, i in ((0, 2), (1, 2), (2, 1))}
STATISTICS = {
    f"{norm}.{name}"
    for norm in NORMS
    for name in ("running_mean", "running_var", "num_batches_tracked")
}


@pytest.mark.parametrize(
    "options", [{"batch_norm": "eval"}, {"batch_norm": "frozen"}, {"lp_ft": True}]
)
def test_copied_statistics_stay_still(options: dict[str, Any]) -> None:
    _, start = begin(options)
    affine = {f"{norm}.{name}" for norm in NORMS for name in ("weight", "bias")}
    frozen = affine if "frozen" in options.values() else set()
    assert start.frozen_statistics == NORMS
    assert set(start.report.frozen) == STATISTICS | frozen
    assert start.frozen == frozen
    assert start.frozen_encoders == frozenset()


def test_statistics_move_by_default() -> None:
    _, start = begin({})
    assert start.frozen_statistics == start.frozen == frozenset()
    assert set(start.report.copied) > STATISTICS


def test_fresh_statistics_move_whatever_the_policy() -> None:
    tabular: dict[str, Spec] = {"tabular": SPECS["tabular"]}
    _, start = begin({"batch_norm": "frozen"}, source(tabular))
    assert start.frozen_statistics == start.frozen == frozenset()
    check_notes([start.report.notes[-1]], ("batch_norm=frozen",))


def test_statistics_that_a_pattern_freezes_stay_still() -> None:
    _, start = begin({"freeze": ("*.stages.0.2.running_mean",)})
    assert start.frozen_statistics == {"encoders.image.stages.0.2"}
    assert set(start.report.frozen) == {
        name for name in STATISTICS if name.startswith("encoders.image.stages.0.2.")
    }


def test_statistics_of_a_norm_whose_parameters_are_frozen_are_frozen() -> None:
    _, start = begin({"freeze": ("*.stages.0.2.weight", "*.stages.0.2.bias")})
    whole = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert set(start.report.frozen) == {f"encoders.image.stages.0.2.{name}" for name in whole}


def test_the_topmost_depths_keep_fresh_weights_and_so_does_all_behind() -> None:
    given = source()
    model = make(2)
    before = state(model)
    start = Parameter(reinitialize=1).start(given, model, CLASSES)
    fresh = named(
        model, "encoders.image.stages.2.", "encoders.tabular.layers.1.", "fusion.", "head."
    )
    assert set(start.report.fresh) == fresh
    assert set(start.report.copied) == before.keys() - fresh
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in fresh else given.state[name]), name
    check_notes(
        start.report.notes[-2:],
        ("1", "3 depths", "image", "encoder"),
        ("1", "2 depths", "tabular", "encoder"),
    )


@pytest.mark.parametrize(
    ("fusion", "reinitialize", "modalities", "taken"),
    [
        ("auto", 0, ("image", "text"), True),
        ("auto", 0, ("image",), False),
        ("auto", 1, ("image", "text"), False),
        (True, 0, ("image",), True),
        (False, 0, ("image", "text"), False),
        (False, 1, ("image", "text"), False),
        ("encoders_alone", 0, ("image", "text"), False),
    ],
)
def test_a_fusion_is_taken_where_its_features_are(
    fusion: Any, reinitialize: int, modalities: tuple[str, ...], taken: bool
) -> None:
    mode = Parameter(fusion=fusion, reinitialize=reinitialize)
    assert mode.takes_fusion(modalities) is taken


def test_without_the_fusion_the_head_stays_fresh_too() -> None:
    model = make(2)
    before = state(model)
    start = Parameter(fusion=False).start(source(), model, CLASSES)
    behind = named(model, "fusion.", "head.")
    assert set(start.report.fresh) == behind
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in behind)


@pytest.mark.parametrize(
    ("fusion", "fresh"),
    [
        (True, ()),
        (False, ("fusion.", "head.")),
        ("encoders_alone", ("mapping.", "fusion.", "head.")),
    ],
)
def test_what_is_taken_of_what_stands_behind_the_encoders(
    fusion: Any, fresh: tuple[str, ...]
) -> None:
    given = Source(make(1, mapping=Linear).state_dict(), CLASSES)
    model = make(2, mapping=Linear)
    before = state(model)
    start = Parameter(fusion=fusion).start(given, model, CLASSES)
    assert all(named(model, each) for each in ("mapping.", "fusion.", "head."))
    left = named(model, *fresh) if fresh else set()
    assert set(start.report.fresh) == left
    assert set(start.report.copied) == before.keys() - left
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in left else given.state[name]), name


def test_linear_probing_leaves_the_head_to_the_probe() -> None:
    model, start = begin({"lp_ft": True, "wise_ft": "best"})
    assert [type(phase) for phase in start.phases] == [LinearProbe, Snapshot, TrainEpochs, WiseFT]
    assert start.phases[-1] == WiseFT(keep_best=True)
    assert set(start.report.fresh) == {"head.weight", "head.bias"}
    floats = {n for n, value in model.state_dict().items() if value.is_floating_point()}
    assert line(start) == floats - STATISTICS  # the head included, which the probe fits
    assert start.report.notes == ()


def test_fresh_tensors_below_a_probed_head_are_said() -> None:
    _, start = begin({"lp_ft": True, "fusion": False})
    check_notes(
        [start.report.notes[-1]], ("lp_ft", "2 fresh", "fusion.layers.0.bias", "fresh", "head")
    )


@pytest.mark.parametrize("fusion", [LateMean, Ensemble])
def test_a_fusion_that_decides_cannot_be_probed(fusion: type[Fusion]) -> None:
    with pytest.raises(TransferError) as caught:
        begin({"lp_ft": True}, source(fusion=fusion), fusion=fusion)
    check_error(
        caught.value,
        "transfer.lp_ft=true",
        "head",
        "fusion",
        types=("transfer.lp_ft=false", "fusion=concat"),
    )


def test_the_line_holds_what_came_from_the_source_and_moves() -> None:
    model, start = begin({"wise_ft": "curve", "freeze_depth": 1})
    floats = {n for n, value in model.state_dict().items() if value.is_floating_point()}
    assert line(start) == floats - set(start.report.frozen)
    assert start.phases[1:] == (TrainEpochs(), WiseFT(keep_best=False))
    assert start.report.notes == ()
    assert begin({})[1].phases == (TrainEpochs(),)


@pytest.mark.parametrize(("classes", "head"), [(("c", "b", "a"), True), (("a", "b", "x"), False)])
def test_a_head_of_which_a_row_is_noise_is_not_on_the_line(
    classes: tuple[str, ...], head: bool
) -> None:
    model = make(2)
    start = Parameter(wise_ft="curve").start(source(), model, classes)
    assert {"head.weight", "head.bias"} <= set(start.report.adapted)
    assert ({"head.weight", "head.bias"} <= line(start)) is head
    note = (
        "wise_ft: 2 tensors (head.bias, …) stay as trained all along the line: they started as "
        "noise; with transfer.lp_ft=true the head lies on it too"
    )
    assert (note in start.report.notes) is not head


def test_a_line_with_nothing_on_it_is_refused() -> None:
    with pytest.raises(TransferError) as caught:
        begin({"wise_ft": "best", "freeze": ("encoders.*",), "fusion": False})
    check_error(caught.value, "transfer.wise_ft", "source", types=("transfer.wise_ft=none",))


def test_a_fusion_that_is_fitted_after_training_has_no_line() -> None:
    fusion = partial(Ensemble, combine="stacking")
    with pytest.raises(TransferError) as caught:
        begin({"wise_ft": "curve"}, source(fusion=fusion), fusion=fusion)
    check_error(
        caught.value,
        "transfer.wise_ft=curve",
        "fusion",
        "training",
        types=("transfer.wise_ft=none", "fusion=concat"),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"lp_ft": True, "unfreeze_every": 2},
            "`lp_ft` (=true) trains all at once on a fitted head, `unfreeze_every` (=2) one depth "
            "after the other: set transfer.lp_ft=false or transfer.unfreeze_every=0",
        ),
        (
            {"lp_ft": True, "reinitialize": 1},
            "`lp_ft` (=true) fits the head to the source's features, of which `reinitialize` (=1) "
            "leaves noise: set transfer.lp_ft=false or transfer.reinitialize=0",
        ),
        (
            {"fusion": True, "reinitialize": 1},
            "`fusion` (=true) takes what the source learned on features of which `reinitialize` "
            "(=1) leaves noise: set transfer.fusion=false or transfer.reinitialize=0",
        ),
    ],
)
def test_options_that_undo_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="set transfer") as caught:
        Parameter(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["transfer.lp_ft=true", "transfer.unfreeze_every=2"],
            "transfer: `lp_ft` (=true) trains all at once on a fitted head, `unfreeze_every` (=2) "
            "one depth after the other: set transfer.lp_ft=false or transfer.unfreeze_every=0\n",
        ),
        (
            ["transfer.freeze_depth=9"],
            "transfer.freeze_depth=9: the audio encoder has 4 depths\n"
            "  type:     transfer.freeze_depth=4\n",
        ),
        (
            ["transfer.lp_ft=true", "fusion=late_mean"],
            "transfer.lp_ft=true: fits a linear head, and this model has none: its fusion decides "
            "by itself\n"
            "  type:     transfer.lp_ft=false   (or a fusion of features: fusion=concat)\n",
        ),
        (
            ["transfer.layer_decay=0"],
            "transfer.layer_decay=0: expected a number > 0 and ≤ 1\n"
            "  type:     transfer.layer_decay=1\n",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_data_is_opened(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"mmx: 1 problem in the config\n{message}"
    assert list(tmp_path.iterdir()) == []


def test_map_and_min_copied_reach_the_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    copy_fitting = module.copy_fitting

    def spy(*given: Any, **options: Any) -> Any:
        seen.update(options)
        return copy_fitting(*given, **options)

    monkeypatch.setattr(module, "copy_fitting", spy)
    mode = Parameter(map={"image": "image"}, min_copied=0.25)
    mode.start(source(), make(2), CLASSES)
    assert seen == {"modality_map": {"image": "image"}, "min_copied": 0.25}
    assert mode.modality_map == {"image": "image"}


def test_stochastic_normalisation_needs_statistics_that_move() -> None:
    assert Parameter().holds(Stochnorm)
    for options in ({"lp_ft": True}, {"batch_norm": "eval"}, {"batch_norm": "frozen"}):
        assert Parameter().regularizable - Parameter(**options).regularizable == {"statistics"}
        assert not Parameter(**options).holds(Stochnorm())
        assert Parameter(**options).holds(L2Sp())


def test_the_config_states_every_option_and_its_default() -> None:
    from inspect import signature

    path = Path(__file__).parents[2] / "configs" / "transfer" / "parameter.yaml"
    node: Any = OmegaConf.to_container(OmegaConf.load(path))
    assert node.pop("_target_") == "mmx.transfer.parameter.Parameter"
    options = {name: each.default for name, each in signature(Parameter).parameters.items()}
    assert node == {**options, "freeze": []}
    assert list(node) == list(options)
