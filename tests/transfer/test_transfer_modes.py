from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from functools import partial

import pytest
import torch
from refusals import check_error, check_notes
from torch import Tensor

from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.errors import TransferError
from mmx.fusion.concat import Concat
from mmx.modalities import Spec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.model import MultimodalModel
from mmx.transfer import Report, Source, Start
from mmx.transfer.feature import Feature
from mmx.transfer.freezing import find_frozen_encoders
from mmx.transfer.parameter import Parameter
from mmx.transfer.phases import Phase
from mmx.transfer.scratch import Scratch
from mmx.transfer.structure import Structure

CLASSES = ("a", "b", "c")
FUSION = partial(Concat, hidden=6)


def table(*columns: str) -> TabularSpec:
    return TabularSpec(columns, (0.0,) * len(columns), (1.0,) * len(columns), (), ())


SPECS: dict[str, Spec] = {"image": ImageSpec(8, 8), "tabular": table("x")}


def make(seed: int, specs: dict[str, Spec] = SPECS, layers: int = 2) -> MultimodalModel:
    torch.manual_seed(seed)
    encoders = {
        "image": partial(SmallCnn, width=8, depth=2),
        "tabular": partial(Mlp, width=8, hidden=8, layers=layers),
    }
    return MultimodalModel(specs, encoders, FUSION, len(CLASSES))


def source(specs: dict[str, Spec] = SPECS, layers: int = 2) -> Source:
    return Source(make(1, specs, layers).state_dict(), CLASSES)


def state(model: MultimodalModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def lists(report: Report) -> list[str]:
    return sorted([*report.copied, *report.adapted, *report.frozen, *report.fresh])


@pytest.mark.parametrize("mode", [Scratch(), Structure()])
def test_scratch_and_structure_leave_every_weight_fresh(mode: Scratch | Structure) -> None:
    model = make(2)
    before = state(model)
    start = mode.start(None, model, CLASSES)
    assert start.report.counts() == {"copied": 0, "adapted": 0, "frozen": 0, "fresh": len(before)}
    assert lists(start.report) == sorted(before)
    assert (start.frozen, start.frozen_encoders, start.rates) == (frozenset(), frozenset(), {})
    assert start.weight_decay
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def test_no_stage_can_change_a_phase_that_another_stage_runs_too() -> None:
    kinds = [each for each in Phase.__subclasses__() if each.__module__.startswith("mmx.")]
    assert len(kinds) > 3
    for kind in kinds:
        assert is_dataclass(kind)
        phase = kind(*[None for _ in fields(kind)])
        with pytest.raises(FrozenInstanceError):
            phase.name = "other"  # type: ignore[misc]


def test_modes_say_what_they_need() -> None:
    needs = {mode.needs for mode in (Parameter, Feature)}
    assert needs == {"weights"}
    assert (Scratch.needs, Structure.needs) == ("nothing", "architecture")
    notes = Structure().start(None, make(2), CLASSES).report.notes
    check_notes(notes, ("fresh",))


@pytest.mark.parametrize(("mode", "name"), [(Parameter(), "parameter"), (Feature(), "feature")])
def test_modes_that_need_weights_say_so(mode: Parameter | Feature, name: str) -> None:
    with pytest.raises(TransferError, match=f"^{name} transfer needs a trained source$"):
        mode.start(None, make(2), CLASSES)


def test_parameter_copies_all_and_trains_all() -> None:
    model, given = make(2), source()
    start = Parameter(copied_rate=0.5).start(given, model, CLASSES)
    assert start.report.counts() == {
        "copied": len(given.state),
        "adapted": 0,
        "frozen": 0,
        "fresh": 0,
    }
    assert start.rates == dict.fromkeys(dict(model.named_parameters()), 0.5)
    assert start.frozen == frozenset()
    assert start.weight_decay
    assert all(torch.equal(model.state_dict()[name], given.state[name]) for name in given.state)


def test_rates_hold_for_what_was_copied_only() -> None:
    given = Source({k: v for k, v in source().state.items() if "image" in k}, CLASSES)
    model = make(2)
    start = Parameter(copied_rate=0.1).start(given, model, CLASSES)
    rates = {
        name: 0.1 if name.startswith("encoders.image.") else 1.0
        for name, _ in model.named_parameters()
    }
    assert start.rates == rates
    assert "fusion.layers.0.weight" in start.report.fresh


@pytest.mark.parametrize(
    ("patterns", "whole"),
    [
        (("encoders.image.*",), {"image"}),
        (("encoders.*",), {"image", "tabular"}),
        (("encoders.image.stages.0.*",), set()),
        (("encoders.image.stages.*", "fusion.*"), {"image"}),
        (("*.weight",), set()),
    ],
)
def test_freezing_by_pattern(patterns: tuple[str, ...], whole: set[str]) -> None:
    from fnmatch import fnmatchcase

    model = make(2)
    start = Parameter(freeze=patterns).start(source(), model, CLASSES)
    wanted = {n for n in model.state_dict() if any(fnmatchcase(n, p) for p in patterns)}
    assert set(start.report.frozen) == wanted
    assert lists(start.report) == sorted(model.state_dict())
    assert start.frozen == wanted & dict(model.named_parameters()).keys()
    assert start.frozen_encoders == whole
    assert not start.rates.keys() & wanted


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "encoder.image.*",
            "transfer.freeze=encoder.image.* matches no tensor of the model; "
            "the closest is encoders.image.stages.1.1.bias\n"
            "  tip: patterns look like encoders.image.* or fusion.*",
        ),
        (
            "§",
            "transfer.freeze=§ matches no tensor of the model\n"
            "  tip: patterns look like encoders.image.* or fusion.*",
        ),
        (
            "fusion.*",
            "transfer.freeze=fusion.* would freeze fresh weights only\n"
            "  tip: freeze what the source gave: encoders.image.stages.0.0.weight, "
            "encoders.image.stages.0.2.bias, encoders.image.stages.0.2.num_batches_tracked, …",
        ),
    ],
)
def test_patterns_that_freeze_nothing_are_refused(pattern: str, message: str) -> None:
    given = Source({k: v for k, v in source().state.items() if "image" in k}, CLASSES)
    with pytest.raises(TransferError) as caught:
        Parameter(freeze=(pattern,)).start(given, make(2), CLASSES)
    assert str(caught.value) == message


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(TransferError) as caught:
        Parameter(freeze=("encoders.*", "*")).start(source(), make(2), CLASSES)
    check_error(
        caught.value, "transfer.freeze=encoders.*,*", types=("encoders.image.*", "fusion.*")
    )


def test_feature_freezes_every_encoder_and_nothing_else() -> None:
    model, given = make(2), source()
    before = state(model)
    start = Feature().start(given, model, CLASSES)
    encoders = {name for name in before if name.startswith("encoders.")}
    assert set(start.report.frozen) == encoders
    assert set(start.report.fresh) == before.keys() - encoders
    assert start.report.copied == start.report.adapted == start.report.notes == ()
    assert start.frozen_encoders == {"image", "tabular"}
    assert start.frozen == encoders & dict(model.named_parameters()).keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, given.state[name] if name in encoders else before[name])


def note(start: Start) -> tuple[str, ...]:
    return start.report.notes


def test_feature_trains_the_encoder_that_the_source_lacks() -> None:
    image: dict[str, Spec] = {"image": SPECS["image"]}
    model = make(2)
    start = Feature().start(source(image), model, CLASSES)
    assert start.frozen_encoders == {"image"}
    check_notes(note(start), ("tabular", "encoder", "fresh"))
    assert {n for n in start.report.fresh if "tabular" in n} == {
        n for n in model.state_dict() if "tabular" in n
    }


def test_feature_refuses_an_encoder_that_fits_in_part() -> None:
    wider: dict[str, Spec] = {**SPECS, "tabular": table("x", "y")}
    with pytest.raises(TransferError) as caught:
        Feature().start(source(wider), make(2), CLASSES)
    check_error(caught.value, "7 tensors", "tabular", "encoder", types=("transfer=parameter",))


def test_whole_encoders_need_every_tensor() -> None:
    names = ["encoders.a.w", "encoders.a.b", "encoders.b.w", "fusion.w"]
    assert find_frozen_encoders(names, {"encoders.a.w", "encoders.b.w", "fusion.w"}) == {"b"}
    assert find_frozen_encoders(names, set(names)) == {"a", "b"}
