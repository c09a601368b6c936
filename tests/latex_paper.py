"""Compiles what mmx writes for a paper."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def compile_paper(folder: Path, table: str) -> str:
    """Compile a paper of nothing but a table in a folder; return what LaTeX said."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no LaTeX is installed, which would compile the table")
    (folder / "table.tex").write_text(table, encoding="utf-8")
    (folder / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx,longtable}\n"
        "\\begin{document}\n\\noindent\\input{table}\n\\end{document}\n"
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout
