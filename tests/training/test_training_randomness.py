from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmx.training.randomness import (
    derive_seed,
    leave_new_memory_as_it_is,
    make_deterministic,
    permute,
    seed_torch,
)

PARTS = (3, "target", "step", 17)
CPU = torch.device("cpu")


@pytest.mark.parametrize("place", range(len(PARTS)))
def test_a_seed_depends_on_every_part(place: int) -> None:
    changed = [*PARTS]
    changed[place] = "other"
    assert derive_seed(*changed) != derive_seed(*PARTS)


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert derive_seed(*PARTS) == 972963494873110827
    assert derive_seed(*PARTS) != derive_seed(*reversed(PARTS))
    assert derive_seed("ab", "c") != derive_seed("a", "bc") != derive_seed("abc")


@given(st.lists(st.one_of(st.integers(), st.text()), min_size=1))
def test_a_seed_has_63_bits(parts: list[int | str]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63


def test_a_permutation_holds_every_row_once_and_depends_on_every_part() -> None:
    rows = np.arange(100, 150)
    first = permute(rows, 0, "target", "order", 0)
    assert sorted(first) == list(rows)
    assert (first == permute(rows, 0, "target", "order", 0)).all()
    for parts in [(1, "target", "order", 0), (0, "source", "order", 0), (0, "target", "order", 1)]:
        assert (first != permute(rows, *parts)).any()
    assert (rows == np.arange(100, 150)).all()


def test_seeding_repeats_what_torch_draws() -> None:
    seed_torch(1, "a")
    first = torch.rand(3)
    seed_torch(1, "b")
    assert not torch.equal(torch.rand(3), first)
    seed_torch(1, "a")
    assert torch.equal(torch.rand(3), first)


def test_determinism_is_asked_for_and_threads_are_set() -> None:
    make_deterministic(1, CPU)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.get_num_threads() == 1
    make_deterministic(None, CPU)
    assert torch.get_num_threads() == 1


def test_attention_on_cuda_is_computed_by_kernels_with_one_order_of_additions() -> None:
    """Of the others, the gradients differ from run to run unless torch refuses all that may."""
    cuda = torch.backends.cuda
    kernels = (cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.cudnn_sdp_enabled)
    try:
        make_deterministic(None, torch.device("cuda"))
        assert not any(enabled() for enabled in kernels)
        assert cuda.math_sdp_enabled()
    finally:
        make_deterministic(None, CPU)
    assert all(enabled() for enabled in kernels)


def test_new_memory_is_filled_again_after_the_block(monkeypatch):
    settings = torch.utils.deterministic
    monkeypatch.setattr(settings, "fill_uninitialized_memory", True)
    with leave_new_memory_as_it_is(when=True):
        assert not settings.fill_uninitialized_memory
    assert settings.fill_uninitialized_memory
    with leave_new_memory_as_it_is(when=False):
        assert settings.fill_uninitialized_memory
    monkeypatch.setattr(settings, "fill_uninitialized_memory", False)
    with leave_new_memory_as_it_is(when=False):
        assert not settings.fill_uninitialized_memory
