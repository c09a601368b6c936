"""sweep.html: all runs of a sweep on one page, with or without a control.

The answer first: the group that is best on validation, and its gain. Then gains with their
intervals, groups, all runs in parallel coordinates and as a table that sorts and filters.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmx.json_object import Json
from mmx.metrics import find_direction
from mmx.reports import chart_specs
from mmx.reports.chart_specs import COLOURS, MeasuredRow, Series
from mmx.reports.gains_page import list_notes, make_grid
from mmx.reports.group_gain import GroupGain
from mmx.reports.page import Chart, Grid, render_page
from mmx.reports.parallel_coordinates import Axis, draw_parallel
from mmx.reports.sweep_gains import Gains, LessData, format_percent, read_fraction
from mmx.runs.atomic import write_text
from mmx.runs.draw import DRAW_KEYS
from mmx.runs.sweep import GROUP, format_group_mean, group_runs, keep_finished

FILE = "sweep.html"
MOST_RUNS = 400
"""Runs that are drawn in parallel coordinates; the table has all."""
PREFERRED = ("accuracy", "r2", "f1_macro")
"""Metrics that count where no run says which does."""
FEW = 12
"""Values up to which a column is filtered by a list to choose from."""


@dataclass(frozen=True)
class SweepGroup:
    """Runs that differ in seed or fold alone.

    Attributes:
        label: Varied key to value.
        rows: Its finished runs.
        val, test: Means of the metric on both splits.
    """

    label: dict[str, str]
    rows: list[Json]
    val: float
    test: float

    @property
    def name(self) -> str:
        """The group as one would type it."""
        return " ".join(f"{key}={value}" for key, value in self.label.items()) or "all runs"


def write_sweep(path: Path, rows: Sequence[Json], gains: Gains) -> None:
    """Write the page of a sweep into its directory.

    Args:
        path: The directory.
        rows: One for each job; see :meth:`mmx.runs.sweep.Sweep.make_rows`.
        gains: Those of its groups; none where no run has a control.
    """
    write_text(path / FILE, render_sweep(path.name, rows, gains))


def render_sweep(name: str, rows: Sequence[Json], gains: Gains) -> str:
    """Return the page of a sweep; parameters as those of :func:`write_sweep`, ``name`` its id."""
    done = keep_finished(rows)
    metric = find_metric(done, gains)
    groups = [] if metric is None else list_compared_groups(rows, metric)
    lower = metric is not None and is_lower_better(done, gains, metric)
    best = find_best_group(groups, lower=lower)
    return render_page(
        "sweep.html.jinja",
        title=f"Sweep {name}",
        name=name,
        over=_count_jobs(rows, len(group_runs(rows))),
        headline=write_sweep_headline(best, metric, gains, bool(done)),
        lead=write_lead(best, metric, gains),
        picture=[draw_gains(gains)] if gains.found else draw_means(groups, metric, best, lower),
        curves=[draw_labels(each) for each in gains.less_data],
        gains=make_grid(gains) if gains.found else None,
        groups=list_means(groups, metric) if metric and len(groups) > 1 else None,
        parallel=draw_runs(done, metric, best),
        runs=list_sweep_runs(rows),
        choices=list_filters(rows),
        failures=[row for row in rows if row["status"] != "done"],
        notes=list_notes(gains) if gains.found else [NO_CONTROL] if done else [],
    )


NO_CONTROL = "No run has a control, so there are no gains. control=scratch trains one for each run."


def find_metric(rows: Sequence[Json], gains: Gains) -> str | None:
    """Return the metric that counts: that of the gains, or a usual one that all runs have."""
    if gains.found:
        return gains.found[0].gain.metric
    names = [
        key.removeprefix("val.")
        for key in (rows[0] if rows else ())
        if key.startswith("val.") and all(key in row for row in rows)
    ]
    stated = [str(row["metric"]) for row in rows if "metric" in row]
    return next((name for name in (*stated, *PREFERRED, *names) if name in names), None)


def is_lower_better(rows: Sequence[Json], gains: Gains, metric: str) -> bool:
    """Return whether a smaller value of the metric that counts is better."""
    stated = [each.gain.lower_is_better for each in gains.found if each.gain.metric == metric]
    stated += [bool(row.get("lower_is_better")) for row in rows if row.get("metric") == metric]
    return any(stated) or bool(find_direction(metric))


def list_compared_groups(rows: Sequence[Json], metric: str) -> list[SweepGroup]:
    """Return the groups whose runs all have a metric on validation, with their means."""
    found = []
    for label, members in group_runs(rows).items():
        means = [_find_mean(members, f"{split}.{metric}") for split in ("val", "test")]
        if means[0] is not None and means[1] is not None:
            found.append(SweepGroup(dict(label), members, means[0], means[1]))
    return found


def _find_mean(rows: Sequence[Json], key: str) -> float | None:
    values = [row.get(key) for row in rows]
    numbers = [each for each in values if isinstance(each, int | float)]
    return statistics.fmean(numbers) if len(numbers) == len(rows) else None


def find_best_group(groups: Sequence[SweepGroup], *, lower: bool) -> SweepGroup | None:
    """Return the group that is best on validation, where ``lower`` values are better or not."""
    sign = -1 if lower else 1
    known = [group for group in groups if math.isfinite(group.val)]
    return max(known, key=lambda group: sign * group.val, default=None)


def write_sweep_headline(
    best: SweepGroup | None, metric: str | None, gains: Gains, has_runs: bool
) -> str:
    """Return the answer as one sentence."""
    if best is None:
        return "No metric to compare the runs by" if has_runs else "No run is done yet"
    text = f"Best by validation: {best.name}, {metric} {best.test:.3f} on test"
    own = [each for each in gains.found if each.group == best.label]
    if not own:
        return text
    return f"{text}, {own[0].gain.value:+.3f} over the {own[0].gain.control} control"


def write_lead(best: SweepGroup | None, metric: str | None, gains: Gains) -> str:
    """Return what the gains say together, or how the best was found."""
    if not gains.found:
        return "" if best is None else f"{metric} {best.val:.3f} on validation, which chose it."
    clear = [each for each in gains.found if each.gain.learned and each.gain.interval]
    up = sum(each.gain.interval is not None and each.gain.interval[0] > 0 for each in clear)
    down = sum(each.gain.interval is not None and each.gain.interval[1] < 0 for each in clear)
    count = len(gains.found)
    return (
        f"{up} of {count} gains {'is' if up == 1 else 'are'} clearly positive, {down} clearly "
        f"negative ({format_percent(gains.level)} intervals, which all hold together in 95 % of "
        "cases)."
    )


def _count_jobs(rows: Sequence[Json], groups: int) -> str:
    done = sum(row["status"] == "done" for row in rows)
    jobs = "1 job" if len(rows) == 1 else f"{len(rows)} jobs"
    return f"{jobs}, {done} done, in {groups} {'group' if groups == 1 else 'groups'}"


def draw_gains(gains: Gains) -> Chart:
    """Return the gain of each group over each control with its interval, the largest first."""
    several = len({each.gain.control for each in gains.found}) > 1

    def name(each: GroupGain) -> str:
        over = f"over {each.gain.control}" if several or not each.group else ""
        return f"{each.label} {over}".strip()

    ordered = sorted(gains.found, key=lambda each: -each.gain.value)
    rows = [
        MeasuredRow(name(each), each.gain.value, each.gain.interval, stands_out=_is_clear(each))
        for each in ordered
    ]
    table = tuple((row.name, f"{row.value:+.3f}", _format_interval(row.interval)) for row in rows)
    metrics = list(dict.fromkeys(each.gain.metric for each in gains.found))
    controls = list(dict.fromkeys(each.gain.control for each in gains.found))
    over = f"the {controls[0]} control" if len(controls) == 1 else "the control"
    axis = f"gain in {metrics[0]}" if len(metrics) == 1 else "gain"
    return Chart(
        f"Gain over {over}, {format_percent(gains.level)} intervals",
        chart_specs.draw_measured(rows, x=axis, signed=True),
        Grid("Gains", ("", "gain", "interval"), table),
        note="Blue: the interval excludes zero. An arrow: the interval goes on.",
    )


def _is_clear(each: GroupGain) -> bool:
    found = each.gain.interval
    return each.gain.learned and found is not None and (found[0] > 0 or found[1] < 0)


def _format_interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:+.3f} … {interval[1]:+.3f}"


def draw_means(
    groups: Sequence[SweepGroup], metric: str | None, best: SweepGroup | None, lower: bool
) -> list[Chart]:
    """Return the mean of the metric of each group on the test rows, the best first.

    Args:
        groups: All of them.
        metric: The one that counts.
        best: The group that is best on validation, which stands out.
        lower: Whether smaller values are better.
    """
    if metric is None or len(groups) < 2:
        return []
    sign = -1 if lower else 1
    rows = [
        MeasuredRow(each.name, each.test, text=format_group_mean(each.rows, f"test.{metric}"),
                 interval=_spread(each, metric), stands_out=each is best)
        for each in sorted(groups, key=lambda each: -sign * each.test)
    ]  # fmt: skip
    table = tuple((row.name, row.text) for row in rows)
    return [
        Chart(
            f"{metric} on test",
            chart_specs.draw_measured(rows, x=f"{metric} on test", from_zero=False),
            Grid(f"{metric} on test", ("", metric), table),
            note="Blue: the best by validation. Lines reach from the lowest to the highest run.",
        )
    ]


def _spread(group: SweepGroup, metric: str) -> tuple[float, float] | None:
    """Return the lowest and the highest run of a group; None of one run."""
    values = [float(row[f"test.{metric}"]) for row in group.rows]
    return (min(values), max(values)) if len(values) > 1 else None


def draw_labels(each: LessData) -> Chart:
    """Return the metric of transfer and control over the fraction of labels."""
    metric = each.points[0].gain.metric
    lines = {
        "transfer": [(read_fraction(point), point.target) for point in each.points],
        each.control: [(read_fraction(point), point.control) for point in each.points],
    }
    series = [
        Series(name, points, colour)
        for (name, points), colour in zip(lines.items(), COLOURS, strict=False)
    ]
    spec = chart_specs.draw_curves(
        series,
        x="part of the labels",
        whole=False,
        reference=(each.points[-1].control, f"{each.control} with all"),
    )
    table = tuple(
        (f"{part:g}", f"{target:.3f}", f"{control:.3f}")
        for (part, target), (_, control) in zip(*lines.values(), strict=True)
    )
    title = f"{metric} by labels {each.label}".strip()
    grid = Grid(title, ("part of the labels", *lines), table)
    return Chart(title, spec, grid, note=each.text, small=True)


def list_means(groups: Sequence[SweepGroup], metric: str) -> Grid:
    """Return a line for each group: its means with their intervals."""
    keys = list(dict.fromkeys(key for group in groups for key in group.label))
    heads = (*keys, "runs", f"{metric} val", f"{metric} test", "seconds")
    rows = tuple(
        (
            *(group.label.get(key, "") for key in keys),
            str(len(group.rows)),
            *(format_group_mean(group.rows, f"{split}.{metric}") for split in ("val", "test")),
            f"{statistics.fmean(float(row.get('seconds', 0)) for row in group.rows):.3g}",
        )
        for group in groups
    )
    return Grid("Groups: mean ± 95 % interval", heads, rows)


def draw_runs(rows: Sequence[Json], metric: str | None, best: SweepGroup | None) -> list[Chart]:
    """Return all runs in parallel coordinates: what varied, then the numbers."""
    if metric is None or len(rows) < 2:
        return []
    shown = rows[:MOST_RUNS]
    keys = list(dict.fromkeys(key for row in shown for key, _ in row[GROUP]))
    numbers = [f"val.{metric}", f"test.{metric}", "gain", "seconds"]
    axes = [Axis(key, [dict(row[GROUP]).get(key, "") for row in shown]) for key in keys]
    axes += [
        Axis(name, [row.get(name) for row in shown])
        for name in numbers
        if all(isinstance(row.get(name), int | float) for row in shown)
    ]
    if len(axes) < 2:
        return []
    label = None if best is None else tuple(best.label.items())
    lead = [row[GROUP] == label for row in shown]
    more = "" if len(shown) == len(rows) else f" The first {len(shown):,} of {len(rows):,} runs."
    found = draw_parallel(axes, lead, "Each line is a run; blue is the best by validation." + more)
    return [found]


def list_sweep_runs(rows: Sequence[Json]) -> Grid:
    """Return all jobs of the sweep with their numbers."""
    keys = list(dict.fromkeys(key for row in rows for key, _ in row[GROUP]))
    drawn = [key for key in DRAW_KEYS if len({row[key] for row in rows if key in row}) > 1]
    numbers = list(
        dict.fromkeys(
            key
            for row in rows
            for key, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        )
    )
    heads = [*keys, *drawn, "status", *(each for each in numbers if each not in (*keys, *drawn))]
    cells = tuple(tuple(_format_cell(row, head) for head in heads) for row in rows)
    return Grid("All runs", tuple(heads), cells)


def _format_cell(row: Json, head: str) -> str:
    value = dict(row[GROUP]).get(head, row.get(head))
    if isinstance(value, float):
        digits = "+.4f" if head == "gain" else ".4f" if abs(value) < 100 else ",.1f"
        return format(value, digits)
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


def list_filters(rows: Sequence[Json]) -> dict[int, tuple[str, list[str]]]:
    """Return the columns of the table of runs that are filtered by a list: their values."""
    grid = list_sweep_runs(rows)
    last = grid.columns.index("status")
    found = {}
    for place, head in enumerate(grid.columns[: last + 1]):
        values = sorted({row[place] for row in grid.rows})
        if 1 < len(values) <= FEW:
            found[place] = (head, values)
    return found
