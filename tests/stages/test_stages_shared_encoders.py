"""Frozen encoders of published weights are shared by the runs of a process, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_text_model

from mmx.encoders import Encoder
from mmx.encoders.text.transformers import Transformers
from mmx.modalities.sub_words import SubWordSpec
from mmx.stage_id import StageId
from mmx.stages.core.published_values import PublishedValues, read_values
from mmx.stages.core.shared_encoders import find_shared_values, share_frozen_encoders
from mmx.stages.core.stage import GivenSource, Stage
from mmx.transfer import Source, Transfer
from mmx.transfer.feature import Feature
from mmx.transfer.parameter import Parameter

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

Make = Callable[..., Encoder]


@pytest.fixture
def recipe(tmp_path: Path) -> tuple[partial[Encoder], SubWordSpec, PublishedValues]:
    """Return an encoder's recipe, its spec, and its published values."""
    options = {"model": str(save_text_model(tmp_path / "tiny")), "max_tokens": 8}
    make = partial(Transformers, **options)
    spec: Any = Transformers.read_with(None, **options).example()
    return make, spec, read_values(make, spec, Transformers.find_published(**options))


def share(make: Make, values: PublishedValues, transfer: Transfer, **changes: Any) -> Make:
    given = GivenSource(Source({}, ()), pytest.fail, values={"text": values})
    nothing: Any = None
    stage = Stage(StageId.TARGET, nothing, transfer, given, **changes)
    return share_frozen_encoders(stage, {"text": make})["text"]


def test_a_shared_encoder_holds_published_values_and_leaves_the_generator_as_a_draw_does(
    recipe: tuple[partial[Encoder], SubWordSpec, PublishedValues],
) -> None:
    make, spec, values = recipe
    shared = share(make, values, Feature())
    for seed in (3, 4, 3, 4):  # drawn, drawn, known, known
        torch.manual_seed(seed)
        drawn, expected = make(spec), torch.randn(7)
        torch.manual_seed(seed)
        found = shared(spec)
        assert torch.equal(torch.randn(7), expected)
        state = found.state_dict()
        assert state.keys() == drawn.state_dict().keys() == values.tensors.keys()
        assert all(torch.equal(state[name], values.tensors[name]) for name in state)
        assert find_shared_values(found) is values
        drawn.load_state_dict(values.tensors)
        ids, lengths = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]]), torch.tensor([4, 3])
        with torch.no_grad():
            one, other = (each.eval()(ids, lengths).pooled for each in (found, drawn))
        assert torch.equal(one, other)
    assert len(values.drawn) == 2


def test_copies_share_memory_and_nothing_else(
    recipe: tuple[partial[Encoder], SubWordSpec, PublishedValues],
) -> None:
    make, spec, values = recipe
    shared = share(make, values, Feature())
    one, other = shared(spec), shared(spec)
    for (name, left), right in zip(one.named_parameters(), other.parameters(), strict=True):
        assert left.data_ptr() == right.data_ptr() == values.tensors[name].data_ptr()
        left.requires_grad_(False)
        assert right.requires_grad
    one.train()
    other.eval()
    assert one.training
    assert not other.training
    one.get_submodule("net").register_parameter("more", None)
    assert "more" not in other.get_submodule("net")._parameters


def test_what_may_change_is_drawn_for_each_run(
    recipe: tuple[partial[Encoder], SubWordSpec, PublishedValues],
) -> None:
    make, spec, values = recipe
    assert share(make, values, Parameter()) is make
    assert share(make, values, Feature(map={"text": "image"})) is make
    nothing: Any = object()
    assert share(make, values, Feature(), joint=nothing) is make
    name = next(iter(values.tensors))
    lacking = PublishedValues({k: v for k, v in values.tensors.items() if k != name})
    torch.manual_seed(0)
    expected = make(spec).state_dict()
    torch.manual_seed(0)
    found = share(make, lacking, Feature())(spec)
    assert all(torch.equal(found.state_dict()[name], expected[name]) for name in expected)
    assert find_shared_values(found) is None


def test_values_of_another_type_are_shared_by_no_run(
    recipe: tuple[partial[Encoder], SubWordSpec, PublishedValues],
) -> None:
    make, spec, values = recipe
    halves = PublishedValues({name: value.half() for name, value in values.tensors.items()})
    found = share(make, halves, Feature())(spec)
    assert {each.dtype for each in found.parameters()} == {torch.float32}
    assert find_shared_values(found) is None
