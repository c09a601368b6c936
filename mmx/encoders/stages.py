"""Stages of 3×3 convolution, shared by the encoders of images and spectrograms."""

from __future__ import annotations

from torch import nn


def stage_widths(width: int, depth: int) -> tuple[int, ...]:
    """Return the channels of ``depth`` stages, doubling up to ``width``.

    Raises:
        ValueError: ``width`` cannot be halved ``depth - 1`` times.
    """
    halvings = 2 ** (depth - 1)
    if width % halvings:
        raise ValueError(
            f"`width` (={width}) must be a multiple of 2 ** (depth - 1) = {halvings}, "
            f"since `depth` is {depth}"
        )
    return tuple(width // 2**k for k in reversed(range(depth)))


def make_stages(
    channels: int, widths: tuple[int, ...], *, side: int, norm: type[nn.BatchNorm2d]
) -> nn.ModuleList:
    """Return stages of 3×3 convolution, 2×2 max pool, batch norm and ReLU.

    The last stage does not pool, nor does a stage with a map that would shrink below 2×2.

    Args:
        channels: Channels of the input.
        widths: Channels of each stage.
        side: The shorter side of the input.
        norm: The class of batch norm; classes with the same tensors give stages with the same
            tensors.
    """
    stages = nn.ModuleList()
    for index, out in enumerate(widths):
        pool = index < len(widths) - 1 and side >= 4
        side = side // 2 if pool else side
        stages.append(_make_stage(channels, out, pool=pool, norm=norm))
        channels = out
    return stages


def _make_stage(
    channels: int, out: int, *, pool: bool, norm: type[nn.BatchNorm2d]
) -> nn.Sequential:
    # The convolution has no bias, since the norm would subtract it.
    convolution = nn.Conv2d(channels, out, 3, padding=1, bias=False)
    pools = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(convolution, *pools, norm(out), nn.ReLU(inplace=True))
