"""Results of an evaluation suite: eval/<suite>.csv, eval/<suite>.html, and a table.

A :class:`Sheet` holds all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from mmx.csv_text import format_csv
from mmx.evaluation.importance import Importance
from mmx.evaluation.robustness import NoiseCurve
from mmx.evaluation.subsets import ALL_SUBSETS, ORDERS, Subset, SubsetAnswers
from mmx.reports.page import Chart, Grid, render_page
from mmx.reports.suite_charts import draw_suite
from mmx.reports.view import format_metric
from mmx.runs.atomic import write_text
from mmx.runs.directory import RunDirectory

NONE = "none"
"""Name of the empty subset."""


@dataclass(frozen=True)
class Sheet:
    """The results of one suite.

    Attributes:
        name: The suite.
        title: The title of its page.
        answer: What it found, in one sentence.
        split: The split that was measured.
        notes: How to read it, one paragraph each.
        grids: Tables for people.
        charts: Plots.
        columns: Columns of the CSV file.
        rows: Its cells, with all digits.
        floor: The primary metric of the prior, if it is drawn.
    """

    name: str
    title: str
    answer: str
    split: str
    notes: tuple[str, ...]
    grids: tuple[Grid, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    floor: float | None = None

    @property
    def charts(self) -> list[Chart]:
        """Its plots."""
        return draw_suite(self.name, self.columns, self.rows, self.floor)


def format_subset(subset: Subset) -> str:
    """Return a subset as text, such as ``image+text``."""
    return "+".join(subset) or NONE


def make_missing_sheet(
    found: SubsetAnswers, metrics: Mapping[Subset, Mapping[str, float]], split: str
) -> Sheet:
    """Return the metrics of every subset of the modalities.

    Args:
        found: The predictions.
        metrics: Subset to metrics, the primary one first.
        split: The split that was measured.
    """
    names = tuple(metrics[()])
    blind = {subset: answers.by_prior for subset, answers in found.answers.items()}
    return Sheet(
        name="missing",
        title="Missing modalities",
        answer=_tell_missing(metrics, names[0]),
        split=split,
        notes=(
            f"All {len(found.values):,} rows of {split}, showing only some modalities. A row that "
            "has none of them is answered by the prior, the class frequencies (or the mean) of the "
            "training targets; 'by prior' counts such rows. Without any modality all of them are.",
        ),
        grids=(_make_missing_grid(metrics, blind, split),),
        columns=("split", "shown", *names, "by_prior"),
        rows=tuple(
            (split, format_subset(subset), *each.values(), blind[subset])
            for subset, each in metrics.items()
        ),
    )


def _make_missing_grid(
    metrics: Mapping[Subset, Mapping[str, float]], blind: Mapping[Subset, int], split: str
) -> Grid:
    """Return the metrics of each subset; ``blind`` is how many rows the prior answers."""
    names = tuple(metrics[()])
    return Grid(
        f"Only these modalities are shown ({split})",
        ("shown", *names, "by prior"),
        tuple(
            (
                format_subset(subset),
                *(format_metric(name, each[name]) for name in names),
                f"{blind[subset]:,}",
            )
            for subset, each in metrics.items()
        ),
    )


def make_noise_sheet(curves: Sequence[NoiseCurve], floor: float, split: str, seed: int) -> Sheet:
    """Return the curves over noise.

    Args:
        curves: Their metrics, with the primary one first.
        floor: The primary metric of the prior.
        split: The split that was measured.
        seed: Seed of the noise.
    """
    names = tuple(curves[0].points[0].metrics)
    primary = names[0]
    areas = {(each.modality, each.noise): each.relative_area(primary) for each in curves}
    return Sheet(
        name="noise",
        title="Noisy modalities",
        answer=_tell_noise(curves, primary),
        split=split,
        notes=(
            f"One modality of {split} is spoiled before its encoder, the others are clean; what is "
            f"drawn depends on noise seed {seed} and the row alone. Cells: {primary} (strength). "
            "The area is that under the curve of the strength, in parts of the heaviest, over the "
            "clean score: 1 means not hurt at all.",
            *(f"{each.modality}, {each.noise}: strength is the {each.what}." for each in curves),
        ),
        grids=tuple(
            _make_noise_grid([each for each in curves if each.modality == modality], primary, split)
            for modality in dict.fromkeys(each.modality for each in curves)
        ),
        columns=(
            *("split", "modality", "noise", "strength", "level", "scaled"),
            *(*names, "by_prior", "relative_area"),
        ),
        rows=tuple(
            (
                *(split, each.modality, each.noise, p.strength, p.level, x),
                *(*p.metrics.values(), p.by_prior, areas[each.modality, each.noise]),
            )
            for each in curves
            for x, p in zip(each.relative_strengths, each.points, strict=True)
        ),
        floor=floor,
    )


def _make_noise_grid(curves: Sequence[NoiseCurve], primary: str, split: str) -> Grid:
    """Return the primary metric of one modality at each strength of each noise."""
    return Grid(
        f"Noise on {curves[0].modality} ({split})",
        ("noise", *(("clean", "", "", "", "heavy")), "area"),
        tuple(
            (
                each.noise,
                *(f"{p.metrics[primary]:.3f} ({p.level})" for p in each.points),
                _format_number(each.relative_area(primary)),
            )
            for each in curves
        ),
    )


def _tell_missing(metrics: Mapping[Subset, Mapping[str, float]], primary: str) -> str:
    """Return the metric with all modalities, and with the best one alone."""
    whole = max(metrics, key=len)
    text = f"{primary} {format_metric(primary, metrics[whole][primary])} with all modalities"
    alone = {subset[0]: each[primary] for subset, each in metrics.items() if len(subset) == 1}
    if len(alone) < 2:
        return text
    parts = [f"{format_metric(primary, value)} with {name} alone" for name, value in alone.items()]
    return f"{text}, {', '.join(parts)}"


def _tell_noise(curves: Sequence[NoiseCurve], primary: str) -> str:
    """Return by what the metric suffers most."""

    def measure_loss(each: NoiseCurve) -> float:
        found = each.relative_area(primary)
        return -1.0 if found is None or found != found else abs(1 - found)

    most = max(curves, key=measure_loss)
    first, last = (format_metric(primary, most.points[end].metrics[primary]) for end in (0, -1))
    return f"{most.noise} on {most.modality} changes most: {primary} {first} clean, {last} heaviest"


def make_importance_sheet(
    overall: Importance, classes: Mapping[str, Importance], split: str
) -> Sheet:
    """Return how much each modality contributes, overall and for each class."""
    modalities = tuple(overall.values)
    every = {"": overall, **classes}
    whole = {overall.score: overall}
    grids = [_make_importance_grid(f"Shapley values ({split})", "score", whole)]
    if classes:
        title = f"Recall of each class ({split})"
        grids.append(_make_importance_grid(title, "class", classes))
    return Sheet(
        name="importance",
        title="Importance of the modalities",
        answer=_tell_importance(overall),
        split=split,
        notes=(
            "A Shapley value is what a modality adds to the score, as the mean over "
            f"{'all' if len(modalities) <= ALL_SUBSETS else ORDERS} orders in "
            "which the modalities can be shown. The values sum to the score with all modalities "
            "minus the one with none, which is that of the prior of the training targets.",
            *(
                [
                    "Without any modality the most frequent class is always predicted: its recall "
                    "starts from 1, and what the modalities take from it counts as negative."
                ]
                if classes
                else []
            ),
        ),
        grids=tuple(grids),
        columns=("split", "score", "class", "modality", "shapley", "empty", "full"),
        rows=tuple(
            (split, each.score, label, name, phi, each.empty, each.full)
            for label, each in every.items()
            for name, phi in each.values.items()
        ),
    )


def _make_importance_grid(title: str, first: str, found: Mapping[str, Importance]) -> Grid:
    """Return what each modality contributes to each score; ``first`` says what a row is."""
    modalities = tuple(next(iter(found.values())).values)
    return Grid(
        title,
        (first, *modalities, "none", "all"),
        tuple(
            (
                label,
                *(f"{each.values[name]:+.3f}" for name in modalities),
                f"{each.empty:.3f}",
                f"{each.full:.3f}",
            )
            for label, each in found.items()
        ),
    )


def _tell_importance(overall: Importance) -> str:
    """Return what each modality adds, the most first."""
    ordered = sorted(overall.values, key=lambda name: -overall.values[name])
    parts = [f"{name} {overall.values[name]:+.3f}" for name in ordered]
    return f"Of {overall.score} {overall.full:.3f}: {', '.join(parts)}"


def write_suite(directory: RunDirectory, sheet: Sheet) -> Path:
    """Write ``eval/<suite>.csv`` and ``eval/<suite>.html``, and return the page."""
    folder = directory.path / "eval"
    folder.mkdir(exist_ok=True)
    write_text(folder / f"{sheet.name}.csv", format_csv([sheet.columns, *sheet.rows]))
    html = render_page(
        "suite.html.jinja",
        title=f"{sheet.title}: {directory.path.name}",
        run=directory.path.name,
        sheet=sheet,
        charts=sheet.charts,
    )
    path = folder / f"{sheet.name}.html"
    write_text(path, html)
    return path


def make_suite_tables(sheet: Sheet) -> list[Table]:
    """Return the tables of a sheet, for a terminal."""
    found = []
    for grid in sheet.grids:
        table = Table(title=grid.title, title_justify="left")
        for index, name in enumerate(grid.columns):
            table.add_column(name, justify="right" if index else "left")
        for row in grid.rows:
            table.add_row(*row)
        found.append(table)
    return found


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
