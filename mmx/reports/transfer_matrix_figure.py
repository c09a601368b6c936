"""The matrix of transfer as a heat map for print, by matplotlib: ``mmx[figures]``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from mmx.reports.transfer_matrix import NEGATIVE, POSITIVE, Matrix, MatrixCell, TransferMatrix
from mmx.reports.transfer_matrix_table import format_cell_interval

COLOURS = "PuOr_r"
"""Purple for losses and orange for gains, which colour-blind readers tell apart (ColorBrewer)."""
EMPTY = "#eeeeee"
COLUMN, ROW = 1.35, 0.62
"""Inches of a cell."""
LETTERS = 18
"""Of a title, in the width of a cell."""
DARK = 0.62
"""From this part of the largest gain on, texts are white."""
TICKS = (-1, -0.5, 0, 0.5, 1)
CAPTION = (
    "+ clearly positive, − clearly negative, · not clear, ? neither is better than chance; "
    "n: seeds or folds; –: the source is the target"
)


def draw_matrix(found: TransferMatrix, path: Path) -> None:
    """Draw a heat map for each setting, in which 0 is white and each cell states its numbers.

    Args:
        found: The matrix.
        path: Where to write; its ending chooses the format.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    count = len(found.matrices)
    width = 2.4 + COLUMN * len(found.targets)
    lines = sum(_wrap_name(found, matrix).count("\n") for matrix in found.matrices)
    height = 0.9 + (0.75 + ROW * len(found.sources)) * count + 0.15 * lines
    # Type 42 embeds fonts as outlines that can be searched and edited.
    # Names are texts, in which $ begins no formula.
    plain: Any = {
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "font.size": 8,
        "text.parse_math": False,
    }
    with mpl.rc_context(plain):
        figure = Figure(figsize=(width, height))
        figure.set_layout_engine("constrained")
        largest = _find_largest(found)
        axes = figure.subplots(count, 1, squeeze=False)[:, 0]
        for each, matrix in zip(axes, found.matrices, strict=True):
            image = _draw_one(each, found, matrix, largest)
        bar = figure.colorbar(image, ax=list(axes), shrink=0.8, aspect=30)
        _label_bar(bar, found, largest)
        letters = int(width * 15)
        figure.suptitle(textwrap.fill(found.title, letters), fontsize=8)
        figure.supxlabel(textwrap.fill(CAPTION, int(letters * 1.3)), fontsize=6, color="#555555")
        figure.savefig(path, dpi=200, metadata={"Date": None} if path.suffix == ".svg" else None)


def _label_bar(bar: Any, found: TransferMatrix, largest: dict[str, float]) -> None:
    """Write what the colours mean: gains, or parts of the largest where metrics differ."""
    if len(largest) > 1:
        bar.set_label("gain, as part of the largest in its metric")
        return
    ((metric, limit),) = largest.items()
    labels = [f"{part * limit:+.2g}".replace("-", "−") if part else "0" for part in TICKS]
    bar.set_ticks(TICKS, labels=labels)
    lower = any(cell.gain.gain.lower_is_better for cell in found.cells)
    bar.set_label(f"gain in {metric}" + (" (+: it is lower)" if lower else ""))


def _find_largest(found: TransferMatrix) -> dict[str, float]:
    """Return the largest absolute gain in each metric, at which its colours end."""
    largest: dict[str, float] = {}
    for cell in found.cells:
        size = abs(cell.gain.gain.value)
        known = largest.setdefault(cell.metric, 0.0)
        largest[cell.metric] = max(known, size) if np.isfinite(size) else known
    return {metric: size or 1.0 for metric, size in largest.items()}


def _draw_one(axes: Any, found: TransferMatrix, matrix: Matrix, largest: dict[str, float]) -> Any:
    shares = np.full((len(found.sources), len(found.targets)), np.nan)
    for row, source in enumerate(found.sources):
        for column, target in enumerate(found.targets):
            cell = matrix.cells.get((source, target))
            if cell is None:
                text, colour, weight = found.find_status(source, target), "#555555", "normal"
            else:
                share = cell.gain.gain.value / largest[cell.metric]
                shares[row, column] = share
                text = _write_cell(cell)
                colour = "white" if abs(share) > DARK else "black"
                weight = "bold" if cell.mark in (POSITIVE, NEGATIVE) else "normal"
            axes.text(
                column, row, text, ha="center", va="center", color=colour, fontsize=7,
                fontweight=weight,
            )  # fmt: skip
    axes.set_facecolor(EMPTY)
    image = axes.imshow(shares, cmap=COLOURS, vmin=-1, vmax=1, aspect="auto")
    heads = [found.name_column(matrix, target) for target in found.targets]
    axes.set_xticks(range(len(heads)), [textwrap.fill(head, 18) for head in heads])
    axes.set_yticks(
        range(len(found.sources)), [textwrap.fill(source, 22) for source in found.sources]
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("source")
    axes.set_title(f"{_wrap_name(found, matrix)}\ntarget".strip(), fontsize=8)
    return image


def _wrap_name(found: TransferMatrix, matrix: Matrix) -> str:
    return textwrap.fill(matrix.name, 24 + LETTERS * len(found.targets))


def _write_cell(cell: MatrixCell) -> str:
    mark = "−" if cell.mark == NEGATIVE else cell.mark
    interval = format_cell_interval(cell)
    lines = [f"{cell.gain.gain.value:+.3f}  {mark}", interval, f"n = {cell.gain.count}"]
    return "\n".join(filter(None, lines)).replace("-", "−")
