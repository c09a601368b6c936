"""Data sets of the Hugging Face hub, and what the library ``datasets`` has saved."""

import dataclasses
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from mmx.hub_cache import REPOSITORY
from mmx.tasks.base import Samples, TaskData
from mmx.tasks.hub_data import HubData, find_hub_data
from mmx.tasks.open_table import OpenTable, join_tables, open_table
from mmx.tasks.table import Table
from mmx.tasks.table_files import PathOption, find_table_files


@dataclass(kw_only=True, eq=False)
class HfDataset(Table):
    """A repository of the hub, or a folder of ``datasets.save_to_disk``; a table in all else.

    Use it for data that others have published as Parquet, Arrow, JSON or CSV. No code of a
    repository is run. The commit and licence of what was read are in the run's manifest.

    Args:
        path: As of ``table``: a folder of ``save_to_disk``, or Parquet files; none with
            ``repository``.
        repository: ``owner/name``; its files are read from the hub's local cache.
        revision: A commit, branch or tag of the repository; None: its main branch, at the commit
            that is in the cache.
        subset: Which of several sets in the repository.
        download: Whether to fetch a repository that is not in the cache.

    Raises:
        ValueError: Not one of ``path`` and ``repository`` is given.
    """

    path: PathOption = field(default_factory=list)
    repository: str | None = None
    revision: str | None = None
    subset: str | None = None
    download: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.path) == (self.repository is not None):
            raise ValueError(
                f"one of `path` (={self.path}) and `repository` (={self.repository}) must be "
                "given: tables of one's own, or owner/name of the hub"
            )
        if self.repository is None and (self.revision or self.subset):
            raise ValueError("`revision` and `subset` are of a `repository`")
        if self.repository is not None and not REPOSITORY.fullmatch(self.repository):
            raise ValueError(f"`repository` (={self.repository}) must be owner/name")

    @cached_property
    def hub_data(self) -> HubData | None:
        """The files of the repository; None without one."""
        if self.repository is None:
            return None
        return find_hub_data(
            self.repository, revision=self.revision, subset=self.subset, download=self.download
        )

    def with_path(self, path: str) -> "HfDataset":
        """Return the same task for the prediction of another table's rows."""
        return dataclasses.replace(
            self, path=path, labelled=False, repository=None, revision=None, subset=None
        )

    def list_files(self, data: TaskData) -> list[Path] | None:
        """Return the table and the files of its rows; None with a repository."""
        return super().list_files(data)

    def read(self) -> Samples:
        """Return cells, labels and splits, and where they are from."""
        samples = super().read()
        return samples if self.hub_data is None else replace(samples, origin=self.hub_data.origin)

    def _open(self) -> OpenTable:
        if self.hub_data is None:
            return super()._open()
        files = find_table_files(self.name, {**self.hub_data.files})
        table = join_tables(
            [open_table(file.path, self.csv) for file in files], [file.split for file in files]
        )
        origin = self.hub_data.origin
        licence = origin.licence or "not stated"
        notes = [f"{origin.name} at commit {origin.revision}, licence {licence}"]
        if not self.hub_data.is_checked:
            notes.append("fetched by another program: download=true checks that all of it is here")
        notes += [
            f"{' and '.join(theirs)} are both read as {ours}"
            for ours, theirs in self.hub_data.merged.items()
        ]
        if self.hub_data.left_out:
            notes.append(f"not read: the splits {', '.join(self.hub_data.left_out)}")
        return replace(table, notes=(*notes, *table.notes))
