"""What a row of a table is called in messages: its number in its file, and the file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RowNames:
    """Names of the rows of one or several files that are read as one table.

    A row is a record: a cell with line breaks belongs to one row, and neither the header nor a
    blank line is a row. Rows count from 1 in each file. Where lines and rows of a file differ,
    so that the line cannot be told from the row, it is named too.

    Attributes:
        files: Name of each file; empty for a single one.
        starts: First row of each file, counted over all files from 0.
        lines: Line at which each row starts, from 1, over all files; empty where it follows
            from the row, or where the files have no lines.
        numbers: Number of each row in its file, from 1, where only some of a file's rows are read;
            empty where all are.
    """

    files: tuple[str, ...] = ()
    starts: tuple[int, ...] = (0,)
    lines: Sequence[int] = ()
    numbers: Sequence[int] = ()

    def __call__(self, row: int) -> str:
        """Return the name of a row, which is counted over all files from 0."""
        place = bisect_right(self.starts, row) - 1
        name = f"row {self.numbers[row] if self.numbers else row - self.starts[place] + 1}"
        if self.lines and self.lines[row]:
            name += f" (line {self.lines[row]})"
        return f"{name} of {self.files[place]}" if self.files else name


def find_irregular_lines(lines: Sequence[int], first: int) -> Sequence[int]:
    """Return the lines of a file's rows, or nothing if they are consecutive.

    Args:
        lines: Line at which each row starts.
        first: That of the first row, if nothing is unusual.
    """
    if lines and (lines[0] != first or lines[-1] - first != len(lines) - 1):
        return lines
    return ()
