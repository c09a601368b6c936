"""stderr whose reader may go away, or that was closed from the start: nothing ends for that.

What is said there is for people; results are on stdout and in files. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

STANDARD = 3
"""stdin, stdout and stderr are the file descriptors below."""


class Unheard:
    """A text stream that forgets what can no longer be written.

    Args:
        stream: What is written to as long as that is possible.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        """Write what can be written."""
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
        """Pass on what is buffered, if that is possible."""
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
        """Write no more; what is buffered goes nowhere, else Python would exit with 120 for it."""
        self._gone = True
        with contextlib.suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        """Return all else that a stream has."""
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
        unheard.flush()  # else Python fails to when it ends
        if before is None:
            stream.close()
        sys.stderr = before


def _occupy_standard() -> None:
    """Open what was closed from the start as nothing: else a file would be taken for stderr."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor >= STANDARD:
            os.close(descriptor)
            return
