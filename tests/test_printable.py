"""What somebody else named is shown: by a terminal, and by a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest
from rich.table import Table
from rich.text import Text

from mmx.csv_text import format_csv, unescape_cell
from mmx.printable import one_line, printable
from mmx.terminal import Console


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),  # the same sequence in one character
        ("a\rb\x08c\x7f", "a\\x0db\\x08c\\x7f"),
        ("cat\u202egpj.exe", "cat\\u202egpj.exe"),
        ("a\u2066b\u2069\u200f\u061c\u2028", "a\\u2066b\\u2069\\u200f\\u061c\\u2028"),
        ("name\udcff", "name\\udcff"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("日本語 हिन्दी 👩‍👧 Ärger", "日本語 हिन्दी 👩‍👧 Ärger"),
    ],
)
def test_what_a_terminal_obeys_is_shown_by_its_number(given: str, shown: str) -> None:
    assert printable(given) == shown
    assert one_line(f"{given}\n\t") == shown.replace("\n", "\\n").replace("\t", "\\t") + "\\n\\t"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_obeys_nothing(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal, color_system=None)
    hostile = "\x1b[2J [bold]x[/] [link=file:///]y[/link] :smile:"
    table = Table(hostile, hostile, title=hostile)
    table.add_row(hostile, Text(hostile))
    console.print(hostile, highlight=False, soft_wrap=True)
    console.print(table)
    assert "\x1b" not in out.getvalue()
    shown = "\\x1b[2J [bold]x[/] [link=file:///]y[/link] :smile:"
    assert out.getvalue().startswith(f"{shown}\n")
    assert out.getvalue().count("\\x1b[2J [bold]x[/]") == 6


CELLS = [
    ("=1+1", "'=1+1"),
    ("=HYPERLINK(\"x\")", "'=HYPERLINK(\"x\")"),
    ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
    ("-2+3", "'-2+3"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("\t=1", "'\t=1"),
    ("\r=1", "'\r=1"),
    (" =1+1", "' =1+1"),
    ("＝1+1", "'＝1+1"),
    ("'=1+1", "''=1+1"),
    ("-", "'-"),
    ("-1", "-1"),
    ("+0.5", "+0.5"),
    ("-1.5e-7", "-1.5e-7"),
    ("-inf", "-inf"),
    ("-1e", "'-1e"),
    ("'tis", "'tis"),
    ("a=b", "a=b"),
    ("", ""),
    ("plain", "plain"),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "written"), CELLS)
def test_a_cell_that_a_spreadsheet_would_run_is_text(cell: str, written: str) -> None:
    text = format_csv([[cell, "x"]])
    ((found, _),) = csv.reader(io.StringIO(text, newline=""))
    assert found == written
    assert unescape_cell(found) == cell


def test_numbers_are_written_as_they_are() -> None:
    assert format_csv([["a", "b"], [-0.1, None], [-3, float("-inf")]]) == "a,b\n-0.1,\n-3,-inf\n"
    assert format_csv([["\udcff"]]).encode() == b"\\udcff\n"


def test_a_reader_of_messages_who_has_gone_ends_no_run() -> None:
    console = Console(stderr=True)
    console.on_broken_pipe()
    assert console.quiet  # it tries no further message, and each would fail
