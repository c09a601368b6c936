"""What to type where an option names a column that a table does not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmx.errors import closest
from mmx.tasks.advice import type_task_option
from mmx.tasks.open_table import OpenTable
from mmx.tasks.table_columns import replace_column

WITHOUT = {
    "split": "validation and test are then cut from all rows",
    "group": "rows are then divided one by one",
    "time": "rows are then divided at random",
}
"""Options that a table can do without, and what happens then."""


@dataclass(frozen=True)
class AbsentColumn:
    """A column that does not exist.

    Attributes:
        table: The table that does not have it.
        option: The option that names it: ``label``, ``split``, ``columns.image``.
        name: The name.
        values: The values of ``label`` and ``columns``, which may name several columns.
    """

    table: OpenTable
    option: str
    name: str
    values: Mapping[str, Any]

    def advise(self) -> str:
        """Return what to type to name another column, or none."""
        near = closest(self.name, self.table.names)
        if near is None and self.table.is_undivided:
            return type_task_option("csv.delimiter", "<what separates its cells>")
        if self.option in WITHOUT:
            without = f"{type_task_option(self.option, None)}: {WITHOUT[self.option]}"
            return f"{type_task_option(self.option, near)}, or {without}" if near else without
        if near is None:
            return type_task_option(self.option, "<column>")
        if self.option == "label":
            return type_task_option("label", _replace(self.values["label"], self.name, near))
        columns = replace_column(self.values["columns"], self.name, near)
        return type_task_option("columns", columns)

    def advise_renaming(self) -> str:
        """Return how to give the table what a trained model reads: exactly this column."""
        near = closest(self.name, self.table.names)
        tip = f"rename '{near}' to '{self.name}', or " if near else ""
        return f"{tip}add a column '{self.name}'; its cells may be empty"


def _replace(column: str | list[str], old: str, new: str) -> str | list[str]:
    """Return an option of column names with one name replaced."""
    if isinstance(column, str):
        return new
    return [new if name == old else name for name in column]
