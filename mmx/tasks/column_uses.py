"""What the columns of a table are read as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmx.tasks.open_table import OpenTable

NamedColumns = str | Iterable[str] | None
"""The columns that an option names."""


def list_column_uses(table: OpenTable, options: Mapping[str, NamedColumns]) -> dict[str, str]:
    """Return what each column of a table is read as, in the table's order; "" if it is not read.

    Args:
        table: The table.
        options: Modality, or ``label``, ``split`` and the like, to the columns that it names.
    """
    uses: dict[str, list[str]] = {name: [] for name in table.names}
    for option, named in options.items():
        names = [named] if isinstance(named, str) else list(named or ())
        for name in names:
            # A dotted name leads into an object, and is no column of the table itself.
            uses.setdefault(table.find(name) or name, []).append(option)
    return {name: " and ".join(found) for name, found in uses.items()}
