"""Stages of 3×3 convolution, shared by encoders of images, spectrograms and grids of words."""

from __future__ import annotations

from torch import Tensor, nn

from mmx.encoders.masked_norm import MaskedBatchNorm, expand_steps, zero_invalid


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
    # Pooled before the norm: a quarter of the numbers to normalise.
    return nn.Sequential(convolution, *pools, norm(out), nn.ReLU(inplace=True))


def make_masked_stages(channels: int, widths: tuple[int, ...], *, side: int) -> nn.ModuleList:
    """Return stages as :func:`make_stages` does, which leave out the padding of sequences.

    Their tensors have the same names and shapes.

    Args:
        channels: Channels of the input.
        widths: Channels of each stage.
        side: The side of the input along which nothing is padded.
    """
    made = make_stages(channels, widths, side=side, norm=MaskedBatchNorm)
    return nn.ModuleList(MaskedStage(*stage.children()) for stage in made)


def count_pooled_steps(stages: nn.ModuleList) -> int:
    """Return how many steps of the input are one step of the last map."""
    pools = sum(isinstance(part, nn.MaxPool2d) for part in stages.modules())
    return 1 << pools  # each pool halves the steps


class MaskedStage(nn.Sequential):
    """A convolution stage that passes the mask of valid steps to its norm.

    It is a module of its own so that hooks on it see its map.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the map ``(B, D_k, T_k, F_k)``, zeros in the padding.

        Args:
            x: The map of the stage before.
            mask: ``(B, T')`` bool, True where a token is valid; None: all are.
        """
        if mask is None:
            unmasked: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return unmasked
        *before, norm, relu = self.children()
        for part in before:
            x = part(x)
        valid = expand_steps(mask, x)
        # Zeros in the padding, which the next convolution reads at the end of a row.
        return zero_invalid(relu(norm(x, valid)), valid)
