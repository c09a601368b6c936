"""Pictures that are alike: the same one re-encoded, resized or slightly cropped.

The fingerprint of a picture is the lowest frequencies of its grey levels, 32 × 32, by the discrete
cosine transform, as in a perceptual hash (pHash), but not rounded to bits, so that a k-d tree finds
near ones. The pairs that it finds are aligned and compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

from mmx.errors import DataError
from mmx.evaluation.near_duplicates.alignment import measure_aligned_distances
from mmx.evaluation.near_duplicates.pairs import PairComparison
from mmx.evaluation.near_duplicates.reencoding import find_reencoded
from mmx.evaluation.near_duplicates.search import Candidates, RowIndices, find_candidates
from mmx.modalities import Modality
from mmx.modalities.files import FileOrBytes, call_each, count_bytes
from mmx.modalities.image import ImageColumn, find_decoding, read_image
from mmx.modalities.pixels import open_image

SIDE = 32  # pixels
LOWEST = 8  # frequencies of each axis that a fingerprint is scaled by
FREQUENCIES = 15
PLAIN = 2.0
"""Root mean square contrast, in levels of 255, below which a picture has nothing to compare."""
SMALLEST = 16  # pixels of the shorter side of pictures that are compared
TINY_FILE = 1_500  # bytes of a file that may hold a picture of fewer pixels
RADIUS, NEAREST = 0.4, 12
CONTRASTS = 1.25
"""Largest ratio of the contrasts of pictures that are aligned."""
LIMITS = (0.12, 0.27, 8.0)
"""Largest distances in shape, patch and colour of pictures that are alike, but for small ones that
change more as a JPEG; docs/guides/data.md says how often they mislead."""
COLOUR = LIMITS[2]


def compare_pictures(
    column: ImageColumn,
    reader: Modality[Any, Any] | None,
    searches: list[tuple[RowIndices, RowIndices]],
) -> PairComparison:
    """Return the pairs of rows with pictures that are alike.

    Args:
        column: The pictures.
        reader: How they are decoded; None: as usual.
        searches: Which rows are looked for among which.
    """
    rows = np.unique(np.concatenate([each for search in searches for each in search]))
    decoding = find_decoding(reader)
    thumbs = np.zeros((len(column), SIDE, SIDE, 3), dtype=np.uint8)
    known = column.present.copy()
    unreadable: dict[int, str] = {}

    def read(place: int) -> None:
        row = int(rows[place])
        if not known[row]:
            return
        try:
            if _is_tiny(column, row):
                known[row] = False
                return
            thumbs[row] = read_image(column, row, (SIDE, SIDE), decoding)
        except DataError as error:
            known[row] = False
            unreadable[row] = error.message

    call_each(read, len(rows))
    prints, contrast = make_fingerprints(thumbs)
    known &= contrast >= PLAIN
    found = find_candidates(prints, known, searches, radius=RADIUS, most=NEAREST)
    found = _drop_hopeless(found, thumbs, contrast)
    distances = measure_aligned_distances(thumbs[found.rows], thumbs[found.others])
    measured = np.stack([distances.shape, distances.patch, distances.colour], axis=1)
    alike = (measured <= LIMITS).all(axis=1) | find_reencoded(
        found, distances, LIMITS, lambda row: read_image(column, row, None, decoding), SIDE
    )
    return PairComparison.of(
        found.rows[alike], found.others[alike], distances.shape[alike], unreadable
    )


def _is_tiny(column: ImageColumn, row: int) -> bool:
    """Return whether a picture has too few pixels to tell like ones apart, such as 8 × 8."""
    image = column.images[row]
    if not isinstance(image, FileOrBytes):
        height, width = np.asarray(image).shape[:2]
        return bool(min(height, width) < SMALLEST)
    try:
        if count_bytes(image) > TINY_FILE:
            return False
        with open_image(image) as opened:
            return min(opened.size) < SMALLEST
    except Exception:  # decoding it will raise an error that names it
        return False


def _drop_hopeless(
    found: Candidates, thumbs: npt.NDArray[np.uint8], contrast: npt.NDArray[np.float64]
) -> Candidates:
    """Return the pairs without those of other contrasts or mean colours."""
    means = thumbs.mean(axis=(1, 2))  # (N, 3)
    colours = means[:, 1:] - means[:, :1]
    apart = np.abs(colours[found.rows] - colours[found.others]).max(axis=1, initial=0)
    ratio = np.abs(np.log(contrast[found.rows] / contrast[found.others]))
    kept = (apart <= 2 * COLOUR) & (ratio <= np.log(CONTRASTS))
    return Candidates(found.rows[kept], found.others[kept])


def make_fingerprints(
    thumbs: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return ``(N, 15)`` fingerprints and ``(N,)`` contrasts in levels of 255.

    Args:
        thumbs: ``(N, 32, 32, 3)``.
    """
    grey = thumbs @ np.array([0.299, 0.587, 0.114], dtype=np.float32)  # (N, 32, 32)
    # Orthonormal: the norm of all coefficients over the side is the root mean square grey.
    low = dctn(grey, axes=(1, 2), norm="ortho")[:, :LOWEST, :LOWEST] / SIDE
    flat = low.reshape(len(low), -1)
    # By the sum of both frequencies, lowest first; entry 0 is the mean.
    order = np.argsort([y + x for y in range(LOWEST) for x in range(LOWEST)], kind="stable")
    varying = flat[:, order[1:]]  # without the mean
    contrast = np.linalg.norm(varying, axis=1)
    prints = varying[:, :FREQUENCIES] / np.maximum(contrast, 1e-6)[:, None]
    return prints.astype(np.float64), contrast.astype(np.float64)
