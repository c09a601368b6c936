"""One set of weights for several modalities: trunks, and heads that are one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.fusion.concat import Concat
from mmx.fusion.late_mean import LateMean
from mmx.fusion.transformer import Transformer
from mmx.mapping import Mapping
from mmx.modalities import Batch, Features, Spec
from mmx.model import MultimodalModel, Parts
from mmx.sharing import Layers, Sharing
from mmx.sharing.trunk import Trunk
from mmx.training import checkpoint

WIDTHS = {"text": 3, "image": 5, "audio": 4}  # unsorted on purpose
OWN: dict[str, Any] = {"modalities": False}
ONE: dict[str, Any] = {"modalities": True}
ONE_HEAD: dict[str, Any] = {"modalities": True, "classifier": True}
EACH = pytest.mark.parametrize(
    "options", [OWN, ONE, ONE_HEAD, {**OWN, "classifier": True}], ids=repr
)
WAYS = pytest.mark.parametrize("one", [True, False])


def numbers(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def trunk(one: bool, depth: int = 2) -> Layers:
    torch.manual_seed(0)
    return Layers(WIDTHS, width=6, depth=depth, one=one).double()


def features(rows: int = 4) -> dict[str, Features]:
    torch.manual_seed(1)
    return {
        name: Features(
            torch.randn(rows, 3, width).double(),
            torch.rand(rows, 3) < 0.5,
            torch.randn(rows, width).double(),
            (torch.randn(rows, 2).double(), torch.randn(rows, 7).double()),
        )
        for name, width in WIDTHS.items()
    }


# --- variants


@EACH
def test_what_is_shared(options: dict[str, Any]) -> None:
    made = Trunk(width=7, depth=3, **options).make_layers(WIDTHS)
    one = options["modalities"]
    assert made.one == one
    assert made.width == 7
    assert list(made.layers) == (["all"] if one else ["audio", "image", "text"])
    adapters = sum((width + 1) * 7 for width in WIDTHS.values())
    layers = 3 * (7 * 7 + 7)
    assert numbers(made) == adapters + (1 if one else 3) * layers


# --- the trunk


@WAYS
@pytest.mark.parametrize("depth", [1, 3])
def test_values_are_those_of_the_formula(one: bool, depth: int) -> None:
    made = trunk(one, depth)
    p = dict(made.named_parameters())

    def affine(layer: str, x: list[float]) -> list[float]:
        weight, bias = p[f"{layer}.weight"].tolist(), p[f"{layer}.bias"].tolist()
        return [
            sum(w * v for w, v in zip(row, x, strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]

    def naive(name: str, x: Tensor) -> list[float]:
        h = affine(f"adapters.{name}", x.tolist())
        for k in range(depth):
            h = [max(0.0, z) for z in affine(f"layers.{'all' if one else name}.{2 * k}", h)]
        return h

    for name, each in features().items():
        found = made(name, each)
        expected = torch.tensor([naive(name, x) for x in each.pooled], dtype=torch.float64)
        torch.testing.assert_close(found.pooled, expected)
        rows = [[naive(name, x) for x in row] for row in each.tokens]
        torch.testing.assert_close(found.tokens, torch.tensor(rows, dtype=torch.float64))
        assert found.tokens.shape == (4, 3, 6)


@WAYS
def test_tokens_are_mapped_like_pooled_vectors_and_the_rest_stays(one: bool) -> None:
    made = trunk(one)
    for name, each in features().items():
        given = Features(each.pooled[:, None], each.mask[:, :1], each.pooled, each.levels)
        found = made(name, given)
        torch.testing.assert_close(found.tokens[:, 0], found.pooled)
        assert found.mask is given.mask
        assert found.levels is given.levels


@WAYS
def test_each_modality_has_an_adapter_of_its_own(one: bool) -> None:
    made, given = trunk(one), features()
    before = {name: made(name, each).pooled for name, each in given.items()}
    with torch.no_grad():
        made.adapters["image"].weight.add_(1.0)
    after = {name: made(name, each).pooled for name, each in given.items()}
    same = {name: torch.equal(before[name], after[name]) for name in given}
    assert same == {"text": True, "image": False, "audio": True}


@WAYS
def test_whose_layers_move_which_modality(one: bool) -> None:
    made, given = trunk(one), features()
    before = {name: made(name, each).pooled for name, each in given.items()}
    with torch.no_grad():
        made.body("image")[2].bias.add_(1.0)
    after = {name: made(name, each).pooled for name, each in given.items()}
    same = {name: torch.equal(before[name], after[name]) for name in given}
    assert same == {"text": not one, "image": False, "audio": not one}
    assert (made.body("text") is made.body("audio")) == one


@WAYS
def test_every_parameter_learns_from_each_modality_that_uses_it(one: bool) -> None:
    made, given = trunk(one), features(30)
    sum(made(name, each).pooled.sum() for name, each in given.items()).backward()
    assert all(each.grad is not None and each.grad.any() for each in made.parameters())
    first = made.body("text")[0].weight.grad.clone()
    made.zero_grad()
    made("text", given["text"]).pooled.sum().backward()
    assert torch.equal(made.body("text")[0].weight.grad, first) == (not one)
    assert made.adapters["image"].weight.grad is None


@WAYS
def test_the_order_of_modalities_does_not_matter(one: bool) -> None:
    states = []
    for widths in (WIDTHS, dict(reversed(WIDTHS.items()))):
        torch.manual_seed(0)
        states.append(Layers(widths, width=6, depth=2, one=one).state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# --- in a model


class Line(Encoder):
    """A linear encoder of two tokens."""

    def __init__(self, spec: Spec, *, given: int) -> None:
        super().__init__()
        self.width = given + 1
        self.layer = nn.Linear(given, self.width)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        z = self.layer(x)
        return Features(torch.stack([z, 2 * z], dim=1), torch.ones(len(x), 2) > 0, z)


class Uneven(Mapping):
    """Cuts each modality to another width."""

    def __init__(self, widths: dict[str, int]) -> None:
        super().__init__(widths)
        self.widths = {name: 2 + index for index, name in enumerate(self.modalities)}

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        return {
            name: Features(x.tokens[..., :width], x.mask, x.pooled[:, :width], x.levels)
            for (name, width), x in zip(
                self.widths.items(), (features[name] for name in self.widths), strict=True
            )
        }


def model(sharing: Sharing | None, fusion: Any = LateMean, seed: int = 0, **parts: Any):
    torch.manual_seed(seed)
    encoders = {name: partial(Line, given=width) for name, width in WIDTHS.items()}
    specs = {name: Spec() for name in WIDTHS}
    return MultimodalModel(specs, encoders, fusion, 2, Parts(sharing=sharing, **parts))


def batch(rows: int = 9) -> Batch:
    torch.manual_seed(2)
    present = torch.rand(rows, 3) < 0.7
    present[:, 0] = True
    return Batch(
        {name: torch.randn(rows, width) for name, width in WIDTHS.items()},
        {},
        {name: present[:, m] for m, name in enumerate(WIDTHS)},
        torch.arange(rows) % 2,
    )


ENCODERS = sum(width * (width + 1) + width + 1 for width in WIDTHS.values())
ADAPTERS = sum((width + 2) * 8 for width in WIDTHS.values())
LAYERS = 2 * (8 * 8 + 8)
HEAD = 8 * 2 + 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (OWN, ENCODERS + ADAPTERS + 3 * LAYERS + 3 * HEAD),
        (ONE, ENCODERS + ADAPTERS + LAYERS + 3 * HEAD),
        (ONE_HEAD, ENCODERS + ADAPTERS + LAYERS + HEAD),
    ],
)
def test_what_is_shared_is_counted_once(options: dict[str, Any], expected: int) -> None:
    made = model(Trunk(width=8, **options))
    assert numbers(made) == expected
    assert made.encoded_widths == dict.fromkeys(WIDTHS, 8)


def test_one_head_decides_for_all_modalities() -> None:
    made, own = model(Trunk(width=8, classifier=True)), model(Trunk(width=8))
    heads = made.fusion.heads
    assert heads["audio"] is heads["image"] is heads["text"]
    assert len({id(each) for each in own.fusion.heads.values()}) == 3
    assert list(made.state_dict()) == list(own.state_dict())  # each modality still has a name
    assert set(made.label_tensors) == {
        f"fusion.heads.{name}.{part}" for name in WIDTHS for part in ("weight", "bias")
    }
    with torch.no_grad():
        heads["text"].bias.add_(3.0)
    assert torch.equal(heads["audio"].bias, heads["text"].bias)


def test_the_one_head_learns_from_every_modality() -> None:
    made = model(Trunk(width=8, classifier=True))
    x = features()
    pooled = {name: torch.randn(5, 8) for name in x}
    present = {name: torch.ones(5) > 0 for name in x}
    made.fusion(
        {name: Features(z[:, None], torch.ones(5, 1) > 0, z) for name, z in pooled.items()}, present
    ).sum().backward()
    total = sum(pooled.values()).sum(0) / 3  # of the mean over three modalities
    torch.testing.assert_close(made.fusion.heads["text"].weight.grad, total.expand(2, 8))


def test_hidden_heads_are_one_too() -> None:
    made = model(Trunk(width=8, classifier=True), partial(LateMean, hidden=4))
    assert numbers(made.fusion) == (8 * 4 + 4) + (4 * 2 + 2)


def test_heads_of_other_shapes_stay_apart() -> None:
    made = model(Trunk(width=8, classifier=True), mapping=Uneven)
    assert len({id(each) for each in made.fusion.heads.values()}) == 3
    assert numbers(made.fusion) == sum(2 * width + 2 for width in (2, 3, 4))
    made(batch()).sum().backward()


@pytest.mark.parametrize("fusion", [Concat, Transformer])
def test_methods_without_heads_of_modalities_are_as_with_one_trunk(fusion: Any) -> None:
    made, other = model(Trunk(width=8, classifier=True), fusion), model(Trunk(width=8), fusion)
    assert numbers(made) == numbers(other)
    assert torch.equal(made(batch()), other(batch()))


def test_a_checkpoint_of_shared_weights_loads_again(tmp_path: Path) -> None:
    made, other = (
        model(Trunk(width=8, classifier=True)),
        model(Trunk(width=8, classifier=True), seed=1),
    )
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(batch()), batch().target).backward()
        optimizer.step()
    state = made.state_dict()
    checkpoint.write_checkpoint(tmp_path / "model.safetensors", state, {"epoch": 3})
    tensors, facts = checkpoint.read_checkpoint(tmp_path / "model.safetensors")
    assert facts == {"epoch": 3}
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    heads = [tensors[f"fusion.heads.{name}.weight"] for name in WIDTHS]
    assert len({each.data_ptr() for each in heads}) == 3  # each name has its own copy
    assert not torch.equal(other(batch()), made(batch()))
    other.load_state_dict(tensors)
    assert torch.equal(other(batch()), made(batch()))
    assert other.fusion.heads["text"] is other.fusion.heads["audio"]
    assert numbers(other) == numbers(made)


def test_writing_leaves_weights_shared(tmp_path: Path) -> None:
    made = model(Trunk(width=8, classifier=True))
    checkpoint.write_checkpoint(tmp_path / "model.safetensors", made.state_dict(), {})
    state = made.state_dict()
    pointers = {state[f"fusion.heads.{name}.weight"].data_ptr() for name in WIDTHS}
    assert len(pointers) == 1


@EACH
def test_every_parameter_of_a_model_learns(options: dict[str, Any]) -> None:
    made = model(Trunk(width=8, **options))
    made(batch(40)).square().sum().backward()
    dead = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_a_model_without_sharing_has_no_trunk() -> None:
    made = model(None)
    assert made.trunk is None
    assert made.encoded_widths == {name: width + 1 for name, width in WIDTHS.items()}


def test_the_trunk_reads_one_token_where_the_fusion_reads_none() -> None:
    for fusion, tokens in ((Concat, 1), (Transformer, 2)):
        made = model(Trunk(width=8, modalities=False), fusion)
        assert {x.tokens.shape for x in made.encode(batch()).values()} == {(9, tokens, 8)}
