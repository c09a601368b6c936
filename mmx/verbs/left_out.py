"""Telling which damaged runs were left out where the output itself does not say it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmx.errors import MmxError
from mmx.printable import one_line


def tell_left_out(notes: Sequence[str]) -> None:
    """Print notes on runs that were left out to stderr."""
    for note in notes:
        print(f"note: {one_line(note)}", file=sys.stderr)


@contextmanager
def telling_left_out(notes: Sequence[str]) -> Iterator[None]:
    """Print notes before an error, such as that too few runs are left.

    Args:
        notes: On runs that were left out, which the block may add to.
    """
    try:
        yield
    except MmxError:
        tell_left_out(notes)
        raise
