"""A comparison of many runs as a page: the best by validation, means, time, ranks, a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmx.json_object import Json
from mmx.metrics import find_bounds
from mmx.reports import chart_specs
from mmx.reports.chart_specs import COLOURS, INK, PLAIN, MeasuredRow
from mmx.reports.group_line import GroupLine, describe_cut
from mmx.reports.many_runs import ManyRuns
from mmx.reports.many_runs_table import (
    LEGEND,
    describe_comparison,
    format_mean,
    list_heads,
    list_rows,
)
from mmx.reports.page import Chart, Grid, render_page

HEIGHT = 240


def render_comparison(found: ManyRuns) -> str:
    """Return the page of a comparison."""
    said = describe_comparison(found)
    bests = [line for line in found.lines if line.is_best]
    return render_page(
        "compare.html.jinja",
        title=f"Comparison of {len(found.lines)} groups in {found.metric}",
        over=_count(found),
        headline=_write_headline(found, bests),
        pictures=[_draw_means(found, target) for target in found.targets],
        fronts=[chart for target in found.targets if (chart := _draw_front(found, target))],
        differences=[chart for target in found.targets if (chart := _draw_paired(found, target))],
        level=100 * found.level,
        ranks=_draw_ranks(found),
        grid=Grid("All groups", tuple(list_heads(found)), tuple(map(tuple, list_rows(found)))),
        notes=[LEGEND, *(line.strip() for line in said)],
    )


def _count(found: ManyRuns) -> str:
    runs = sum(len(line.group.runs) for line in found.lines)
    targets = f" on {len(found.targets)} targets" if len(found.targets) > 1 else ""
    return f"{runs} runs in {len(found.lines)} groups{targets}, compared in {found.metric}"


def _write_headline(found: ManyRuns, bests: Sequence[GroupLine]) -> str:
    if not bests:
        return f"None is best: {found.metric} is undefined on validation"
    if len(found.targets) > 1:
        parts = [f"{line.group.name} on {line.group.target}" for line in bests]
        return f"Best by validation: {'; '.join(parts)}"
    (best,) = bests
    return f"Best by validation: {best.group.name}, {found.metric} {format_mean(best.test)} on test"


def _list_lines(found: ManyRuns, target: str) -> list[GroupLine]:
    return [line for line in found.lines if line.group.target == target]


def _name(found: ManyRuns, target: str, title: str) -> str:
    return f"{target}: {title}" if len(found.targets) > 1 else title


def _draw_means(found: ManyRuns, target: str) -> Chart:
    """Return the mean of each group on test, the best on test first."""
    lines = _list_lines(found, target)
    rows = [
        MeasuredRow(
            line.group.name,
            line.test.value,
            line.test.clip(find_bounds(found.metric)),
            chart_specs.format_number(line.test.value),
            stands_out=line.is_best,
        )
        for line in lines
    ]
    lower = "" if found.larger_is_better else ", lower is better"
    shown = any(line.test.interval for line in lines)
    intervals = ", 95 % intervals over seeds or folds" if shown else ""
    title = _name(found, target, f"{found.metric} on test{intervals}{lower}")
    table = tuple((line.group.name, format_mean(line.test)) for line in lines)
    spec = chart_specs.draw_measured(rows, x=f"{found.metric} on test", from_zero=False)
    grid = Grid(title, ("", found.metric), table)
    cut = describe_cut([x.test for x in lines], found.metric)
    note = "Blue: the best by validation." + cut + chart_specs.explain_arrows(rows)
    return Chart(title, spec, grid, note=note)


def _place_line(line: GroupLine, metric: str) -> Json:
    """Return a point of the chart of metric against seconds."""
    place = {"x": line.seconds, "y": line.test.value, "row": line.group.name}
    facts = {"best": line.is_best, "front": line.is_on_front}
    seconds = chart_specs.format_short(line.seconds)
    return {**place, **facts, "about": f"{seconds} s, {metric} {format_mean(line.test)}"}


def _draw_front(found: ManyRuns, target: str) -> Chart | None:
    """Return the metric against seconds of training, with the Pareto front as steps."""
    lines = [x for x in _list_lines(found, target) if math.isfinite(x.test.value)]
    if len(lines) < 2:
        return None
    values = [_place_line(line, found.metric) for line in lines]
    front = sorted((each for each in values if each["front"]), key=lambda each: each["x"])
    end = {"x": max(each["x"] for each in values), "y": front[-1]["y"]} if front else {}
    x: Json = {"field": "x", "type": "quantitative", "title": "seconds of training"}
    x["scale"], x["axis"] = {"zero": True, "nice": True}, {"tickCount": 6, "grid": True}
    y: Json = {"field": "y", "type": "quantitative", "title": None}
    y["scale"] = {"zero": False, "nice": True, "padding": 12}
    heights = [float(str(each["y"])) for each in values]
    y["axis"] = {
        "tickCount": 5,
        "format": chart_specs.choose_number_format(min(heights), max(heights)),
    }
    colour = {"condition": {"test": "datum.best", "value": COLOURS[0]}, "value": PLAIN}
    told = [{"field": "row", "title": " "}, {"field": "about", "title": "value"}]
    step = {"type": "line", "interpolate": "step-after", "color": COLOURS[1], "strokeWidth": 1.5}
    point = {"type": "point", "filled": True, "size": 70, "opacity": 1}
    name = {"type": "text", "align": "left", "dx": 7, "fontSize": 11, "color": INK}
    spec = {
        **chart_specs.make_frame(HEIGHT),
        "encoding": {"x": x, "y": y},
        "layer": [
            {"data": {"values": [*front, *([end] if end else [])]}, "mark": step},
            {
                "data": {"values": values},
                "mark": point,
                "encoding": {"color": colour, "tooltip": told},
            },
        ],
    }
    spec["usermeta"] = {"narrow": {"layer": spec["layer"]}}  # names would cover each other there
    for rows, dy in ((front[::2], -7), (front[1::2], 13)):  # in turn, so that none covers the next
        text: Json = {"data": {"values": rows}, "encoding": {"text": {"field": "row"}}}
        spec["layer"] = [*spec["layer"], *([{**text, "mark": {**name, "dy": dy}}] if rows else [])]
    title = _name(found, target, f"{found.metric} on test and seconds of training")
    table = tuple((each["row"], each["about"]) for each in values)
    note = "The line: no other is better in less time. Blue: the best by validation."
    return Chart(title, spec, Grid(title, ("", "value"), table), note=note)


def _draw_paired(found: ManyRuns, target: str) -> Chart | None:
    """Return the differences to the best by validation on the same test rows."""
    rows, table = [], []
    for line in _list_lines(found, target):
        if (paired := line.paired) is not None:
            low, high = paired.interval
            clear = low > 0 or high < 0
            rows.append(
                MeasuredRow(line.group.name, paired.value, paired.interval, stands_out=clear)
            )
            table.append((line.group.name, f"{paired.value:+.3f}", f"{low:+.3f} … {high:+.3f}"))
    if not rows:
        return None
    title = _name(found, target, "difference to the best by validation, on the same test rows")
    spec = chart_specs.draw_measured(rows, x=f"difference in {found.metric}", signed=True)
    grid = Grid(title, ("", "difference", "interval"), tuple(table))
    note = "Blue: the interval excludes zero." + chart_specs.explain_arrows(rows)
    return Chart(title, spec, grid, note=note)


def _draw_ranks(found: ManyRuns) -> Chart | None:
    """Return mean ranks over targets with the critical difference around each."""
    ranks = found.ranks
    if ranks is None:
        return None
    half = ranks.critical_difference / 2
    ordered = sorted(zip(ranks.means, found.methods, strict=True))
    rows = [
        MeasuredRow(name, rank, (rank - half, rank + half), f"{rank:.2f}", stands_out=place == 0)
        for place, (rank, name) in enumerate(ordered)
    ]
    title = f"Mean ranks over {ranks.targets} targets"
    spec = chart_specs.draw_measured(rows, x="mean rank, 1 is best", from_zero=False)
    grid = Grid(title, ("", "mean rank"), tuple((name, f"{rank:.2f}") for rank, name in ordered))
    note = (
        "Lines that overlap: not told apart (half of Nemenyi's critical difference of "
        f"{ranks.critical_difference:.2f} to each side)."
    )
    return Chart(title, spec, grid, note=note)
