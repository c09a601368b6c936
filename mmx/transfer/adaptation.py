"""Source tensors with a shape that depends on the input, changed to fit another input.

A tensor is changed only if the axis means the same for both inputs: channels of an image,
positions in a sequence or on a grid. The input matrix of a recurrent or linear layer over other
columns, word vectors or mel bands has no such axis, and stays fresh.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def adapt(given: Tensor, shape: torch.Size, follows: str) -> tuple[Tensor, str] | None:
    """Return a source tensor changed to ``shape``, and a description; None if it cannot be.

    Args:
        given: The source's tensor.
        shape: Shape of the target's tensor.
        follows: What of the input its shape depends on: ``channels``, ``grid`` or ``sequence``.
    """
    dims = given.dim()
    if dims != len(shape) or dims < 3 or (dims > 3 and follows != "channels"):
        return None
    # Only axis 1 may differ: input channels of a kernel, or positions (1, T, D).
    if (given.shape[0], given.shape[2:]) != (shape[0], shape[2:]):
        return None
    before, after = given.shape[1], shape[1]
    if follows == "channels":
        return adapt_input_channels(given, after), _channels_in_words(before, after)
    if follows == "sequence":
        words = f"positions interpolated from {before} to {after}"
        return interpolate_positions(given, after), words
    # 1 + S² positions are a class token and a square grid; any other number is no grid.
    sides = math.isqrt(before - 1), math.isqrt(after - 1)
    if sides[0] ** 2 + 1 != before or sides[1] ** 2 + 1 != after or 0 in sides:
        return None
    words = "positions interpolated from {0}×{0} to {1}×{1}, class token kept"
    return interpolate_grid_positions(given, sides[1]), words.format(*sides)


def adapt_input_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a convolution over K input channels as a convolution over N.

        w'_n = Σ_k w_k             N = 1
        w'_n = (K / N) w_(n mod K)  otherwise

    The sum gives a grey image the output that the old weight gave K equal channels. Tiles scaled
    by K/N keep the magnitude of the output for channels that are alike.

    Args:
        weight: ``(D, K, …)``.
        channels: N.

    Returns:
        ``(D, N, …)``.

    Reference: Wightman 2019, timm, https://github.com/huggingface/pytorch-image-models.
    """
    if channels == 1:
        # A grey image stands for equal channels: the sum of weights gives the same response.
        return weight.sum(1, keepdim=True)
    before = weight.shape[1]
    # Channel c takes the weights of channel c mod K.
    tiled = weight[:, torch.arange(channels, device=weight.device) % before]
    return tiled * (before / channels)  # N tiles times K/N: the sum over channels keeps its size


def interpolate_grid_positions(embedding: Tensor, side: int) -> Tensor:
    """Return position embeddings of a square grid of patches for a grid of another side.

    Bicubic interpolation with antialiasing over the grid; the class token's embedding is kept.

    Args:
        embedding: ``(1, 1 + S·S, D)``: the class token, then the patches row by row.
        side: S of the target.

    Returns:
        ``(1, 1 + side·side, D)``.

    Reference: Dosovitskiy et al. 2021, section 3.2, arXiv 2010.11929.
    """
    token, grid = embedding[:, :1], embedding[:, 1:]
    before = math.isqrt(grid.shape[1])
    # (1, S², D) → (1, D, S²) → (1, D, S, S), row by row
    image = grid.transpose(1, 2).reshape(1, -1, before, before)  # (1, D, S, S)
    # In float32: half precision would round the weights of the interpolation.
    resized = F.interpolate(
        image.float(), (side, side), mode="bicubic", align_corners=False, antialias=True
    )
    # (1, D, side, side) → (1, side², D)
    return torch.cat([token, resized.flatten(2).transpose(1, 2).to(token.dtype)], dim=1)


def interpolate_positions(embedding: Tensor, steps: int) -> Tensor:
    """Return position embeddings ``(1, T, D)`` as ``(1, steps, D)``, by linear interpolation."""
    row = embedding.transpose(1, 2).float()  # (1, D, T)
    resized = F.interpolate(row, steps, mode="linear", align_corners=False)
    return resized.transpose(1, 2).to(embedding.dtype)


def _channels_in_words(before: int, after: int) -> str:
    if after == 1:
        return f"summed over {before} input channels"
    channels = "channel" if before == 1 else "channels"
    return f"{before} input {channels} tiled to {after}, times {before / after:.3g}"
