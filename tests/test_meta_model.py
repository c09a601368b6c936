"""Modules made on paper: the right shapes, no memory, no draws."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmx.meta_model import make_without_memory


class Holding(nn.Module):
    """Keeps one tensor, which is made at construction."""

    def __init__(self, make: Callable[[], Tensor]) -> None:
        super().__init__()
        self.register_buffer("kept", make())


def shapes(module: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (each.shape, each.dtype) for name, each in module.state_dict().items()}


def places(module: nn.Module) -> set[str]:
    return {each.device.type for each in module.state_dict().values()}


def test_there_is_no_memory_for_weights() -> None:
    made = make_without_memory(nn.Linear, 2**20, 2**20)  # 4 TiB
    assert places(made) == {"meta"}
    assert made.weight.shape == (2**20, 2**20)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 4),
    "convolution": lambda: nn.Conv2d(3, 4, 5),
    "embedding": lambda: nn.Embedding(7, 4, padding_idx=0),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2),
    "norm": lambda: nn.BatchNorm1d(5),
    "attention": lambda: nn.MultiheadAttention(8, 2),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_names_shapes_and_dtypes_are_those_of_the_real_module(layer: str) -> None:
    on, off = make_without_memory(LAYERS[layer]), LAYERS[layer]()
    assert shapes(on) == shapes(off)
    assert places(on) == {"meta"}
    assert [n for n, _ in on.named_parameters()] == [n for n, _ in off.named_parameters()]


DRAWS: dict[str, Callable[[], Tensor]] = {
    "rand": lambda: torch.rand(3, 4),
    "randn": lambda: torch.randn((3, 4), dtype=torch.float64),
    "randn, size by name": lambda: torch.randn(size=(3, 4)),
    "randn, scaled": lambda: torch.randn(5) * 0.02,
    "randint": lambda: torch.randint(9, (3,)),
    "randint, both bounds": lambda: torch.randint(2, 9, (3, 1)),
    "randint, all by name": lambda: torch.randint(low=2, high=9, size=(3,), dtype=torch.int32),
    "randint, own generator": lambda: torch.randint(9, (3,), generator=torch.Generator()),
    "signs": lambda: 2 * torch.randint(2, (6,)) - 1,
    "integers made real": lambda: torch.randint(2, (6,)) * 0.5,
    "scaled by name": lambda: torch.randn(5).mul(other=2),
    "scaled by a row": lambda: torch.randn(5, 1) * torch.randn(1, 3),
    "normal_": lambda: torch.empty(3).normal_(),
    "uniform_": lambda: torch.empty(3).uniform_(0, 2),
    "init": lambda: nn.init.xavier_uniform_(torch.empty(3, 4)),
    "init, tensor by name": lambda: nn.init.normal_(tensor=torch.empty(3), std=2.0),
    "init, truncated": lambda: nn.init.trunc_normal_(torch.empty(3, 4)),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_what_is_drawn_has_its_shape_and_dtype_but_no_values(draw: str) -> None:
    made = make_without_memory(Holding, DRAWS[draw])
    assert shapes(made) == shapes(Holding(DRAWS[draw]))
    assert places(made) == {"meta"}


LOOKS: dict[str, Callable[[], Tensor]] = {
    "item": lambda: torch.zeros(int(torch.randn(3).argmax().item()) + 1),
    "bool": lambda: torch.zeros(2) if torch.rand(1) >= 0 else torch.zeros(3),
    "tolist": lambda: torch.tensor(torch.ones(2).tolist()),
    "numpy": lambda: torch.from_numpy(torch.ones(2).numpy()),
    "generator": lambda: torch.normal(0.0, 1.0, (2,), generator=torch.Generator()),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_constructor_that_looks_at_its_numbers_gets_numbers(look: str) -> None:
    torch.manual_seed(4)
    expected = Holding(LOOKS[look])
    torch.manual_seed(4)
    made = make_without_memory(Holding, LOOKS[look])
    assert places(made) == {"cpu"}
    assert torch.equal(made.kept, expected.kept)


@pytest.mark.parametrize("make", [*DRAWS.values(), *LOOKS.values(), lambda: torch.rand(9)])
def test_nothing_is_taken_from_the_generator(make: Callable[[], Tensor]) -> None:
    before = torch.get_rng_state()
    make_without_memory(Holding, make)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_ends_with_the_call() -> None:
    make_without_memory(nn.Linear, 2, 2)
    real = nn.Linear(2, 2)
    assert real.weight.device.type == "cpu"
    assert real.weight.any()
    torch.manual_seed(0)
    assert torch.randn(3).tolist() != torch.randn(3).tolist()


def test_paper_on_paper() -> None:
    def outer() -> nn.Module:
        inner = make_without_memory(nn.Linear, 2, 3)
        return nn.Sequential(inner, nn.Linear(3, 4))

    assert places(make_without_memory(outer)) == {"meta"}


def test_a_wrong_option_is_said_as_the_constructor_says_it() -> None:
    def refuse() -> nn.Module:
        raise ValueError("`width` (=3) must be even")

    with pytest.raises(ValueError, match=r"^`width` \(=3\) must be even$"):
        make_without_memory(refuse)
    with pytest.raises(TypeError, match="unexpected keyword argument 'widht'"):
        make_without_memory(nn.Linear, 2, 2, widht=3)


def test_warnings_of_a_module_that_is_never_used_are_not_shown() -> None:
    def warn() -> nn.Module:
        warnings.warn("dropout between one layer", UserWarning, stacklevel=1)
        return nn.Linear(1, 1)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        make_without_memory(warn)
    assert not seen


@pytest.mark.slow
def test_fusions_are_made_without_importing_the_compiler() -> None:
    program = """
import sys
from mmx.contract.discovery import find_classes
from mmx.fusion import Widths
from mmx.meta_model import make_without_memory

for method in find_classes("fusion"):
    fusion = make_without_memory(method, {name: Widths(8, (2, 4)) for name in "abc"}, outputs=3)
    assert all(each.is_meta for each in fusion.parameters()), method
    assert "torch._dynamo" not in sys.modules, method
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
