"""report.html: one run on one page, self-contained, written from the run directory."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable

from jinja2 import Environment, PackageLoader

from mmx.json_object import Json
from mmx.reports.answer import (
    format_calibration,
    format_control,
    format_gains,
    format_search,
    format_title,
)
from mmx.reports.plots import draw_lines
from mmx.runs.atomic import write_text
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import CalibrationResult, ClassTable, LineFacts
from mmx.stage_id import Role
from mmx.yaml_text import dump_yaml

WIDTH, HEIGHT, MARGIN = 520, 220, 40
MOST_CLASSES = 30
Points = list[tuple[float, float]]
"""Points ``(x, y)``, in the order of x."""
SPLITS = ("val", "train", "probe", "gradient")
COLORS: dict[str, str] = {Role.SOURCE: "#8a8a8a", Role.TARGET: "#0b62a4", Role.CONTROL: "#d1701f"}
OTHERS = ("#2e7d4f", "#8a4fa3", "#b3261e", "#5b7083", "#a08000")
"""Colours of further controls."""
LETTER, LINE = 7, 14
"""Pixels: width of a letter, and height of a line, in the legend above a chart."""


def write_report(directory: RunDirectory) -> None:
    """Write the report of a finished run."""
    summary = directory.read_summary()
    html = (
        _open_pages()
        .get_template("report.html.jinja")
        .render(
            name=directory.path.name,
            title=format_title(summary),
            summary=summary,
            gains=format_gains(summary),
            search=format_search(summary),
            controls={
                format_control(name, found): found.metrics
                for name, found in summary.control.items()
            },
            classes=make_class_table(summary.target.classes),
            line=make_line(summary.transfer.wise_ft),
            reliability=make_reliability(summary.target.calibration),
            charts=make_charts(directory.metrics()),
            config=dump_yaml(directory.config()),
            manifest=directory.manifest().to_json(),
        )
    )
    write_text(directory.path / "report.html", html)


@functools.cache
def _open_pages() -> Environment:
    """Return the pages' templates, which are compiled once a process."""
    return Environment(loader=PackageLoader("mmx.reports", "."), autoescape=True)


def make_class_table(found: ClassTable | None) -> Json | None:
    """Return the table of classes for the page; None where there are none, or too many."""
    if found is None or not 0 < len(found.classes) <= MOST_CLASSES:
        return None

    def part(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    rows = [
        {
            "name": name,
            "support": each.support,
            "recall": part(each.recall),
            "precision": part(each.precision),
            "predicted": predicted,
        }
        for (name, each), predicted in zip(found.classes.items(), found.confusion, strict=True)
    ]
    return {
        "balanced_accuracy": found.balanced_accuracy,
        "f1_macro": found.f1_macro,
        "rows": rows,
        "names": list(found.classes),
    }


def make_reliability(found: CalibrationResult | None) -> Json | None:
    """Return the reliability of the test rows, before and after calibration, as text and chart."""
    if found is None or "test" not in found.splits:
        return None
    tested = found.splits["test"]
    curves = {
        side: [
            (
                each.confidence,
                each.accuracy,
                f"{side}: {each.count:,} at {each.confidence:.3f}, {each.accuracy:.3f} right",
            )
            for each in bins
        ]
        for side, bins in (("before", tested.before), ("after", tested.after))
    }
    return {
        "text": format_calibration(found),
        "chart": draw_lines("share that is right", curves, caption="confidence"),
    }


def make_charts(metrics: list[Json]) -> list[Json]:
    """Return one chart for each metric and each modality's diagnostics; skip NaN and infinity."""
    found = []
    names = dict.fromkeys(
        f"{entry['split']}.{entry['name']}" for entry in metrics if entry["split"] in SPLITS
    )
    for name in names:
        split, _, metric = name.partition(".")
        curves: dict[str, Points] = {}
        for entry in metrics:
            named = (entry["split"], entry["name"]) == (split, metric)
            if named and math.isfinite(entry["value"]):
                curves.setdefault(entry["stage"], []).append((entry["epoch"], entry["value"]))
        if not curves:
            continue
        last = int(max(epoch for points in curves.values() for epoch, _ in points))
        found.append(make_chart(name, curves, ("epoch 1", 1), (str(last), last)))
    return found


def make_chart(
    name: str, curves: dict[str, Points], first: tuple[str, float], last: tuple[str, float]
) -> Json:
    """Return curves as SVG points.

    Args:
        name: The title.
        curves: Name to points; the name determines the colour.
        first: Left end of the horizontal axis: its label, and x.
        last: Right end of the axis.
    """
    values = [value for points in curves.values() for _, value in points]
    others = [stage for stage in curves if stage not in COLORS]
    colors = {**COLORS, **dict(zip(others, itertools.cycle(OTHERS), strict=False))}
    low, high = min(values), max(values)
    height, width = (high - low) or 1.0, (last[1] - first[1]) or 1.0

    def place(point: tuple[float, float]) -> str:
        x = MARGIN + (point[0] - first[1]) / width * (WIDTH - 2 * MARGIN)
        y = HEIGHT - MARGIN - (point[1] - low) / height * (HEIGHT - 2 * MARGIN)
        return f"{x:.1f},{y:.1f}"

    return {
        "name": name,
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "first": first[0],
        "last": last[0],
        "legend": make_legend(curves, colors),
        "curves": [
            {
                "stage": stage,
                "color": colors[stage],
                "points": " ".join(place(point) for point in points),
            }
            for stage, points in curves.items()
        ],
    }


def make_line(found: LineFacts | None) -> Json | None:
    """Return the table and chart of WiSE-FT, from the starting weights to the trained ones."""
    if found is None:
        return None
    metric, points = found.metric, found.alpha
    values = {split: [each[split][metric] for each in points.values()] for split in ("val", "test")}
    curves = {
        split: [
            (float(alpha), value)
            for alpha, value in zip(points, each, strict=True)
            if math.isfinite(value)
        ]
        for split, each in values.items()
    }
    drawn = {split: each for split, each in curves.items() if each}
    return {
        "metric": metric,
        "best": found.best,
        "kept": found.kept,
        "alphas": list(points),
        "rows": {split: [f"{value:.3f}" for value in each] for split, each in values.items()},
        "chart": make_chart(f"{metric} over α", drawn, ("α = 0", 0.0), ("1", 1.0))
        if drawn
        else None,
    }


def make_legend(stages: Iterable[str], colors: dict[str, str]) -> list[Json]:
    """Return the positions of stage names: on the line of the title, then on lines above it."""
    found: list[Json] = []
    x, y = WIDTH - 320, 18
    for stage in stages:
        width = LETTER * len(stage) + 24
        if x + width > WIDTH and found:
            x, y = MARGIN, y - LINE
        found.append({"stage": stage, "color": colors[stage], "x": x, "y": y})
        x += width
    return found
