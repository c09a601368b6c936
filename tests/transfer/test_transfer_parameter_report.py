"""Whatever the options, the report names every tensor once and says the truth of it."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.errors import TransferError
from mmx.fusion.concat import Concat
from mmx.modalities import Spec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.model import MultimodalModel, set_training_mode
from mmx.transfer import Source, Start
from mmx.transfer.freezing import limit_epochs
from mmx.transfer.parameter import Parameter
from mmx.transfer.phases import LinearProbe, Snapshot

CLASSES = ("a", "b", "c")


def make(seed: int, modalities: str, columns: int, hidden: int | None) -> MultimodalModel:
    specs: dict[str, Spec] = {}
    if "i" in modalities:
        specs["image"] = ImageSpec(8, 8)
    if "t" in modalities:
        names = tuple("xyz"[:columns])
        specs["tabular"] = TabularSpec(names, (0.0,) * columns, (1.0,) * columns, (), ())
    torch.manual_seed(seed)
    encoders = {
        "image": partial(SmallCnn, width=8, depth=3),
        "tabular": partial(Mlp, width=8, hidden=8, layers=2),
    }
    model = MultimodalModel(specs, encoders, partial(Concat, hidden=hidden), len(CLASSES))
    for buffer in model.buffers():
        buffer.add_(seed)
    return model


def state(model: MultimodalModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


OPTIONS = st.fixed_dictionaries(
    {
        "freeze": st.sampled_from(
            [(), ("encoders.image.*",), ("*.bias",), ("*running*",), ("fusion.*", "*.0.weight")]
        ),
        "freeze_depth": st.integers(0, 3),
        "unfreeze_every": st.integers(0, 3),
        "copied_rate": st.sampled_from([0.1, 1.0]),
        "head_rate": st.sampled_from([1.0, 10.0]),
        "layer_decay": st.sampled_from([0.5, 1.0]),
        "batch_norm": st.sampled_from(["train", "eval", "frozen"]),
        "reinitialize": st.integers(0, 2),
        "lp_ft": st.booleans(),
        "wise_ft": st.sampled_from(["none", "curve", "best"]),
        "fusion": st.sampled_from(["auto", True, False]),
    }
)
PLACES = st.tuples(
    st.sampled_from(["i", "t", "it"]),
    st.sampled_from(["i", "t", "it"]),
    st.sampled_from([1, 2]),
    st.sampled_from([None, 6]),
    st.sampled_from([CLASSES, ("c", "a", "x"), ("x", "y", "z")]),
)


@settings(max_examples=150, deadline=None)
@given(options=OPTIONS, place=PLACES, epochs=st.integers(1, 8))
def test_every_tensor_stands_in_one_list_and_is_what_it_says(
    options: dict[str, Any], place: tuple[Any, ...], epochs: int
) -> None:
    mine, theirs, columns, hidden, classes = place
    given_source = Source(state(make(1, theirs, 1, 6)), CLASSES)
    model = make(2, mine, columns, hidden)
    before = state(model)
    try:
        mode = Parameter(**options, min_copied=0.0)
        start = mode.start(given_source, model, classes)
    except (TransferError, ValueError):
        return
    assert_consistent(start, model, given_source.state, before)
    short = limit_epochs(start, model, epochs)
    assert_consistent(short, model, given_source.state, before)
    assert all(0 < first < epochs for first in short.thaw.values())
    assert set(short.report.frozen) >= set(start.report.frozen)


def assert_consistent(
    start: Start, model: MultimodalModel, theirs: dict[str, Tensor], before: dict[str, Tensor]
) -> None:
    report, parameters = start.report, {name for name, _ in model.named_parameters()}
    lists = Counter([*report.copied, *report.adapted, *report.frozen, *report.fresh])
    assert lists == Counter(list(before))
    for name, tensor in model.state_dict().items():
        if name in report.copied:
            assert torch.equal(tensor, theirs[name]), name
        if name in report.fresh:
            assert torch.equal(tensor, before[name]), name
    assert start.frozen == set(report.frozen) & parameters
    assert start.thaw.keys() <= start.shared & parameters
    assert start.thaw.keys().isdisjoint(start.frozen)
    assert start.rates.keys() == parameters - start.frozen
    assert parameters - start.frozen_in(0)
    for line in (phase.names for phase in start.phases if isinstance(phase, Snapshot)):
        assert line.isdisjoint(report.frozen)
        assert LinearProbe() in start.phases or line <= start.shared
    for modality in start.frozen_encoders:
        assert {n for n in before if n.startswith(f"encoders.{modality}.")} <= set(report.frozen)
    # What the training loop holds still is what the report calls frozen, and not less.
    set_training_mode(model, start.frozen, start.frozen_statistics)
    for prefix, module in model.named_modules():
        moving = {f"{prefix}.{name}" for name, _ in module.named_buffers(recurse=False)}
        if moving and not module.training and moving <= set(report.copied) | set(report.frozen):
            assert moving <= set(report.frozen), prefix
        if moving and module.training:
            assert moving.isdisjoint(report.frozen), prefix


def test_the_options_are_refused_or_taken_in_fair_parts() -> None:
    """The property above must not hold for want of cases."""
    taken = []

    @settings(max_examples=80, deadline=None, database=None, derandomize=True)
    @given(options=OPTIONS)
    def count(options: dict[str, Any]) -> None:
        model = make(2, "i", 1, None)
        try:
            Parameter(**options).start(
                Source(state(make(1, "i", 1, None)), CLASSES), model, CLASSES
            )
        except (TransferError, ValueError):
            taken.append(False)
        else:
            taken.append(True)

    count()
    assert 0.15 < sum(taken) / len(taken) < 0.95


@pytest.mark.parametrize("every", [1, 2])
def test_what_thaws_is_counted_as_copied(every: int) -> None:
    model = make(2, "it", 1, 6)
    start = Parameter(unfreeze_every=every).start(
        Source(state(make(1, "it", 1, 6)), CLASSES), model, CLASSES
    )
    assert start.report.counts() == {
        "copied": len(model.state_dict()),
        "adapted": 0,
        "frozen": 0,
        "fresh": 0,
    }
