"""Text as LaTeX prints it, and tables that are as wide as the text at most."""

from __future__ import annotations

import re
from collections.abc import Sequence

LATEX = {
    "\\": r"\textbackslash{}",
    **{each: f"\\{each}" for each in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "…": r"\dots{}",
    "→": r"$\rightarrow$",
    "−": "$-$",
    "·": r"$\cdot$",
    "–": "--",
}
"""What LaTeX would obey or does not know, and what is written for it."""
UNKNOWN_LATIN = frozenset("«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")
"""Of Latin-1 and Latin Extended-A, what pdflatex does not print without a package."""
KNOWN = frozenset(map(chr, range(0xA0, 0x180))) - UNKNOWN_LATIN | frozenset("ȘșȚț—‘’“”•€")
"""Letters beyond ASCII that it does print."""
MOST_LETTERS = 10
"""Letters that are named at most."""


def escape_latex(text: str) -> str:
    """Return a text as LaTeX prints it, with what LaTeX obeys escaped."""
    # After the end of a row, LaTeX would take these for an argument of it.
    guard = "{}" if text.startswith(("[", "*")) else ""
    # A hyphen before a number is its sign.
    text = re.sub(r"(?<![\w.])-(?=[0-9])", "−", text)
    return guard + "".join(LATEX.get(character, character) for character in text)


def explain_unknown_letters(table: str) -> str:
    """Return which letters of a table pdflatex does not know and what prints them; empty if none.

    Args:
        table: Lines of LaTeX; comments, which are not printed, may hold any letter.
    """
    lines = [line for line in table.split("\n") if not line.startswith("%")]
    found = [x for x in dict.fromkeys("".join(lines)) if not x.isascii() and x not in KNOWN]
    if not found:
        return ""
    named = "".join(found[:MOST_LETTERS]) + ("…" if len(found) > MOST_LETTERS else "")
    return (
        f"pdflatex does not know {named}: compile with lualatex or xelatex, in a font that has "
        "them (\\usepackage{fontspec} \\setmainfont{…})"
    )


def note_unknown_letters(table: str) -> str:
    """Return a table with a comment before it on the letters that pdflatex does not know."""
    note = explain_unknown_letters(table)
    return f"% {note}\n{table}" if note else table


def shrink(lines: Sequence[str]) -> list[str]:
    r"""Return a table as wide as the text where it is wider; needs ``\usepackage{graphicx}``."""
    return [
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        *lines[:-1],
        f"{lines[-1]}%",
        "}%",  # a line's end is a space, which makes the paragraph wider than the text
    ]
