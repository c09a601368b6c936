"""Shards of ``webdataset``: TARs with a few files for each sample."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mmx.tasks.cells import ColumnCells
from mmx.tasks.open_table import OpenTable
from mmx.tasks.table import Table
from mmx.tasks.table_columns import ColumnsOption
from mmx.tasks.table_files import PathOption

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(kw_only=True, eq=False)
class WebDataset(Table):
    """Rows of TARs, as ``webdataset`` writes them; a table whose columns are suffixes of files.

    Use it for many images or sounds that are packed in few files. Each TAR is indexed once, and its
    files are then read where they are, in any order, so that splits, shuffling and resuming are as
    exact as with loose files.

    Args:
        path: As of ``table``; ``shard-{000..009}.tar`` stands for ten files.
        label: Suffix of the files with the label, or a key of ``.json``.
        columns: Modality to the suffix of its files; ``jpg;png`` takes the first that a sample has.
    """

    label: str | list[str] = "cls"
    columns: ColumnsOption = field(default_factory=lambda: {"image": "jpg;jpeg;png"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.path = _expand_all(self.path)

    def _open(self) -> OpenTable:
        """Return the table of all shards, in which ``jpg;png`` is a column."""
        table = super()._open()

        def find(name: str) -> list[str]:
            return [each for part in name.split(";") if (each := table.find(part.strip()))]

        def read(name: str) -> ColumnCells:
            columns = [table.column(each) for each in find(name)]
            return [
                next((c for c in row if c is not None), None) for row in zip(*columns, strict=True)
            ]

        return replace(table, column=read, has=lambda name: bool(find(name)))


def expand_ranges(path: str) -> list[str]:
    """Return the paths that ``{000..009}`` stands for, with as many digits as its first number.

    ``{9..0}`` counts down, as in a shell.
    """
    found = RANGE.search(path)
    if found is None:
        return [path]
    first, last = found[1], found[2]
    digits = len(first) if first.startswith("0") else 0
    step = 1 if int(first) <= int(last) else -1
    return [
        each
        for number in range(int(first), int(last) + step, step)
        for each in expand_ranges(
            path[: found.start()] + f"{number:0{digits}d}" + path[found.end() :]
        )
    ]


def _expand_all(option: PathOption) -> PathOption:
    if isinstance(option, Mapping):
        return {split: _expand_list(paths) for split, paths in option.items()}
    return _expand_list(option)


def _expand_list(paths: str | list[str]) -> str | list[str]:
    each = [paths] if isinstance(paths, str) else paths
    expanded = [one for path in each for one in expand_ranges(path)]
    return paths if expanded == each else expanded
