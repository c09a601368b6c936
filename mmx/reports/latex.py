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


def escape_latex(text: str) -> str:
    """Return a text as LaTeX prints it, with what LaTeX obeys escaped."""
    # After the end of a row, LaTeX would take these for an argument of it.
    guard = "{}" if text.startswith(("[", "*")) else ""
    # A hyphen before a number is its sign.
    text = re.sub(r"(?<![\w.])-(?=[0-9])", "−", text)
    return guard + "".join(LATEX.get(character, character) for character in text)


def shrink(lines: Sequence[str]) -> list[str]:
    r"""Return a table as wide as the text where it is wider; needs ``\usepackage{graphicx}``."""
    return [
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        *lines[:-1],
        f"{lines[-1]}%",
        "}%",  # a line's end is a space, which makes the paragraph wider than the text
    ]
