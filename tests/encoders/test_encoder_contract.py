"""What every encoder promises; new encoders are found and covered by themselves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any, get_type_hints

import pytest
import torch
from torch import Tensor

import mmx.encoders
from mmx.encoders import Encoder
from mmx.modalities import Features, Spec
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TfidfSpec, TokenSpec

B = 4
WORDS = tuple(f"word{number}" for number in range(30))
SPECS: dict[type[Spec], Spec] = {
    ImageSpec: ImageSpec(height=8, width=6),
    AudioSpec: AudioSpec(sample_rate=8000, max_samples=2000),
    TokenSpec: TokenSpec(words=WORDS, max_tokens=12),
    TfidfSpec: TfidfSpec(terms=WORDS, idf=(1.0,) * 30, ngrams=1),
    TabularSpec: TabularSpec(
        numeric=("a", "b"),
        means=(0.0, 0.0),
        stds=(1.0, 1.0),
        categorical=("c",),
        categories=(("x", "y"),),
    ),
}
# Smaller than by default, for speed alone.
SMALLER: dict[str, dict[str, Any]] = {
    "SpectrogramResNet18": {"mels": 16},
    "VitB16": {"layers": 5, "heads": 2, "width": 16, "mlp_width": 24},
}


def encoders() -> list[type[Encoder]]:
    for module in pkgutil.walk_packages(mmx.encoders.__path__, "mmx.encoders."):
        importlib.import_module(module.name)
    found: set[type[Encoder]] = set()
    queue: list[type[Encoder]] = [Encoder]
    while queue:
        children = queue.pop().__subclasses__()
        queue += children
        found |= {c for c in children if c.__module__.startswith("mmx.")}
    bases = {base for encoder in found for base in encoder.__mro__[1:]}
    return sorted(found - bases, key=lambda encoder: encoder.__name__)


def kind(encoder: type[Encoder]) -> type[Spec]:
    spec: type[Spec] = get_type_hints(encoder.__init__)["spec"]
    return spec


ENCODERS = pytest.mark.parametrize("encoder", encoders())
SEQUENCES = pytest.mark.parametrize(
    "encoder", [each for each in encoders() if kind(each) in (AudioSpec, TokenSpec)]
)


def make(encoder: type[Encoder]) -> Encoder:
    torch.manual_seed(0)
    return encoder(SPECS[kind(encoder)], **SMALLER.get(encoder.__name__, {})).eval()


def batch(spec: type[Spec], rows: int = B) -> tuple[Tensor, Tensor | None]:
    """Return inputs and lengths as a modality's ``prepare`` would."""
    draw = torch.Generator().manual_seed(1)
    if spec is ImageSpec:
        return torch.rand(rows, 3, 8, 6, generator=draw), None
    if spec is AudioSpec:
        lengths = torch.tensor([2000, 1250, 90, 707])[:rows]
        x = torch.randn(rows, 2000, generator=draw) * 0.2
        return x * (torch.arange(2000) < lengths[:, None]), lengths
    if spec is TokenSpec:
        lengths = torch.tensor([12, 5, 1, 0])[:rows]
        ids = torch.randint(1, len(WORDS) + 2, (rows, 12), generator=draw)
        return ids * (torch.arange(12) < lengths[:, None]), lengths
    if spec is TfidfSpec:
        return torch.rand(rows, len(WORDS), generator=draw), None
    assert spec is TabularSpec
    return torch.randn(rows, 7, generator=draw), None


def assert_same(got: Features, want: Features, rows: slice, tolerance: float) -> None:
    """Compare all that is valid of the rows."""
    steps = min(got.mask.shape[1], want.mask.shape[1])
    mask = want.mask[rows, :steps]
    assert torch.equal(got.mask[rows, :steps], mask)
    assert not got.mask[rows, steps:].any()
    assert not want.mask[rows, steps:].any()
    pairs = [
        (got.pooled[rows], want.pooled[rows]),
        (got.tokens[rows, :steps][mask], want.tokens[rows, :steps][mask]),
        *((a[rows], b[rows]) for a, b in zip(got.levels, want.levels, strict=True)),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def test_encoders_are_found() -> None:
    assert len(encoders()) >= 12


@ENCODERS
def test_options_are_keyword_only_and_have_defaults(encoder: type[Encoder]) -> None:
    _, spec, *options = inspect.signature(encoder.__init__).parameters.values()
    assert spec.name == "spec"
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    assert all(option.default is not option.empty for option in options)


@ENCODERS
@pytest.mark.parametrize("rows", [1, B])
def test_shapes_are_as_stated(encoder: type[Encoder], rows: int) -> None:
    model = make(encoder)
    features = model(*batch(kind(encoder), rows))
    steps = features.tokens.shape[1]
    assert features.tokens.shape == (rows, steps, model.width)
    assert features.mask.shape == (rows, steps)
    assert features.mask.dtype == torch.bool
    assert features.mask.any(1).all()
    assert features.pooled.shape == (rows, model.width)
    assert [tuple(level.shape) for level in features.levels] == [
        (rows, width) for width in model.level_widths
    ]


@ENCODERS
def test_rows_do_not_see_each_other(encoder: type[Encoder]) -> None:
    model = make(encoder)
    x, lengths = batch(kind(encoder))
    alone = model(x[1:2], None if lengths is None else lengths[1:2])
    together = model(x, lengths)
    first = Features(
        together.tokens[1:2],
        together.mask[1:2],
        together.pooled[1:2],
        tuple(level[1:2] for level in together.levels),
    )
    assert_same(alone, first, slice(0, 1), 1e-4)


@SEQUENCES
@pytest.mark.parametrize("junk", [0, 1])
def test_padding_changes_nothing(encoder: type[Encoder], junk: int) -> None:
    model = make(encoder)
    x, lengths = batch(kind(encoder))
    assert lengths is not None
    more = torch.cat([x, torch.full((B, 333), junk, dtype=x.dtype)], dim=1)
    assert_same(model(more, lengths), model(x, lengths), slice(None), 1e-5)
    trimmed = x[1:2, : int(lengths[1])]
    assert_same(model(trimmed, None), model(x[1:2], lengths[1:2]), slice(None), 1e-5)


@SEQUENCES
def test_padding_changes_nothing_in_training(encoder: type[Encoder]) -> None:
    x, lengths = batch(kind(encoder))
    outputs, states = [], []
    for extra in (0, 500):
        model = make(encoder).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        padded = torch.cat([x, torch.zeros(B, extra, dtype=x.dtype)], dim=1)
        outputs.append(model(padded, lengths))
        states.append(model.state_dict())
    assert_same(outputs[1], outputs[0], slice(None), 1e-4)
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=1e-5)


@SEQUENCES
@pytest.mark.parametrize("steps", [0, 1])
def test_a_batch_of_empty_rows_is_finite(encoder: type[Encoder], steps: int) -> None:
    model = make(encoder)
    x, _ = batch(kind(encoder))
    features = model(torch.zeros_like(x[:, :steps]), torch.zeros(B, dtype=torch.int64))
    assert features.pooled.isfinite().all()
    assert features.mask.any(1).all()


@ENCODERS
def test_every_parameter_learns_through_the_pooled_vector(encoder: type[Encoder]) -> None:
    model = make(encoder).train()
    model(*batch(kind(encoder))).pooled.square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@ENCODERS
def test_levels_and_tokens_carry_gradients(encoder: type[Encoder]) -> None:
    model = make(encoder)
    features = model(*batch(kind(encoder)))
    assert all(level.requires_grad for level in (features.tokens, *features.levels))


@ENCODERS
def test_state_goes_to_another_instance(encoder: type[Encoder]) -> None:
    model = make(encoder)
    for parameter in model.parameters():
        parameter.data += 0.01
    other = make(encoder)
    other.load_state_dict(model.state_dict())
    inputs = batch(kind(encoder))
    assert torch.equal(other(*inputs).pooled, model(*inputs).pooled)


@ENCODERS
def test_runs_in_bfloat16(encoder: type[Encoder]) -> None:
    model = make(encoder).train()
    with torch.autocast("cpu", torch.bfloat16):
        features = model(*batch(kind(encoder)))
    features.pooled.float().sum().backward()
    assert features.pooled.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@ENCODERS
def test_depths_name_every_tensor_once(encoder: type[Encoder]) -> None:
    model = make(encoder)
    named = [
        [name for name in model.state_dict() if name.startswith(prefixes)]
        for prefixes in model.depths()
    ]
    assert sorted(name for depth in named for name in depth) == sorted(model.state_dict())
    for depth, prefixes in zip(named, model.depths(), strict=True):
        for prefix in prefixes:
            assert any(name.startswith(prefix) for name in depth), prefix
            exact = prefix in model.state_dict()
            assert exact or prefix == "" or prefix.endswith("."), prefix


@ENCODERS
def test_a_depth_sees_only_what_lies_before_it(encoder: type[Encoder]) -> None:
    model = make(encoder)
    inputs = batch(kind(encoder))
    reach: list[set[int]] = []  # of each module that holds tensors: the depths run before it
    seen: set[int] = set()

    def hook(depth: int) -> Any:
        def run(*_: Any) -> None:
            reach.append({other for other in seen if other > depth})
            seen.add(depth)

        return run

    for name, module in model.named_modules():
        own = [f"{name}.{tensor}" for tensor, _ in module.named_parameters(recurse=False)]
        for depth, prefixes in enumerate(model.depths()):
            if own and own[0].startswith(prefixes):
                module.register_forward_pre_hook(hook(depth))
    model(*inputs)
    assert reach
    assert not any(reach)


@ENCODERS
def test_tensors_that_follow_the_input_are_of_the_first_depth(encoder: type[Encoder]) -> None:
    model = make(encoder)
    state = model.state_dict()
    for name, follows in model.input_tensors().items():
        assert name.startswith(model.depths()[0])
        if follows == "channels":
            assert state[name].dim() >= 3
        else:
            assert state[name].shape[0] == 1
            assert state[name].dim() == 3
