"""The sheet of ``suite=missing rate=…``: metrics where cells are missing at random."""

from __future__ import annotations

from collections.abc import Sequence

from mmx.evaluation.random_missing import DRAWS, RatePoint
from mmx.reports.page import Grid
from mmx.reports.suites import Sheet
from mmx.reports.view import format_metric


def make_rates_sheet(points: Sequence[RatePoint], split: str, rows: int, seed: int) -> Sheet:
    """Return the metrics at each rate, as mean and interval over draws.

    Args:
        points: One for each rate, their metrics with the primary one first.
        split: The split that was measured.
        rows: Its number of rows.
        seed: Of the draws.
    """
    names = tuple(points[0].draws[0])
    cells = tuple(_format_point(point, names) for point in points)
    return Sheet(
        name="missing_at_random",
        title="Modalities missing at random",
        answer=_tell(points, names[0]),
        split=split,
        notes=(
            f"All {rows:,} rows of {split}. Each modality of each row is taken away with the given "
            f"probability, independently of all others; mean of {DRAWS} draws (seed {seed}) with "
            "a 95 % interval over draws. A row that has nothing left is answered by the prior, the "
            "class frequencies (or the mean) of the training targets; 'by prior' is the mean "
            "number of such rows.",
        ),
        grids=(Grid(f"Missing at random ({split})", ("rate", *names, "by prior"), cells),),
        columns=("split", "seed", "rate", "draw", *names),
        rows=tuple(
            (split, seed, point.rate, draw, *found.values())
            for point in points
            for draw, found in enumerate(point.draws)
        ),
    )


def _format_point(point: RatePoint, names: Sequence[str]) -> tuple[str, ...]:
    """Return a row of the table: rate, mean and half interval of each metric, rows by prior."""
    means = (
        f"{format_metric(name, point.mean(name))} ± {format_metric(name, point.half_width(name))}"
        for name in names
    )
    return (f"{point.rate:g}", *means, f"{point.by_prior:,.1f}")


def _tell(points: Sequence[RatePoint], primary: str) -> str:
    """Return the metric at the lowest and at the highest rate."""
    parts = [
        f"{primary} {format_metric(primary, point.mean(primary))} at rate {point.rate:g}"
        for point in (points[0], points[-1])
    ]
    return ", ".join(dict.fromkeys(parts))
