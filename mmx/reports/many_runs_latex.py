r"""A comparison of many runs as a table of LaTeX that fits the text of an article.

It needs ``\usepackage{booktabs,graphicx}``, and ``longtable`` where it is longer than a page. It
has fewer digits and columns than the other formats: no interval of validation, and of the
difference to the best only its mean and whether its interval leaves out 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mmx.printable import VALUE, one_line
from mmx.reports.group_line import GroupLine
from mmx.reports.latex import escape_latex, note_unknown_letters, shrink
from mmx.reports.many_runs import ManyRuns
from mmx.reports.many_runs_table import (
    describe_comparison,
    find_label,
    format_group_gain,
    format_mean,
)
from mmx.runs.mean_cells import MEANS

PAGE = 45
"""Lines from which a table breaks between pages."""
SIZE = (r"\scriptsize", r"\setlength{\tabcolsep}{3pt}")
CLEAR = "*"
LEGEND = (
    f"% bold: best by validation; {CLEAR}: the difference to it leaves out 0; "
    f"{MEANS}; parameters in thousands (k) or millions (M)"
)
Column = tuple[str, Callable[[GroupLine], str]]


def format_latex(found: ManyRuns) -> str:
    """Return the table, with what it says in comments before it."""
    columns = _list_columns(found)
    heads = [escape_latex(one_line(head, VALUE)) for head, _ in columns]
    rows = []
    for line in found.lines:
        cells = [escape_latex(one_line(show(line), VALUE)) for _, show in columns]
        rows.append([f"\\textbf{{{cell}}}" if line.is_best and cell else cell for cell in cells])
    comments = [*(f"% {line.strip()}" for line in describe_comparison(found)), LEGEND]
    counts = {len(line.test.values) for line in found.lines}
    if len(counts) == 1:
        comments.append(f"% each line is a mean of {counts.pop()}")
    head = " & ".join(heads) + r" \\"
    body = [" & ".join(row) + r" \\" for row in rows]
    form = "l" * len(columns)
    lines = _break_pages(form, head, body) if len(rows) > PAGE else _fit(form, head, body)
    table = "\n".join([*comments, "{" + "".join(SIZE) + "%", *lines, "}"]) + "\n"
    return note_unknown_letters(table)


def _fit(form: str, head: str, body: list[str]) -> list[str]:
    """Return a table of one page, made smaller where it is wider than the text."""
    start = [f"\\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule"]
    return shrink([*start, *body, r"\bottomrule", r"\end{tabular}"])


def _break_pages(form: str, head: str, body: list[str]) -> list[str]:
    """Return a table of several pages, each of which has the heads."""
    start = [f"\\begin{{longtable}}{{{form}}}", r"\toprule", head, r"\midrule", r"\endhead"]
    return [*start, *body, r"\bottomrule", r"\end{longtable}"]


def _list_columns(found: ManyRuns) -> list[Column]:
    """Return the heads of the columns, and what each shows of a line."""
    keys = list(dict.fromkeys(key for line in found.lines for key in line.group.label))
    columns: list[Column] = []
    if len(found.targets) > 1:
        columns.append(("target", lambda line: line.group.target))
    columns += [(key, partial(find_label, key)) for key in keys]
    if len({len(line.test.values) for line in found.lines}) > 1:
        columns.append(("n", lambda line: str(len(line.test.values))))
    columns += [
        (f"{found.metric} test", lambda line: format_mean(line.test)),
        ("val", lambda line: f"{line.val.value:.3f}"),
    ]
    if any(line.gain for line in found.lines):
        columns.append(("gain", format_group_gain))
    if any(line.paired for line in found.lines):
        columns.append(("to the best", _format_paired))
    return [
        *columns,
        ("s", lambda line: f"{line.seconds:.3g}"),
        ("params", lambda line: format_count(line.parameters)),
    ]


def _format_paired(line: GroupLine) -> str:
    """Return the difference to the best by validation, marked where it is clear."""
    if line.paired is None:
        return ""
    low, high = line.paired.interval
    return f"{line.paired.value:+.3f}{CLEAR if low > 0 or high < 0 else ''}"


def format_count(count: float) -> str:
    """Return a number of parameters with three digits: ``25.1k``, ``1.2M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g}{unit}"
    return f"{count:.0f}"
