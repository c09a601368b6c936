"""Channels of a sound that cancel each other where their mean is taken."""

from __future__ import annotations

from mmx.errors import DataError
from mmx.modalities.files import FileOrBytes, RowName, name_file, name_row

SILENCE = 1e-8  # mean square of samples below which a sound is silent
CANCELLED = 1e-4  # part of the power of the channels below which their mean has lost the sound


def refuse_cancelled(
    before: float, after: float, count: int, source: FileOrBytes, row: RowName
) -> None:
    """Refuse a sound of which the mean is silence and the channels are not.

    Args:
        before: Mean square of the samples of all channels.
        after: Mean square of their mean.
        count: Number of channels.
        source: The file, or its content, for messages.
        row: The row, for messages.

    Raises:
        DataError: The channels cancel each other.
    """
    if before > SILENCE and after < CANCELLED * before:
        raise DataError(
            f"{name_row(row)}: sound {name_file(source)}: its {count} channels cancel each "
            "other, so that their mean is silence",
            tip="target.audio.channel=1 reads the first one",
        )
