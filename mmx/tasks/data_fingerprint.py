"""The fingerprint of a task's data: contents, labels and splits, but not paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mmx.modalities import Column
from mmx.modalities.files import call_each
from mmx.tasks.splits import SplitRows

BYTES = 16  # length of a digest


def digest_rows(column: Column, rows: SplitRows) -> npt.NDArray[np.uint8]:
    """Return the BLAKE2b digest of each row's content, ``(B, 16)``; zeros where absent."""
    digests = np.zeros((len(rows), BYTES), dtype=np.uint8)

    def digest(i: int) -> None:
        row = int(rows[i])
        if column.present[row]:
            content = hashlib.blake2b(column.digest(row), digest_size=BYTES).digest()
            digests[i] = np.frombuffer(content, dtype=np.uint8)

    call_each(digest, len(rows))
    return digests


def digest_task(
    contents: Mapping[str, npt.NDArray[np.uint8]],
    values: npt.NDArray[np.generic],
    splits: Mapping[str, SplitRows],
    meaning: object,
) -> str:
    """Return the digest of a task, as 32 hex digits.

    Args:
        contents: Modality to the row digests of all N rows, ``(N, 16)``.
        values: Targets of all N rows.
        splits: Name to row numbers.
        meaning: The meaning of the values, in a form that JSON can hold: kind and class names.
    """
    whole = hashlib.blake2b(digest_size=BYTES)

    def add(name: str, array: npt.NDArray[np.generic]) -> None:
        # With dtype and shape, so that equal bytes of different arrays differ.
        whole.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        whole.update(np.ascontiguousarray(array).tobytes())

    whole.update(json.dumps(meaning).encode())
    for name in sorted(contents):
        add(f"content {name}", contents[name])
    for name in sorted(splits):
        add(f"split {name}", splits[name])
        add(f"values {name}", values[splits[name]])
    return whole.hexdigest()


def shorten_digests(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return the first 8 bytes of each digest as a little-endian number, on every machine."""
    return digests[:, :8].copy().view("<u8").ravel().astype(np.uint64)
