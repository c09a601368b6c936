"""The matrix of transfer as a table: for a terminal, a paper, a notebook or a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmx.csv_text import format_csv
from mmx.printable import VALUE, one_line
from mmx.reports.latex import escape_latex, note_unknown_letters, shrink
from mmx.reports.many_runs_table import Format, escape_markdown, format_comparison_json
from mmx.reports.transfer_matrix import ITSELF, Matrix, MatrixCell, TransferMatrix

LEGEND = (
    "[+] clearly positive, [-] clearly negative, [·] not clear, [?] neither is better than chance; "
    f"n: seeds or folds; {ITSELF}: the source is the target"
)
CORNER = "source"
GAP = "  "
NO_NEGATIVE = "none that is clear"


def format_matrix(found: TransferMatrix, form: Format) -> str:
    """Return a matrix in a format but HTML, which is a page, with a newline at its end."""
    formats: dict[str, Callable[[TransferMatrix], str]] = {
        "text": _format_text,
        "csv": _format_csv,
        "json": lambda matrix: format_comparison_json(matrix.data()),
        "markdown": _format_markdown,
        "latex": _format_latex,
    }
    return formats[form](found)


def describe_matrix(found: TransferMatrix) -> list[str]:
    """Return what the matrix says, in sentences: negative transfer, best sources, what failed."""
    lines = []
    for matrix in found.matrices:
        where = f" with {matrix.name}" if matrix.name else ""
        negative = [cell for cell in matrix.cells.values() if cell.gain.gain.negative]
        named = [f"{x.source} → {x.target} {format_cell(x)}" for x in negative]
        lines.append(f"negative transfer{where}: {'; '.join(named) or NO_NEGATIVE}")
        for target in found.targets:
            if (best := matrix.find_best(target)) is not None:
                lines.append(f"best source by validation{where} {_describe_best(best)}")
    for each in found.troubles:
        why = f": {each.why}" if each.why else ""
        lines.append(f"{each.status}: {each.source} → {each.target}{why}")
    return [one_line(line) for line in (*lines, *(f"note: {note}" for note in found.notes))]


def _describe_best(best: MatrixCell) -> str:
    text = f"for {best.target}: {best.source}, gain {format_cell(best)}"
    if best.control_val is None:
        return text
    over = best.gain.gain.control
    sign = best.gain.gain.sign
    word = "" if best.signed_val > sign * best.control_val else ", which is no worse"
    return (
        f"{text}; on validation {best.metric} {best.val:.3f}, {over} control "
        f"{best.control_val:.3f}{word}"
    )


def format_cell(cell: MatrixCell) -> str:
    """Return the gain with its interval."""
    interval = format_cell_interval(cell)
    return f"{cell.gain.gain.value:+.3f}" + (f" ({interval})" if interval else "")


def format_cell_interval(cell: MatrixCell) -> str:
    """Return the interval; empty without one."""
    found = cell.gain.gain.interval
    return "" if found is None else f"{found[0]:+.3f} … {found[1]:+.3f}"


def list_matrix_heads(found: TransferMatrix, matrix: Matrix) -> list[str]:
    """Return the heads of a matrix: a corner, then the targets."""
    return [CORNER, *(one_line(found.name_column(matrix, each), VALUE) for each in found.targets)]


def list_matrix_rows(found: TransferMatrix, matrix: Matrix) -> list[list[str]]:
    """Return each row with its source first, every cell in one line."""
    return [
        [one_line(source, VALUE), *(_format_cell(found, matrix, source, x) for x in found.targets)]
        for source in found.sources
    ]


def _format_cell(found: TransferMatrix, matrix: Matrix, source: str, target: str) -> str:
    cell = matrix.cells.get((source, target))
    if cell is None:
        return found.find_status(source, target)
    return f"{format_cell(cell)} n={cell.gain.count} [{cell.mark}]"


def _format_text(found: TransferMatrix) -> str:
    """Return tables in which the interval stands below the gain."""
    lines = [found.title]
    for matrix in found.matrices:
        lines += ["", *([matrix.name] if matrix.name else []), *_draw_table(found, matrix)]
    return "\n".join([*lines, "", LEGEND, *describe_matrix(found)]) + "\n"


def _draw_table(found: TransferMatrix, matrix: Matrix) -> list[str]:
    rows: list[Sequence[str]] = [list_matrix_heads(found, matrix)]
    for source in found.sources:
        above, below = [one_line(source, VALUE)], [""]
        for target in found.targets:
            cell = matrix.cells.get((source, target))
            if cell is None:
                above.append(found.find_status(source, target))
                below.append("")
            else:
                above.append(f"{cell.gain.gain.value:+.3f} n={cell.gain.count} [{cell.mark}]")
                below.append(format_cell_interval(cell))
        rows += [above, below] if any(below) else [above]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [GAP.join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _format_csv(found: TransferMatrix) -> str:
    """Return a line for each cell, with numbers as they are stored."""
    # A spreadsheet would read + and - as formulas; the verdict says the same in words.
    entries = [{k: v for k, v in x.items() if k != "mark"} for x in found.list_entries()]
    heads = list(dict.fromkeys(key for entry in entries for key in entry))
    return format_csv([heads, *([entry.get(head) for head in heads] for entry in entries)])


def _format_markdown(found: TransferMatrix) -> str:
    blocks = [escape_markdown(found.title), ""]
    for matrix in found.matrices:
        rows = [list_matrix_heads(found, matrix), *list_matrix_rows(found, matrix)]
        head, *body = [f"| {' | '.join(map(escape_markdown, row))} |" for row in rows]
        name = [f"**{escape_markdown(matrix.name)}**", ""] if matrix.name else []
        blocks += [*name, head, f"| {' | '.join(['---'] * len(rows[0]))} |", *body, ""]
    lines = [LEGEND, *describe_matrix(found)]
    return "\n".join([*blocks, *(f"- {escape_markdown(line)}" for line in lines)]) + "\n"


def _format_latex(found: TransferMatrix) -> str:
    r"""Return a table for ``\usepackage{booktabs,graphicx}``; what is clear is in bold."""
    lines = [f"% {line}" for line in (found.title, LEGEND, *describe_matrix(found))]
    for matrix in found.matrices:
        heads = [escape_latex(head) for head in list_matrix_heads(found, matrix)]
        if matrix.name:  # one of several, each below the one before
            lines.append(rf"\par\noindent {escape_latex(one_line(matrix.name))}\par\noindent")
        table = [f"\\begin{{tabular}}{{{'l' * len(heads)}}}", "\\toprule"]
        table += [" & ".join(heads) + r" \\", "\\midrule"]
        for row in list_matrix_rows(found, matrix):
            clear = [cell.endswith(("[+]", "[-]")) for cell in row]
            cells = [escape_latex(cell) for cell in row]
            shown = [f"\\textbf{{{x}}}" if y else x for x, y in zip(cells, clear, strict=True)]
            table.append(" & ".join(shown) + r" \\")
        lines += shrink([*table, "\\bottomrule", "\\end{tabular}"])
    return note_unknown_letters("\n".join(lines) + "\n")
