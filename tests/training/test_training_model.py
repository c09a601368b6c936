from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.encoders.text.lstm import Lstm
from mmx.fusion import Fusion
from mmx.fusion.concat import Concat
from mmx.fusion.gmu import Gmu
from mmx.fusion.hierarchical import Hierarchical
from mmx.fusion.late_weighted import LateWeighted
from mmx.fusion.weighted_sum import WeightedSum
from mmx.modalities import Batch, Spec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TokenSpec
from mmx.model import MultimodalModel, set_training_mode

B, C = 6, 3
SPECS: dict[str, Spec] = {
    "tabular": TabularSpec(("a",), (0.0,), (1.0,), (), ()),
    "image": ImageSpec(8, 8),
}
FUSIONS = pytest.mark.parametrize(
    "fusion", [Concat, Gmu, Hierarchical, LateWeighted, WeightedSum], ids=lambda f: f.__name__
)


def make(fusion: type[Fusion] = Concat, specs: dict[str, Spec] = SPECS) -> MultimodalModel:
    torch.manual_seed(0)
    encoders = {
        "image": partial(SmallCnn, width=8, depth=2),
        "tabular": partial(Mlp, width=8, hidden=8, dropout=0.0),
    }
    return MultimodalModel(specs, encoders, fusion, C)


def batch(present: Tensor, junk: float = 0.0) -> Batch:
    """Return a batch whose images are present where ``present`` is; ``junk`` stands elsewhere."""
    random = torch.Generator().manual_seed(0)
    images = torch.rand(B, 3, 8, 8, generator=random)
    images[~present] = junk
    here = {"image": present, "tabular": torch.ones(B, dtype=torch.bool)}
    complete = frozenset(name for name, mask in here.items() if mask.all())
    inputs = {"image": images, "tabular": torch.randn(B, 2, generator=random)}
    return Batch(inputs, {}, here, torch.zeros(B, dtype=torch.int64), complete=complete)


SOME = torch.tensor([True, False, True, True, False, True])


@FUSIONS
def test_absent_rows_touch_neither_statistics_nor_other_rows(fusion: type[Fusion]) -> None:
    one, two = make(fusion).train(), make(fusion).train()
    outputs = one(batch(SOME, junk=0.0)), two(batch(SOME, junk=1e6))
    assert torch.equal(*outputs)
    for left, right in zip(one.buffers(), two.buffers(), strict=True):
        assert torch.equal(left, right)


def test_statistics_are_those_of_a_batch_without_the_absent_rows() -> None:
    model, other = make().train(), make().train()
    given = batch(SOME)
    features = model.encode_one("image", given)
    kept = Batch(
        {"image": given.inputs["image"][SOME]},
        {},
        {"image": torch.ones(4, dtype=torch.bool)},
        given.target[SOME],
        complete=frozenset({"image"}),
    )
    expected = other.encode_one("image", kept)
    for left, right in zip(model.buffers(), other.buffers(), strict=True):
        assert torch.equal(left, right)
    assert torch.equal(features.pooled[SOME], expected.pooled)
    assert not features.pooled[~SOME].any()
    assert not features.mask[~SOME].any()


@FUSIONS
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("present", [SOME, ~SOME & False, SOME | True], ids=["some", "none", "all"])
def test_every_kind_of_batch_works_forward_and_backward(
    fusion: type[Fusion], autocast: bool, present: Tensor
) -> None:
    model = make(fusion).train()
    before = [buffer.clone() for buffer in model.encoders["image"].buffers()]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        outputs = model(batch(present))
    assert outputs.shape == (B, C)
    assert outputs.isfinite().all()
    outputs.float().square().mean().backward()
    gradients = [p.grad for p in model.encoders["image"].parameters()]
    assert all((gradient is None) == (not present.any()) for gradient in gradients)
    after = model.encoders["image"].buffers()
    same = [torch.equal(one, two) for one, two in zip(before, after, strict=True)]
    assert any(same) == (not present.any())


@FUSIONS
def test_order_of_the_dicts_does_not_matter(fusion: type[Fusion]) -> None:
    one = make(fusion).eval()
    two = make(fusion, dict(reversed(SPECS.items()))).eval()
    given = batch(SOME)
    turned = dataclasses.replace(
        given,
        inputs=dict(reversed(given.inputs.items())),
        present=dict(reversed(given.present.items())),
    )
    assert one.state_dict().keys() == two.state_dict().keys()
    assert torch.equal(one(given), two(turned))


@FUSIONS
def test_label_tensors_have_one_row_for_each_output(fusion: type[Fusion]) -> None:
    model = make(fusion)
    state = model.state_dict()
    assert model.label_tensors
    assert all(len(state[name]) == C for name in model.label_tensors)


def test_frozen_parts_stay_in_evaluation_mode() -> None:
    model = make()
    frozen = {name for name, _ in model.named_parameters() if name.startswith("encoders.image.")}
    frozen.add("encoders.tabular.layers.0.0.weight")
    set_training_mode(model.eval(), frozenset(frozen))
    assert model.training
    assert not any(module.training for module in model.encoders["image"].modules())
    assert all(module.training for module in model.encoders["tabular"].modules())
    set_training_mode(model, frozenset())
    assert all(module.training for module in model.modules())


def set_modes_one_by_one(model: MultimodalModel, frozen: set[str]) -> None:
    """Set the mode of every module as the documentation says it."""
    model.train()
    for prefix, module in model.named_modules():
        names = [f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters()]
        if names and frozen.issuperset(names):
            module.eval()
            for part in module.modules():
                if isinstance(part, nn.RNNBase) and not part.dropout:
                    part.train()


@pytest.mark.parametrize("seed", range(8))
def test_modes_are_those_that_are_set_module_by_module(seed: int) -> None:
    model, _ = with_text()
    random = np.random.default_rng(seed)
    names = [name for name, _ in model.named_parameters()]
    prefixes = [prefix for prefix, _ in model.named_modules()]
    some = tuple(random.choice(prefixes, 3, replace=False))
    one = set(random.choice(names, 2, replace=False))
    frozen = {name for name in names if name.startswith(some)} | one
    set_modes_one_by_one(model, frozen)
    expected = {prefix: part.training for prefix, part in model.named_modules()}
    set_training_mode(model, frozenset(frozen))
    assert {prefix: part.training for prefix, part in model.named_modules()} == expected


def with_text() -> tuple[MultimodalModel, Batch]:
    """Return a model with an LSTM, and a batch of which one row has text."""
    torch.manual_seed(0)
    specs: dict[str, Spec] = {"text": TokenSpec(("a", "b"), 4), "tabular": SPECS["tabular"]}
    encoders = {
        "text": partial(Lstm, width=8, embedding=4, dropout=0.5),
        "tabular": partial(Mlp, width=8, hidden=8, dropout=0.0),
    }
    everyone = torch.ones(B, dtype=torch.bool)
    given = Batch(
        {"text": torch.full((B, 4), 2), "tabular": torch.randn(B, 2)},
        {"text": torch.full((B,), 4)},
        {"text": torch.arange(B) == 2, "tabular": everyone},
        torch.zeros(B, dtype=torch.int64),
        complete=frozenset({"tabular"}),
    )
    return MultimodalModel(specs, encoders, Concat, C), given


def modes(model: MultimodalModel) -> dict[str, bool]:
    return {name: part.training for name, part in model.encoders["text"].named_modules()}


def test_gradients_pass_through_recurrent_layers_that_rest() -> None:
    """On CUDA, cuDNN propagates them in training mode alone; without dropout it is the same."""
    model, given = with_text()
    frozen = {name for name, _ in model.named_parameters() if name.startswith("encoders.text.lstm")}
    set_training_mode(model, frozenset(frozen))
    resting = {name for name, training in modes(model).items() if not training}
    assert resting == {"lstm", "lstm.forwards", "lstm.backwards", "lstm.dropout"}
    set_training_mode(model, frozenset())
    met: list[dict[str, bool]] = []
    lstm = model.get_submodule("encoders.text.lstm.forwards.0")
    lstm.register_forward_pre_hook(lambda *_: met.append(modes(model)))
    model(given).sum().backward()
    assert {name for name, training in met[0].items() if training} == {
        "lstm.forwards.0",
        "lstm.backwards.0",
    }
    assert all(modes(model).values())
    assert model.get_parameter("encoders.text.words.embedding.weight").grad is not None


def test_a_recurrent_layer_with_dropout_of_its_own_rests() -> None:
    model, _ = with_text()
    model.encoders["text"] = nn.LSTM(2, 3, num_layers=2, dropout=0.5)
    set_training_mode(model, frozenset(name for name, _ in model.named_parameters()))
    assert not model.encoders["text"].training
