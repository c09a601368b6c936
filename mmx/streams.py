"""A stderr that may be closed, or lose its reader, without ending a run.

Messages on stderr are for people; results go to stdout and to files. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

STANDARD = 3
"""The file descriptors below this one are stdin, stdout and stderr."""


class Unheard:
    """A text stream that silently drops text once it can no longer be written.

    Args:
        stream: Receives the text as long as it can be written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        """Write text, or drop it; return its length in either case."""
        if not self._gone:
            try:
                return self._stream.write(text)
            except OSError:
                self._let_go()
            except ValueError:
                if not self._stream.closed:
                    raise
                self._gone = True
        return len(text)

    def flush(self) -> None:
        """Flush the buffer, if that is possible."""
        if not self._gone:
            try:
                self._stream.flush()
            except OSError:
                self._let_go()
            except ValueError:
                if not self._stream.closed:
                    raise
                self._gone = True

    def _let_go(self) -> None:
        """Stop writing, and send the buffer to the null device.

        Python flushes stderr at exit, and would otherwise end with exit code 120.
        """
        self._gone = True
        with contextlib.suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)


@contextlib.contextmanager
def unheard_stderr() -> Iterator[None]:
    """Let stderr fail without harm while the block runs."""
    _occupy_standard()
    before = sys.stderr
    stream = open(os.devnull, "w", encoding="utf-8") if before is None else before  # noqa: PTH123, SIM115
    sys.stderr = unheard = Unheard(stream)
    try:
        yield
    finally:
        unheard.flush()  # otherwise Python tries it at exit, without this protection
        if before is None:
            stream.close()
        sys.stderr = before


def _occupy_standard() -> None:
    """Open the null device on each standard descriptor that was closed before Python started.

    Otherwise the next file that is opened would get such a number, and receive messages.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)  # the system gives the lowest free number
        if descriptor >= STANDARD:
            os.close(descriptor)
            return
