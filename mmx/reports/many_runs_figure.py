"""A comparison of many runs as a figure for print, by matplotlib: ``mmx[figures]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmx.errors import RunError, UsageError
from mmx.metrics import find_bounds
from mmx.reports.group_line import GroupLine
from mmx.reports.many_runs import ManyRuns
from mmx.reports.run_groups import RunGroup

SUFFIXES = (".pdf", ".svg", ".png")
BEST, OTHER, FRONT = "#0072B2", "#555555", "#D55E00"
"""Colours that colour-blind readers tell apart (Okabe and Ito)."""
UNSAID = ("", "none", "{}")
"""Values that a short name leaves out."""
LINE_HEIGHT = 0.28
"""Inches of a group."""


CAPTION = (
    "bars: 95 % intervals over three seeds or folds and more; blue: best by validation; "
    "orange: no other is better in less time"
)


def require_figure_path(path: Path) -> None:
    """Check that a figure can be written, before anything is read.

    Raises:
        UsageError: The name has another ending, or its folder does not exist.
        RunError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--figure {path}: the name ends in one of {', '.join(SUFFIXES)}",
            tip=f"--figure {path.with_suffix('.pdf')}",
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--figure {path}: there is no folder {path.parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise RunError(
            "figures are drawn by matplotlib, which is not installed",
            tip="pip install 'mmx[figures]'",
        ) from error


def draw_figure(found: ManyRuns, path: Path) -> None:
    """Draw means with their intervals, the metric against time, and ranks over targets.

    Args:
        found: The comparison.
        path: Where to write; its ending chooses the format.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    targets = found.targets
    most = max(sum(line.group.target == each for line in found.lines) for each in targets)
    height = max(2.0, 0.9 + LINE_HEIGHT * most)
    ranks = found.ranks
    rows = len(targets) + (ranks is not None)
    # Type 42 embeds fonts as outlines that can be searched and edited.
    # Names are texts, in which $ begins no formula.
    plain: Any = {
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "font.size": 8,
        "text.parse_math": False,
    }
    with mpl.rc_context(plain):
        figure = Figure(figsize=(7.0, height * len(targets) + (1.6 if ranks else 0)))
        figure.set_layout_engine("constrained")
        grid = figure.add_gridspec(rows, 2, width_ratios=(3, 2))
        for place, target in enumerate(targets):
            lines = [line for line in found.lines if line.group.target == target]
            _draw_means(figure.add_subplot(grid[place, 0]), found, lines)
            _draw_front(figure.add_subplot(grid[place, 1]), found, lines)
        if ranks is not None:
            _draw_ranks(figure.add_subplot(grid[rows - 1, :]), found)
        figure.supxlabel(CAPTION, fontsize=6, color=OTHER)
        figure.savefig(path, dpi=200, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_means(axes: Any, found: ManyRuns, lines: list[GroupLine]) -> None:
    """Draw one dot with an interval for each group, the best on test on top."""
    for place, line in enumerate(reversed(lines)):
        colour = BEST if line.is_best else OTHER
        mean, ends = line.test.value, line.test.clip(find_bounds(found.metric))
        reach = None if ends is None else [[max(mean - ends[0], 0.0)], [max(ends[1] - mean, 0.0)]]
        axes.errorbar(mean, place, xerr=reach, fmt="o", ms=4, color=colour, capsize=2, lw=1)
    names = _name_groups([line.group for line in reversed(lines)])
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(-0.6, len(lines) - 0.4)
    lower = "" if found.larger_is_better else " (lower is better)"
    axes.set_xlabel(f"{found.metric} on test{lower}")
    axes.set_title(lines[0].group.target, fontsize=8)
    _lighten(axes)


def _draw_front(axes: Any, found: ManyRuns, lines: list[GroupLine]) -> None:
    """Draw the metric against seconds, with the Pareto front as steps."""
    for line in lines:
        colour = BEST if line.is_best else OTHER
        axes.plot(line.seconds, line.test.value, "o", ms=4, color=colour)
        if line.is_on_front:  # a ring, which also a front of a single group has
            ring = {"ms": 8, "mfc": "none", "mec": FRONT, "mew": 1}
            axes.plot(line.seconds, line.test.value, "o", **ring)
    front = sorted((line.seconds, line.test.value) for line in lines if line.is_on_front)
    if front:  # a metric may be undefined for all groups
        axes.step(*zip(*front, strict=True), where="post", color=FRONT, lw=1, zorder=0)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel(found.metric)
    _lighten(axes)


def _draw_ranks(axes: Any, found: ManyRuns) -> None:
    """Draw mean ranks and join those that are not told apart (a critical-difference diagram)."""
    ranks = found.ranks
    if ranks is None:
        return
    ordered = sorted(zip(ranks.means, found.methods, strict=True))
    for place, (rank, name) in enumerate(ordered):
        axes.plot(rank, -place, "o", ms=4, color=OTHER)
        axes.annotate(_shorten(name), (rank, -place), xytext=(5, -3), textcoords="offset points")
    for place, (rank, _) in enumerate(ordered):
        close = [each for each, _ in ordered[place:] if each - rank < ranks.critical_difference]
        if len(close) > 1:
            axes.plot([rank, close[-1]], [0.5 + 0.15 * place] * 2, color=FRONT, lw=2)
    axes.set_yticks([])
    axes.margins(x=0.15, y=0.15)  # names begin at the points
    axes.set_xlabel(
        f"mean rank over {ranks.targets} targets; orange: not told apart "
        f"(critical difference {ranks.critical_difference:.2f})"
    )
    _lighten(axes)


def _name_groups(groups: list[RunGroup]) -> list[str]:
    """Return a short name of each group: its values alone, where they tell groups apart."""
    kept = [[each for each in group.label.values() if each not in UNSAID] for group in groups]
    short = [", ".join(values) or "none" for values in kept]
    unique = len(set(short)) == len(groups)
    return [_shorten(name) for name in (short if unique else [group.name for group in groups])]


def _shorten(name: str, most: int = 48) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _lighten(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", lw=0.3, color="#cccccc")
