"""Letters of LaTeX tables: which of them pdflatex prints, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from latex_paper import compile_paper

from mmx.reports.latex import (
    KNOWN,
    UNKNOWN_LATIN,
    escape_latex,
    explain_unknown_letters,
    note_unknown_letters,
)


def test_pdflatex_prints_all_letters_that_are_taken_for_known(tmp_path: Path) -> None:
    compile_paper(tmp_path, "\n\n".join(sorted(KNOWN)))


@pytest.mark.parametrize("letter", [*sorted(UNKNOWN_LATIN)[:3], "Ж", "α", "天", "e\u0301"])
def test_pdflatex_refuses_the_others(letter: str, tmp_path: Path) -> None:
    assert explain_unknown_letters(f"% ±\n{letter} & 1\n").startswith(
        f"pdflatex does not know {letter.lstrip('e')}: "
    )
    with pytest.raises(AssertionError):
        compile_paper(tmp_path, letter)


def test_what_is_escaped_and_what_stands_in_comments_is_not_named() -> None:
    table = f"% 天空\n{escape_latex('Züge − 1 ± 2 … · → –')}\n"
    assert explain_unknown_letters(table) == ""
    assert note_unknown_letters(table) == table


def test_ten_letters_are_named_each_once() -> None:
    letters = "一二三四五六七八九十百千"
    said = explain_unknown_letters(letters + letters)
    assert said.startswith("pdflatex does not know 一二三四五六七八九十…: compile with lualatex")
    assert note_unknown_letters(letters) == f"% {said}\n{letters}"
