"""Texts in one folder for each class, as sets of documents are published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmx.modalities.text import TextColumn
from mmx.tasks.contents import Samples
from mmx.tasks.splits import SplitRows
from mmx.tasks.table_files import sort_naturally


def read_text_folders(
    folders: dict[str, Path],
    classes: Sequence[str] | None,
    *,
    encoding: str,
    change: Callable[[str], str] = str,
) -> Samples:
    """Return the texts ``<folder>/<class>/<file>`` of all splits, in the order of their names.

    Args:
        folders: Split to its folder.
        classes: The folders of classes to read; None: all of the first split, sorted.
        encoding: Of all texts.
        change: What is done to each text.

    Raises:
        OSError: A folder is absent.
        ValueError: A text has another encoding.
    """
    if classes is None:
        first = next(iter(folders.values()))
        classes = sorted(each.name for each in first.iterdir() if each.is_dir())
    texts: list[str | None] = []
    labels: list[int] = []
    splits: dict[str, SplitRows] = {}
    for split, folder in folders.items():
        start = len(texts)
        for label, name in enumerate(classes):
            for path in sort_naturally([*(folder / name).iterdir()]):
                texts.append(change(_read(path, encoding)))
                labels.append(label)
        splits[split] = np.arange(start, len(texts))
    values = np.array(labels, dtype=np.int64)
    return Samples({"text": TextColumn(texts)}, values, tuple(classes), splits)


def _read(path: Path, encoding: str) -> str:
    try:
        return path.read_bytes().decode(encoding)  # line breaks stay as they are
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not {encoding}: {error}") from error
