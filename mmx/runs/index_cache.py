"""What was read of each run, kept so that a folder of 10,000 runs is listed at once.

``index.sqlite`` under the output folder has one row for each run that has ended. A row counts only
while the run's files are the ones that were read: the same inodes, sizes and times of change,
which no copy of a folder keeps. It may be deleted at any time, and a folder that cannot be
written, or whose locks hold on one machine alone, is read without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mmx.runs.file_locks import explain_local_locks

FILE = "index.sqlite"
FORMAT = 2
"""Changes with what an entry or the facts of a run hold; rows of another format are not used."""
STAMPED = ("status.json", "summary.json", "manifest.json", "config.yaml")
"""The files that entries and facts are read from."""
WAIT_SECONDS = 2.0
"""For another process that writes."""

CellValue = str | int | float | bool | None


def stamp(run: str) -> str:
    """Return what changes when a file of a run changes that an entry is read from."""
    return " ".join(stamp_file(f"{run}/{name}") for name in STAMPED)


def stamp_file(path: str | Path) -> str:
    """Return what changes with a file: inode, size and time of change; ``-`` without a file."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - 40,000 of them, and Path takes three times as long
    except OSError:
        return "-"
    return f"{facts.st_ino:x}:{facts.st_size:x}:{facts.st_ctime_ns:x}"


class IndexCache:
    """The kept rows of an output folder; empty, and without effect, where it cannot be used.

    Args:
        root: The output folder.

    Example:
        >>> from tempfile import mkdtemp
        >>> with IndexCache(Path(mkdtemp())) as cache:
        ...     cache.keep("entry", {"runs/a": ("1:2:3", {"status": "done"})})
        ...     cache.read("entry")
        {'runs/a': ('1:2:3', {'status': 'done'})}
    """

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> IndexCache:
        # A pipe or a folder of that name is left alone, and so is a link to somewhere else.
        if self._path.is_symlink() or (self._path.exists() and not self._path.is_file()):
            return self
        if explain_local_locks(self._path.parent):  # two machines could write at the same time
            return self
        with self._unless_unusable():
            try:
                self._open()
            except sqlite3.OperationalError:  # locked, read-only
                raise
            except sqlite3.DatabaseError:  # damaged: it can be made again
                self._path.unlink()
                self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def read(self, what: str) -> dict[str, tuple[str, Any]]:
        """Return run, relative to the folder, to its stamp and what was kept of it.

        Args:
            what: ``entry`` or ``facts``.
        """
        rows = self._query(f"SELECT run, stamp, content FROM {what}")
        # Parsed as one list: 10,000 calls of the parser would take three times as long.
        contents = json.loads(f"[{','.join(content for _, _, content in rows)}]")
        return {run: (mark, each) for (run, mark, _), each in zip(rows, contents, strict=True)}

    def read_facts(self, keys: Iterable[str]) -> dict[str, tuple[str, list[CellValue]]]:
        """Return run to its stamp and the values of some facts; None for those that it lacks."""
        # Of two or more paths SQLite makes one JSON list, which tells true from 1.
        paths = ['$.""', *(f'$."{key}"' for key in keys)]
        marks = ", ".join("?" for _ in paths)
        text = f"SELECT run, stamp, json_extract(content, {marks}) FROM facts"
        rows = self._query(text, paths)
        return {run: (mark, json.loads(values)[1:]) for run, mark, values in rows}

    def keep(self, what: str, rows: Mapping[str, tuple[str, Any]]) -> None:
        """Keep what was read: run to its stamp and content, which JSON can hold."""
        self.keep_all({what: rows})

    def keep_all(self, found: Mapping[str, Mapping[str, tuple[str, Any]]]) -> None:
        """Keep what was read as entries and as facts, in one write to the disk."""
        self._change(
            {
                f"INSERT OR REPLACE INTO {what} VALUES (?, ?, ?)": [
                    (run, mark, json.dumps(content)) for run, (mark, content) in rows.items()
                ]
                for what, rows in found.items()
            }
        )

    def forget(self, runs: Iterable[str]) -> None:
        """Drop runs that are gone."""
        gone = [(run,) for run in runs]
        self._change({f"DELETE FROM {what} WHERE run = ?": gone for what in ("entry", "facts")})

    def _open(self) -> None:
        connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS)
        try:
            self._prepare(connection)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables, or make them anew where they are of another format."""
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may come from anybody
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == FORMAT:
            return
        with connection:
            for what in ("entry", "facts"):
                connection.execute(f"DROP TABLE IF EXISTS {what}")
                connection.execute(
                    f"CREATE TABLE {what} (run TEXT PRIMARY KEY, stamp TEXT, content TEXT)"
                )
            connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _query(self, text: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        if self._connection is not None:
            with self._unless_unusable():
                rows = self._connection.execute(text, tuple(values)).fetchall()
        return rows

    def _change(self, lines_of: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
        """Run each statement for each of its lines, all in one transaction."""
        if self._connection is not None and any(lines_of.values()):
            with self._unless_unusable(), self._connection:
                for text, lines in lines_of.items():
                    self._connection.executemany(text, lines)

    @contextlib.contextmanager
    def _unless_unusable(self) -> Iterator[None]:
        """Go on without the file where it is damaged, locked or read-only."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
