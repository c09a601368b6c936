"""Alignment of small pictures, so that a picture and a slightly cropped copy of it can be compared.

Of two pictures A and B, the warp is found that takes A's pixels to those of B: a scale and a shift
of each axis, by a few steps of Gauss-Newton on the squared differences (Lucas and Kanade 1981).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LARGEST = 0.16
"""Change of scale, and shift in halves of a side, that a warp may have at most."""
DAMPING = 1e-3
COARSE_STEPS, FINE_STEPS = 5, 3
"""Steps on pictures of half the size, and then on the pictures themselves."""
HOPELESS = 0.4
"""Distance in shape on the small pictures from which a pair is not aligned any further."""
PATCH = 8  # pixels of a side of the patches, which overlap by half
CHUNK = 512  # pairs that are aligned at once, so that they fit into a processor's cache
GREY = torch.tensor([0.299, 0.587, 0.114])
UNRELATED = 2.0
"""The largest distance in shape, of a picture and its negative."""


@dataclass(frozen=True)
class Distances:
    """How different the pictures of M pairs are, after alignment.

    Attributes:
        shape: ``(M,)`` square root of 2 − 2 r, where r is the correlation of the grey levels: 0
            for the same picture, 1.4 for unrelated ones, 2 for pairs that were not aligned.
        patch: ``(M,)`` root mean square difference of grey levels in the patch that differs most,
            in deviations of the whole picture.
        colour: ``(M,)`` root mean square difference of Cb and Cr in levels of 255, weighted by
            how far the grey level of a pixel is from the mean, so that a plain background has
            little weight.
    """

    shape: npt.NDArray[np.float64]
    patch: npt.NDArray[np.float64]
    colour: npt.NDArray[np.float64]


def measure_aligned_distances(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]
) -> Distances:
    """Return how different pairs of pictures are after alignment.

    Args:
        first: ``(M, H, W, 3)``, all of one size, with even sides.
        second: ``(M, H, W, 3)``, the other picture of each pair.
    """
    found = Distances(*(np.full(len(first), worst) for worst in (UNRELATED, UNRELATED, 255.0)))
    for start in range(0, len(first), CHUNK):
        one, other = (_to_channels(each[start : start + CHUNK]) for each in (first, second))
        small = [torch.nn.functional.avg_pool2d(each[:, :1], 2) for each in (one, other)]
        # (scale x, shift x, scale y, shift y) of each pair: at first the identity.
        warp = torch.tensor([1.0, 0.0, 1.0, 0.0]).repeat(len(one), 1)
        shape, warp = _align(small[0], small[1], warp, COARSE_STEPS)
        kept = torch.nonzero(shape < HOPELESS).squeeze(1)
        if not len(kept):
            continue
        one, other = one[kept], other[kept]
        shape, warp = _align(one[:, :1], other[:, :1], warp[kept], FINE_STEPS)
        patch, colour = _compare_details(one, *_apply(other, warp))
        places = start + kept.numpy()
        found.shape[places], found.patch[places] = shape.numpy(), patch.numpy()
        found.colour[places] = colour.numpy()
    return found


def _compare_details(one: Tensor, other: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances in the worst patch and in colour of aligned pictures."""
    grey = _standardize(one[:, :1], inside)
    squares = ((grey - _standardize(other[:, :1], inside)) * inside).square()
    patches = torch.nn.functional.avg_pool2d(squares, PATCH, PATCH // 2)
    weight = grey.abs() * inside
    # Pixels count by their contrast: colour at edges, not in plain areas.
    weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
    colour = ((one[:, 1:] - other[:, 1:]).square() * weight).sum((1, 2, 3)).sqrt()
    return patches.flatten(1).amax(1).sqrt(), colour  # the worst patch of each pair


def _align(fixed: Tensor, moving: Tensor, warp: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return the smallest distance in shape found, ``(M,)``, and its warp.

    Args:
        fixed: ``(M, 1, H, W)`` grey levels.
        moving: The pictures that are warped.
        warp: ``(M, 4)`` where to start: scale and shift of x, then of y.
        steps: Of Gauss-Newton.
    """
    best, found = torch.full((len(fixed),), UNRELATED), warp
    for step in range(steps + 1):
        warped, inside = _apply(moving, warp)
        target, normal = _standardize(fixed, inside), _standardize(warped, inside)
        # Standardised pictures: the mean product is the correlation.
        correlation = _average(target * normal, inside).sum((1, 2, 3))
        # ‖a - b‖² = 2 - 2 corr of two with mean square 1; rounding may go below 0.
        shape = (2 - 2 * correlation).clamp(min=0).sqrt()
        better = shape < best
        best = torch.where(better, shape, best)
        found = torch.where(better[:, None], warp, found)
        # After the last step only the distance is measured.
        if step < steps:
            warp = _improve(target - normal, normal, inside, warp)
    return best, found


def _to_channels(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """Return ``(M, 3, H, W)`` grey, Cb and Cr."""
    rgb = torch.from_numpy(pixels.astype(np.float32))
    grey = rgb @ GREY
    return torch.stack([grey, (rgb[..., 2] - grey) * 0.564, (rgb[..., 0] - grey) * 0.713], dim=1)


def _improve(residual: Tensor, normal: Tensor, inside: Tensor, warp: Tensor) -> Tensor:
    """Return the warp after one step of Gauss-Newton, within :data:`LARGEST`."""
    height, width = normal.shape[2:]
    x, y = _make_grid(height, width)
    # Per pixel; coordinates run over 2 for a whole side, hence the halves below.
    down, right = torch.gradient(normal[:, 0], dim=(1, 2))
    right, down = right * (width / 2), down * (height / 2)  # per half of a side
    slopes = torch.stack([right * x, right, down * y, down], dim=1).flatten(2)  # (M, 4, P)
    weighted = slopes * inside.flatten(2)
    # JᵀWJ, (M, 4, 4), of Gauss-Newton; W is 1 inside the picture.
    normal_matrix = weighted @ slopes.transpose(1, 2)
    damping = DAMPING * normal_matrix.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-6)
    # Levenberg's damping: a plain picture has no gradient, and the matrix no inverse.
    normal_matrix = normal_matrix + damping[:, None, None] * torch.eye(4)
    step: Tensor = torch.linalg.solve(normal_matrix, weighted @ residual.flatten(2).transpose(1, 2))
    identity = torch.tensor([1.0, 0.0, 1.0, 0.0])
    moved: Tensor = (warp + step.squeeze(2) - identity).clamp(-LARGEST, LARGEST)
    return moved + identity


def _make_grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return x and y of the centres of all pixels, from -1 to 1, ``(H, W)`` each."""
    # Centres of pixels, as grid_sample counts with align_corners=False.
    x = (torch.arange(width) * 2 + 1) / width - 1
    y = (torch.arange(height) * 2 + 1) / height - 1
    return x.expand(height, width), y[:, None].expand(height, width)


def _apply(pictures: Tensor, warp: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures read at warped places, and 1.0 where a place lies in the picture."""
    x, y = _make_grid(*pictures.shape[2:])
    scale_x, shift_x, scale_y, shift_y = warp[:, :, None, None].unbind(1)
    places = torch.stack([scale_x * x + shift_x, scale_y * y + shift_y], dim=-1)  # (M, H, W, 2)
    warped = torch.nn.functional.grid_sample(
        pictures, places, padding_mode="border", align_corners=False
    )
    inside = (places.abs() <= 1).all(-1).float().unsqueeze(1)
    return warped, inside


def _average(values: Tensor, inside: Tensor) -> Tensor:
    """Return values weighted so that their sum is their mean over the pixels inside."""
    return values * (inside / inside.sum((2, 3), keepdim=True).clamp(min=1))


def _standardize(pictures: Tensor, inside: Tensor) -> Tensor:
    """Return pictures with mean 0 and deviation 1 over the pixels inside."""
    centred = pictures - _average(pictures, inside).sum((2, 3), keepdim=True)
    deviation = _average(centred.square(), inside).sum((2, 3), keepdim=True).sqrt()
    return centred / deviation.clamp(min=1e-3)
