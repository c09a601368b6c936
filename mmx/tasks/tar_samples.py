"""TAR archives with a few files for each sample, as ``webdataset`` writes them, as tables."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mmx.errors import DataError
from mmx.modalities.members import LARGEST_MEMBER, Member
from mmx.modalities.suffixes import is_hidden

TEXTS = ("txt", "text", "caption", "cls")
"""Suffixes whose files are the text of a cell, without the line break at the end."""

TarRow = dict[str, Any]


@dataclass(frozen=True)
class _Sample:
    """The files that share a key: the path up to the first dot of the name."""

    key: str
    cells: TarRow


def read_tar_samples(path: Path) -> list[TarRow]:
    """Return a row for each sample of an archive, in the order of their first files.

    Files with one path up to the first dot of their name are one sample. What follows the dot
    names the column: ``000.txt`` fills ``txt``. The keys of a ``.json`` object are columns of their
    own; any other file is a cell that images, sounds and arrays are read from.

    Raises:
        DataError: The archive is damaged or compressed, a text is not UTF-8, or a column is filled
            twice in one sample.
    """
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                folder, _, name = info.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if not info.isreg() or not suffix or is_hidden(name):
                    continue
                key = f"{folder}/{stem}"
                sample = samples.setdefault(key, _Sample(key, {}))
                _add(path, sample, suffix.lower(), info, archive.extractfile(info))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"cannot read the archive {path}: {error}",
            tip=f"gunzip {path}   (if it is compressed, so that its files can be read one by one)",
        ) from error
    return [sample.cells for sample in samples.values()]


def _add(
    path: Path, sample: _Sample, suffix: str, info: tarfile.TarInfo, file: IO[bytes] | None
) -> None:
    """Fill the cells of a file."""
    cells: TarRow = {suffix: Member(path, info.name, info.size)}
    if file is not None and (suffix in TEXTS or suffix == "json"):
        if info.size > LARGEST_MEMBER:
            raise DataError(f"{path}: {info.name} has {info.size:,} bytes")
        try:
            text = file.read().decode()
            cells = json.loads(text) if suffix == "json" else {suffix: text.removesuffix("\n")}
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot read {info.name}: {error}") from error
        if not isinstance(cells, dict):
            raise DataError(f"{path}: {info.name} does not hold a JSON object")
    if twice := cells.keys() & sample.cells.keys():
        raise DataError(
            f"{path}: two files of the sample {sample.key.lstrip('/')} fill the column "
            f"'{min(twice)}'",
            tip="give each file of a sample its own suffix",
        )
    sample.cells.update(cells)
