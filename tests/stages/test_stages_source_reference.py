"""The trained source as a reference for the target: what it reads, what trains, and which rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import Refusal, check_error, check_refusals

from mmx.config import compose
from mmx.encoders import Encoder
from mmx.encoders.audio.spectrogram_cnn import SpectrogramCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.errors import ConfigError, TransferError
from mmx.experiment import assemble
from mmx.fusion.concat import Concat
from mmx.modalities import Batch
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.model import MultimodalModel, Parts
from mmx.runs.directory import RunDirectory
from mmx.sharing import Sharing
from mmx.sharing.trunk import Trunk
from mmx.stages.core import source_reference as place
from mmx.stages.core.source_reference import (
    Decision,
    SourceReference,
    choose_source_rows,
    find_regularized,
)
from mmx.training import checkpoint
from mmx.transfer import Source
from mmx.transfer.copying import copy_fitting
from mmx.transfer.parameter import Parameter
from mmx.transfer.regularizers import Step
from mmx.transfer.regularizers.distill import Distill
from mmx.transfer.regularizers.l2_sp import L2Sp, L2SpPenalty
from mmx.transfer.regularizers.rkd import Rkd

pytestmark = pytest.mark.slow

SPECS = {
    "image": ImageSpec(8, 8),
    "tabular": TabularSpec(("a", "b"), (0.0, 0.0), (1.0, 1.0), (), ()),
}
NEITHER: frozenset[str] = frozenset()


def model(seed: int, sharing: Sharing | None = None, width: int = 8) -> MultimodalModel:
    torch.manual_seed(seed)
    encoders: dict[str, Callable[..., Encoder]] = {
        "image": partial(SmallCnn, width=width, depth=2),
        "tabular": partial(Mlp, width=6, hidden=5),
    }
    return MultimodalModel(SPECS, encoders, Concat, 3, Parts(sharing))


def batch(rows: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(5)
    return Batch(
        {
            "image": torch.rand(rows, 3, 8, 8, generator=draw),
            "tabular": torch.randn(rows, SPECS["tabular"].width, generator=draw),  # type: ignore[attr-defined]
        },
        {},
        {name: torch.ones(rows, dtype=torch.bool) for name in SPECS},
        torch.arange(rows) % 3,
        complete=frozenset(SPECS),
    )


SHARED = pytest.mark.parametrize("sharing", [None, Trunk(width=7, depth=1)])


@SHARED
def test_the_old_head_holds_nothing_but_what_its_outputs_use(sharing: Sharing | None) -> None:
    source = model(1, sharing)
    source.criterion = source.penalty = torch.nn.Linear(2, 2)  # type: ignore[assignment]
    source.companion = model(3)
    encoders = source.encoders
    head = Decision(source, {"image": "image", "tabular": "tabular"})
    assert {name.split(".")[1] for name in head.state_dict()} == {"head"}
    assert source.encoders is encoders
    assert (source.trunk is None) == (sharing is None)
    assert source.companion is not None
    features = {k: v.map(lambda x: x.detach()) for k, v in source.eval().encode(batch()).items()}
    outputs = head(features, batch().present)
    torch.testing.assert_close(outputs, source(batch()))
    outputs.square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in source.parameters())


@SHARED
def test_its_features_are_what_it_would_say_itself(sharing: Sharing | None) -> None:
    source = model(1, sharing)
    expected = source.eval().encode(batch())
    found = SourceReference(source, model(2, sharing), NEITHER).features(batch())
    assert found.keys() == expected.keys()
    for name, each in found.items():
        assert torch.equal(each.pooled, expected[name].pooled)
        assert not each.pooled.requires_grad


@SHARED
def test_a_frozen_modality_may_be_there_as_features_alone(sharing: Sharing | None) -> None:
    source, target = model(1, sharing), model(2, sharing)
    reference = SourceReference(source, target, frozenset({"tabular"}))
    assert reference.modalities == ("image",)
    whole = batch()
    encoded = target.encoders["tabular"](whole.inputs["tabular"])
    cached = replace(whole, inputs={"image": whole.inputs["image"]}, features={"tabular": encoded})
    found = reference.features(cached)
    assert found.keys() == {"image"}
    present = {"image": whole.present["image"]}
    alone = replace(whole, present={**present, "tabular": torch.zeros(6, dtype=torch.bool)})
    outputs = reference.decide(found, present)
    torch.testing.assert_close(outputs, source(replace(alone, complete=frozenset({"image"}))))


def test_encoders_of_other_shapes_are_not_compared() -> None:
    assert SourceReference(model(1), model(2, width=16), NEITHER).modalities == ("tabular",)


@pytest.mark.parametrize(("count", "most"), [(5, 7), (7, 7), (8, 7), (13, 7), (14, 7), (1000, 7)])
def test_rows_of_the_source_are_taken_from_everywhere(
    monkeypatch: pytest.MonkeyPatch, count: int, most: int
) -> None:
    monkeypatch.setattr(place, "SOURCE_ROWS", most)
    rows = np.random.default_rng(0).permutation(count) + 3
    found = choose_source_rows(rows).tolist()
    assert len(found) == len(set(found)) == min(count, most)
    assert found == sorted(found)
    assert (found[0], found[-1]) == (3, count + 2)
    assert np.ptp(np.diff(found)) <= 1


def by_map() -> tuple[MultimodalModel, MultimodalModel]:
    """Return a source of images, and a target of sounds that starts from its encoder."""
    source = model(1)
    torch.manual_seed(2)
    audio = partial(SpectrogramCnn, width=8, depth=2, mels=8)
    target = MultimodalModel({"audio": AudioSpec(8000, 800)}, {"audio": audio}, Concat, 3)
    copy_fitting(Source(source.state_dict(), ()), target, (), {}, modality_map={"audio": "image"})
    return source, target


def sounds(rows: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(5)
    return Batch(
        {"audio": torch.randn(rows, 800, generator=draw)},
        {"audio": torch.full((rows,), 800)},
        {"audio": torch.ones(rows, dtype=torch.bool)},
        torch.arange(rows) % 3,
        complete=frozenset({"audio"}),
    )


def test_of_an_encoder_that_a_map_started_it_is_the_start() -> None:
    source, target = by_map()
    every = frozenset(target.state_dict())
    reference = SourceReference(source, target, NEITHER, every, {"audio": "image"})
    assert reference.origins == {"audio": "image"}
    before = target.eval().encode(sounds())["audio"].pooled.detach()
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.add_(0.1)
    target.train().encode(sounds())  # moves the statistics
    found = reference.features(sounds())
    assert torch.equal(found["audio"].pooled, before)
    assert not found["audio"].pooled.requires_grad
    assert not torch.equal(target.eval().encode(sounds())["audio"].pooled, before)
    assert source.encoders.keys() == {"image", "tabular"}
    assert target.encoders.keys() == {"audio"}
    # In place of the source's images; the numbers are absent.
    absent = torch.zeros(6, dtype=torch.bool)
    as_picture = {"image": found["audio"], "tabular": found["audio"]}
    as_picture["tabular"] = source.encode_one("tabular", batch())
    expected = source.decide(as_picture, {"image": ~absent, "tabular": absent})
    torch.testing.assert_close(reference.decide(found, sounds().present), expected)
    torch.testing.assert_close(reference.decision()(found, sounds().present), expected)


def test_weights_are_held_to_what_a_map_made_of_them() -> None:
    source, target = by_map()
    mode = Parameter(map={"audio": "image"})
    start = mode.start(Source(source.state_dict(), ()), target, ())
    first = "encoders.audio.stages.0.0.weight"
    assert start.report.adapted == (first,)
    shared, reference = find_regularized(L2Sp(), target, start, None, mode.modality_map)
    assert reference is None
    assert shared == {name for name, _ in target.encoders.named_parameters(prefix="encoders")}
    values = {name: each.detach().clone() for name, each in target.named_parameters()}
    penalty = L2SpPenalty({name: values[name] for name in shared}, 2.0, 0.0)
    nothing = torch.zeros(0)
    step = Step(target, Batch({}, {}, {}, nothing), {}, nothing)
    assert penalty(step) == 0
    with torch.no_grad():
        target.get_parameter(first).add_(0.5)
    assert penalty(step).item() == pytest.approx(values[first].numel() * 0.25)


def test_two_modalities_cannot_stand_for_one_in_the_sources_decision() -> None:
    source = model(1)
    torch.manual_seed(2)
    audio = partial(SpectrogramCnn, width=8, depth=2, mels=8)
    specs = {"audio": AudioSpec(8000, 800), "image": SPECS["image"]}
    encoders = {"audio": audio, "image": partial(SmallCnn, width=8, depth=2)}
    target = MultimodalModel(specs, encoders, Concat, 3)
    mode = Parameter(map={"audio": "image"}, fusion=False)
    start = mode.start(Source(source.state_dict(), ()), target, ())
    with pytest.raises(TransferError) as caught:
        find_regularized(Distill(), target, start, source, mode.modality_map)
    check_error(
        caught.value,
        "regularizer=distill",
        "source",
        "image",
        types=("regularizer=rkd", "transfer.map"),
    )
    _, reference = find_regularized(Rkd(), target, start, source, mode.modality_map)
    assert reference is not None
    assert reference.modalities == ("audio", "image")
    assert reference.encoder("image") is source.encoders["image"]


def test_an_encoder_that_came_in_part_or_says_less_has_no_start_in_the_source() -> None:
    source, target = by_map()
    every = frozenset(target.state_dict())
    for name in ("encoders.audio.stages.0.0.weight", "encoders.audio.stages.1.1.running_mean"):
        assert name in every
        part = SourceReference(source, target, NEITHER, every - {name}, {"audio": "image"})
        assert part.modalities == ()
    assert SourceReference(source, target, NEITHER, every).modalities == ()  # it has no audio


def test_a_map_goes_before_a_name() -> None:
    source, target = model(1), model(2)
    other = {"image": "tabular", "tabular": "image"}
    assert SourceReference(source, target, NEITHER, (), other).modalities == ()
    assert SourceReference(source, target, NEITHER).modalities == ("image", "tabular")


TWO = ("image", "tabular")
REGULARIZERS = sorted(
    path.stem
    for path in (Path(__file__).parents[2] / "configs" / "regularizer").glob("*.yaml")
    if path.stem != "none"
)
ACROSS = (
    "source.columns={image: photo}",
    "target.columns={audio: sound}",
    "transfer.map={audio: image}",
    "encoder/audio=spectrogram_cnn",
)
RUN = ("trainer.epochs=1", "control=none", "sharing=trunk", "sharing.width=6")


@pytest.mark.parametrize("name", REGULARIZERS)
def test_each_trains_beside_a_trunk_and_a_frozen_encoder(
    once: Callable[[list[str]], RunDirectory],
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
    name: str,
) -> None:
    kept = (f"regularizer={name}", "transfer.freeze=[encoders.tabular.*]")
    run = once(overrides(tables["one"], tables["two"], TWO, *RUN, *kept))
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    assert all(bool(each.isfinite().all()) for each in tensors.values())
    source, _ = checkpoint.read_checkpoint(run.stage_file("source"))
    common = source.keys() & tensors.keys()
    changed = {key for key in common if not torch.equal(source[key], tensors[key])}
    assert any(key.startswith("encoders.image.") for key in changed)
    assert not any(key.startswith("encoders.tabular.") for key in changed)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_each_trains_a_sound_encoder_that_started_from_a_picture_encoder(
    once: Callable[[list[str]], RunDirectory],
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
    name: str,
) -> None:
    given = overrides(tables["one"], tables["two"], ("image", "audio"), "trainer.epochs=1")
    run = once([*given, *ACROSS, "control=none", f"regularizer={name}"])
    tensors, _ = checkpoint.read_checkpoint(run.stage_file("target"))
    assert all(bool(each.isfinite().all()) for each in tensors.values())
    said = json.loads((run.path / "transfer.json").read_text())["copied"]
    assert any(each.startswith("encoders.audio.") for each in said)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_mixed_rows_have_no_label_for_what_reads_outputs(
    overrides: Callable[..., list[str]], tables: dict[str, Path], name: str
) -> None:
    given = overrides(tables["one"], tables["two"], TWO, f"regularizer={name}")
    with compose.composer():
        for balance in ("mixup", "smote_features"):
            config = compose.compose_job([*given, f"balance={balance}"]).config
            if (name, balance) != ("bi_tuning", "mixup"):
                assert assemble(config).regularizer is not None
                continue
            with pytest.raises(ConfigError) as caught:
                assemble(config)
            check_refusals(
                caught.value.problems,
                [
                    Refusal(
                        "regularizer=bi_tuning",
                        ("balance=mixup", "labels", "rows"),
                        type_this="balance=none   (or balance=weights, or another regularizer)",
                    )
                ],
            )


@pytest.mark.parametrize("name", REGULARIZERS)
def test_compiled_encoders_show_no_stages_to_what_watches_them(
    overrides: Callable[..., list[str]], tables: dict[str, Path], name: str
) -> None:
    given = overrides(tables["one"], tables["two"], TWO, f"regularizer={name}", "compile=true")
    with compose.composer():
        config = compose.compose_job(given).config
    if name != "delta":
        assert assemble(config).regularizer is not None
        return
    with pytest.raises(ConfigError) as caught:
        assemble(config)
    check_refusals(
        caught.value.problems,
        [
            Refusal(
                "regularizer=delta",
                ("compile=true", "encoders"),
                type_this="compile=false   (or regularizer=rkd)",
            )
        ],
    )
