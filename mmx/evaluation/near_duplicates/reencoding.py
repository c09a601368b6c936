"""How much a small picture changes when it is encoded again: what of a difference that explains.

A block of a JPEG has 8 × 8 pixels, so pictures of a few blocks change more than large ones, and
pictures of fine texture more than smooth ones. What may differ between a picture and its copy is
therefore measured on each picture itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import PIL.Image

from mmx.evaluation.near_duplicates.alignment import Distances, measure_aligned_distances
from mmx.evaluation.near_duplicates.search import Candidates, RowIndices
from mmx.modalities.pixels import resize_bilinear

QUALITY = 50
"""Of the JPEG that a picture is encoded as to see how much it changes."""
LARGEST = 48
"""Pixels of the shorter side of pictures whose change is measured; larger ones change little."""
MARGIN = 1.25
"""How many times that change two pictures may differ."""
FURTHEST = (0.35, 0.6, 12.0)
"""Distances in shape, patch and colour above which no change explains a pair."""


def find_reencoded(
    pairs: Candidates,
    distances: Distances,
    limits: tuple[float, float, float],
    read: Callable[[int], npt.NDArray[np.uint8]],
    side: int,
) -> npt.NDArray[np.bool_]:
    """Return ``(M,)`` which pairs of small pictures differ as a picture and its JPEG do.

    Args:
        pairs: M pairs of rows.
        distances: Of the pairs.
        limits: Distances in shape, patch and colour that are allowed in any case.
        read: Row to its picture, ``(H, W, 3)``.
        side: Pixels of both sides of the pictures that were compared.
    """
    found = np.zeros(len(pairs.rows), dtype=np.bool_)
    measured = np.stack([distances.shape, distances.patch, distances.colour], axis=1)  # (M, 3)
    found = np.zeros(len(measured), dtype=np.bool_)
    near = np.flatnonzero((measured <= FURTHEST).all(axis=1))
    changes = _measure_changes(np.unique([pairs.rows[near], pairs.others[near]]), read, side)
    for place in near:
        rows = (int(pairs.rows[place]), int(pairs.others[place]))
        own = [changes[row] for row in rows if row in changes]
        if own:
            allowed = np.maximum(limits, MARGIN * np.max(own, axis=0))
            found[place] = (measured[place] <= allowed).all()
    return found


def _measure_changes(
    rows: RowIndices, read: Callable[[int], npt.NDArray[np.uint8]], side: int
) -> dict[int, npt.NDArray[np.float64]]:
    """Return row to the distances in shape, patch and colour of its small picture and its JPEG."""
    before, after, small = [], [], []
    for row in rows:
        picture = PIL.Image.fromarray(read(int(row)))
        if min(picture.size) > LARGEST:
            continue
        small.append(int(row))
        before.append(np.asarray(resize_bilinear(picture, (side, side))))
        after.append(np.asarray(resize_bilinear(_encode_again(picture), (side, side))))
    if not small:
        return {}
    found = measure_aligned_distances(np.stack(before), np.stack(after))
    measured = np.stack([found.shape, found.patch, found.colour], axis=1)
    return dict(zip(small, measured, strict=True))


def _encode_again(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return a picture as a JPEG of :data:`QUALITY` holds it."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY)
    return PIL.Image.open(content, formats=["JPEG"]).convert("RGB")
