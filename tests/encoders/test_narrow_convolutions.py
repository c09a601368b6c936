"""Convolutions over inputs that are too narrow: gradients of 16 bits are those of 32."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmx.encoders.base import Encoder
from mmx.encoders.image.resnet import ResNet18
from mmx.encoders.narrow_convolutions import guard_narrow_convolutions
from mmx.encoders.video.r3d_18 import R3d18
from mmx.encoders.video.small_cnn_3d import SmallCnn3d
from mmx.modalities.video import VideoSpec

KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def find_gradients(module: nn.Module, x: torch.Tensor, *, autocast: bool) -> list[torch.Tensor]:
    module.zero_grad(set_to_none=True)
    for size in (10**3, 10**4, 10**5, 10**6):  # what is left in memory is no number
        torch.full((size,), torch.nan)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = module(x)
    out.float().square().mean().backward()
    return [each.grad for each in module.parameters() if each.grad is not None]


@pytest.mark.parametrize("dims", KINDS)
@pytest.mark.parametrize(
    ("width", "kernel", "stride", "padding"),
    [
        (1, 3, 2, 1),
        (1, 2, 2, 1),
        (1, 5, 4, 2),
        (3, 5, 4, 2),
        (4, 10, 5, 3),
        (2, 3, 3, 1),
        (4, 3, 2, 1),
    ],
)
def test_gradients_are_those_of_float32(
    dims: int, width: int, kernel: int, stride: int, padding: int
) -> None:
    torch.manual_seed(0)
    module = KINDS[dims](16, 16, kernel, stride=stride, padding=padding)
    x = torch.rand(8, 16, *[width] * dims)
    want = find_gradients(copy.deepcopy(module), x, autocast=False)
    guarded = guard_narrow_convolutions(module)
    for _ in range(3):
        for found, right in zip(find_gradients(guarded, x, autocast=True), want, strict=True):
            assert (found - right).norm() <= 0.02 * right.norm()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("width", "kernel", "stride", "padding"),
    [
        (2, 3, 1, 1),
        (1, 3, 1, 2),
        (3, 5, 1, 2),
        (4, 5, 1, 1),
        (5, 7, 2, 2),
        (2, 5, 1, 2),
        (1, 1, 2, 1),
    ],
)
def test_in_three_dimensions_no_axis_is_narrower_than_the_kernel(
    axis: int, width: int, kernel: int, stride: int, padding: int
) -> None:
    torch.manual_seed(0)

    def place(own: int, usual: int) -> tuple[int, ...]:
        return tuple(own if each == axis else usual for each in range(3))

    module = nn.Conv3d(
        8, 16, place(kernel, 3), stride=place(stride, 1), padding=place(padding, 1), bias=False
    )
    x = torch.rand(3, 8, *place(width, 6))
    want = find_gradients(copy.deepcopy(module), x, autocast=False)
    guarded = guard_narrow_convolutions(module)
    for _ in range(3):
        for found, right in zip(find_gradients(guarded, x, autocast=True), want, strict=True):
            assert (found - right).norm() <= 0.02 * right.norm()


@pytest.mark.parametrize("kind", [SmallCnn3d, R3d18])
def test_gradients_of_a_short_clip_are_those_of_float32(kind: type[Encoder]) -> None:
    torch.manual_seed(0)
    network = guard_narrow_convolutions(kind(VideoSpec(2, 16, 16))).eval()
    x = torch.rand(2, 2, 3, 16, 16)

    def find(*, autocast: bool) -> list[torch.Tensor]:
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            pooled = network(x).pooled
        pooled.float().square().mean().backward()
        return [each.grad for each in network.parameters() if each.grad is not None]

    for found, right in zip(find(autocast=True), find(autocast=False), strict=True):
        assert (found - right).norm() <= 0.3 * right.norm()  # 16 bits through all layers


def test_a_network_of_small_images_gives_the_same_gradients_again() -> None:
    torch.manual_seed(0)
    network = guard_narrow_convolutions(ResNet18.build()).eval()
    x = torch.rand(8, 3, 8, 8)
    first = find_gradients(network, x, autocast=True)
    assert len(first) > 60
    for _ in range(3):
        assert all(map(torch.equal, find_gradients(network, x, autocast=True), first))


def test_wide_inputs_and_evaluation_are_as_before_and_names_stay() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3))
    guarded = guard_narrow_convolutions(copy.deepcopy(plain))
    assert list(guarded.state_dict()) == list(plain.state_dict())
    assert isinstance(guarded[0], nn.Conv2d)
    assert type(guarded[2]) is nn.Conv2d  # it has no stride
    assert repr(guarded) == repr(plain)
    again = type(guarded[0])
    assert type(guard_narrow_convolutions(guarded)[0]) is again
    x = torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(guarded(x), plain(x))
        with torch.no_grad():
            assert guarded[0](x[..., :1]).dtype == torch.bfloat16
        assert guarded[0](x[..., :1]).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu")
