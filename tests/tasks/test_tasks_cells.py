"""A cell is the same text whichever format it was read from."""

from __future__ import annotations

import decimal
from typing import Any

import pytest

from mmx.tasks.cells import as_text

MISSING = frozenset({"", "NA"})


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("a b", "a b"),
        (" NA ", None),
        ("Größe", "Größe"),
        (None, None),
        (float("nan"), None),
        (True, "true"),
        (2.0, "2"),
        (2.5, "2.5"),
        (-0.25, "-0.25"),
        (7, "7"),
        (decimal.Decimal("1E+3"), "1000"),
        (b"caf\xc3\xa9", "café"),
    ],
)
def test_a_cell_as_text(cell: Any, text: str | None) -> None:
    assert as_text(cell, MISSING) == text


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(TypeError, match="2 bytes that are not UTF-8"):
        as_text(b"\xff\xfe", MISSING)
