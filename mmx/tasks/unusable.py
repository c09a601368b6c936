"""Files that cannot be decoded, found before training and left out where the user says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mmx.errors import DataError
from mmx.modalities import Column, Modality
from mmx.modalities.files import call_each
from mmx.tasks.contents import Samples

SHOWN = 3
"""Number of files that a note lists."""


def leave_out_unusable(
    samples: Samples, modalities: Mapping[str, Modality[Any, Any] | None]
) -> Samples:
    """Return the samples without files that cannot be decoded, and with notes that count them.

    A row lacks the modality of such a file; a row without any other is in no split. Every file
    is decoded once.

    Args:
        samples: As read; the columns are changed in place.
        modalities: Modality to the object that decodes it; only those that stream hold files.
    """
    notes = []
    for name, modality in modalities.items():
        if modality is not None and modality.streams:
            notes += _forget_unreadable(name, modality, samples.columns[name])
    if not notes:
        return samples
    present = np.any([column.present for column in samples.columns.values()], axis=0)
    splits = {name: rows[present[rows]] for name, rows in samples.splits.items()}
    dropped = sum(map(len, samples.splits.values())) - sum(map(len, splits.values()))
    if dropped:
        notes.append(f"{dropped} rows have nothing else and are not used")
    return replace(samples, splits=splits, notes=(*samples.notes, *notes))


def _forget_unreadable(name: str, modality: Modality[Any, Any], column: Column) -> list[str]:
    """Mark the rows of a column whose files cannot be decoded as absent; return a note."""
    reasons: dict[int, str] = {}
    rows = np.flatnonzero(column.present)
    spec = modality.example()

    def try_row(i: int) -> None:
        try:
            modality.encode(column, [int(rows[i])], spec)
        except DataError as error:
            reasons[int(rows[i])] = error.message

    call_each(try_row, len(rows))
    if not reasons:
        return []
    column.present[list(reasons)] = False
    shown = "; ".join(reasons[row] for row in sorted(reasons)[:SHOWN])
    more = "; …" if len(reasons) > SHOWN else ""
    return [f"{name}: {len(reasons)} of {len(rows)} files cannot be decoded ({shown}{more})"]
