"""sweep.html: all runs of a sweep on one page, with or without a control.

The answer first: the group that is best on validation, and its gain. Then gains with their
intervals, groups, all runs in parallel coordinates and as a table that sorts and filters.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from mmx.reports import chart_specs
from mmx.reports.chart_specs import COLOURS, MeasuredRow, Series
from mmx.reports.gains_page import list_notes, make_grid
from mmx.reports.group_gain import GroupGain
from mmx.reports.page import Chart, Grid, render_page
from mmx.reports.parallel_coordinates import Axis, draw_parallel
from mmx.reports.sweep_gains import Gains, LessData, format_percent, read_fraction
from mmx.reports.sweep_targets import (
    SweepGroup,
    TargetAnswer,
    list_target_answers,
    write_lead,
    write_sweep_headline,
)
from mmx.runs.atomic import write_text
from mmx.runs.mean_cells import MEANS
from mmx.runs.sweep import format_group_mean
from mmx.runs.sweep_row import SweepRow, group_runs, keep_finished, list_drawn

FILE = "sweep.html"
MOST_RUNS = 400
"""Runs that are drawn in parallel coordinates; the table has all."""
FEW = 12
"""Values up to which a column is filtered by a list to choose from."""


def write_sweep(
    path: Path, rows: Sequence[SweepRow], gains: Gains, argv: Sequence[str] = ()
) -> None:
    """Write the page of a sweep into its directory.

    Args:
        path: The directory.
        rows: One for each job; see :meth:`mmx.runs.sweep.Sweep.make_rows`.
        gains: Those of its groups; none where no run has a control.
        argv: The command line that ran it; empty where it is not known.
    """
    write_text(path / FILE, render_sweep(path.name, rows, gains, argv))


def render_sweep(
    name: str, rows: Sequence[SweepRow], gains: Gains, argv: Sequence[str] = ()
) -> str:
    """Return the page of a sweep; parameters as those of :func:`write_sweep`, ``name`` its id."""
    done = keep_finished(rows)
    answers = list_target_answers(rows, gains)
    means = [chart for each in answers for chart in draw_means(each, several=len(answers) > 1)]
    return render_page(
        "sweep.html.jinja",
        title=f"Sweep {name}",
        name=name,
        over=_count_jobs(rows, len(group_runs(rows))),
        headline=write_sweep_headline(answers),
        lead=write_lead(answers, gains),
        picture=[draw_gains(gains)] if gains.found else means,
        curves=[draw_labels(each) for each in gains.less_data],
        gains=make_grid(gains) if gains.found else None,
        groups=list_means(answers),
        parallel=draw_runs(done, answers),
        runs=list_sweep_runs(rows),
        choices=list_filters(rows),
        failures=[row for row in rows if not row.is_done],
        command=shlex.join(argv),
        notes=list_notes(gains) if gains.found else [NO_CONTROL] if done else [],
    )


NO_CONTROL = "No run has a control, so there are no gains. control=scratch trains one for each run."


def _count_jobs(rows: Sequence[SweepRow], groups: int) -> str:
    done = sum(row.is_done for row in rows)
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
        note="Blue: the interval excludes zero." + chart_specs.explain_arrows(rows),
    )


def _is_clear(each: GroupGain) -> bool:
    found = each.gain.interval
    return each.gain.learned and found is not None and (found[0] > 0 or found[1] < 0)


def _format_interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:+.3f} … {interval[1]:+.3f}"


def draw_means(answer: TargetAnswer, *, several: bool) -> list[Chart]:
    """Return the mean of the metric of each group on the test rows, the best first.

    Args:
        answer: Of one target.
        several: Whether the sweep has others.
    """
    metric = answer.metric
    if metric is None or len(answer.groups) < 2:
        return []
    sign = -1 if answer.lower else 1
    rows = [
        MeasuredRow(
            each.name_on_target if several else each.name,
            each.test,
            text=format_group_mean(each.rows, f"test.{metric}"),
            interval=_spread(each, metric),
            stands_out=each is answer.best,
        )
        for each in sorted(answer.groups, key=lambda each: -sign * each.test)
    ]
    table = tuple((row.name, row.text) for row in rows)
    title = f"{answer.target}: {metric} on test" if several else f"{metric} on test"
    spread = any(row.interval for row in rows)
    return [
        Chart(
            title,
            chart_specs.draw_measured(rows, x=f"{metric} on test", from_zero=False),
            Grid(title, ("", metric), table),
            note="Blue: the best by validation."
            + (" Lines reach from the lowest to the highest run." if spread else ""),
        )
    ]


def _spread(group: SweepGroup, metric: str) -> tuple[float, float] | None:
    """Return the lowest and the highest run of a group; None of one run."""
    found = [row.find_number(f"test.{metric}") for row in group.rows]
    values = [value for value in found if value is not None]
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


def list_means(answers: Sequence[TargetAnswer]) -> Grid | None:
    """Return a line for each group, its means with their intervals; None of one group."""
    groups = [(each.metric, group) for each in answers for group in each.groups]
    if len(groups) < 2:
        return None
    keys = list(dict.fromkeys(key for _, group in groups for key in group.label))
    metrics = list(dict.fromkeys(metric for metric, _ in groups))
    numbers = [(metric, split) for metric in metrics for split in ("val", "test")]
    heads = (*keys, "runs", *(f"{metric} {split}" for metric, split in numbers), "seconds")
    rows = tuple(
        (
            *(group.label.get(key, "") for key in keys),
            str(len(group.rows)),
            *(
                format_group_mean(group.rows, f"{split}.{metric}") if metric == own else ""
                for metric, split in numbers
            ),
            f"{statistics.fmean(row.find_number('seconds') or 0.0 for row in group.rows):.3g}",
        )
        for own, group in groups
    )
    return Grid(f"Groups: means ({MEANS})", heads, rows)


def draw_runs(rows: Sequence[SweepRow], answers: Sequence[TargetAnswer]) -> list[Chart]:
    """Return all runs in parallel coordinates: what varied, then the numbers."""
    metrics = list(dict.fromkeys(each.metric for each in answers if each.metric is not None))
    if not metrics or len(rows) < 2:
        return []
    shown = rows[:MOST_RUNS]
    axes = _list_axes(shown, metrics)
    if len(axes) < 2:
        return []
    lead = _mark_best(shown, answers)
    more = "" if len(shown) == len(rows) else f" The first {len(shown):,} of {len(rows):,} runs."
    best = "the best by validation" + (" on each target" if len(answers) > 1 else "")
    note = f"Each line is a run; blue is {best}." if any(lead) else "Each line is a run."
    found = draw_parallel(axes, lead, note + more)
    return [found]


def _list_axes(shown: Sequence[SweepRow], metrics: Sequence[str]) -> list[Axis]:
    """Return an axis for each key that varied, and for each number that all runs have."""
    keys = list(dict.fromkeys(key for row in shown for key, _ in row.group))
    numbers = [f"{split}.{metric}" for metric in metrics for split in ("val", "test")]
    numbers += ["gain", "seconds"]
    axes = [Axis(key, [dict(row.group).get(key, "") for row in shown]) for key in keys]
    axes += [
        Axis(name, [row.cells[name] for row in shown])
        for name in numbers
        if all(row.find_number(name) is not None for row in shown)
    ]
    return axes


def _mark_best(shown: Sequence[SweepRow], answers: Sequence[TargetAnswer]) -> list[bool]:
    """Return which runs are of a group that is the best of its target by validation."""
    chosen = [each for each in answers if len(answers) == 1 or each.has_choice]
    bests = [tuple(each.best.label.items()) for each in chosen if each.best is not None]
    return [row.group in bests for row in shown]


def list_sweep_runs(rows: Sequence[SweepRow]) -> Grid:
    """Return all jobs of the sweep with their numbers."""
    keys = list(dict.fromkeys(key for row in rows for key, _ in row.group))
    drawn = list_drawn(rows)
    numbers = list(
        dict.fromkeys(
            key
            for row in rows
            for key, value in row.cells.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        )
    )
    heads = [*keys, *drawn, "status", *(each for each in numbers if each not in (*keys, *drawn))]
    cells = tuple(tuple(_format_cell(row, head) for head in heads) for row in rows)
    return Grid("All runs", tuple(heads), cells)


def _format_cell(row: SweepRow, head: str) -> str:
    value = dict(row.group).get(head, row.columns.get(head))
    if isinstance(value, float):
        digits = "+.4f" if head == "gain" else ".4f" if abs(value) < 100 else ",.1f"
        return format(value, digits)
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


def list_filters(rows: Sequence[SweepRow]) -> dict[int, tuple[str, list[str]]]:
    """Return the columns of the table of runs that are filtered by a list: their values."""
    grid = list_sweep_runs(rows)
    last = grid.columns.index("status")
    found = {}
    for place, head in enumerate(grid.columns[: last + 1]):
        values = sorted({row[place] for row in grid.rows})
        if 1 < len(values) <= FEW:
            found[place] = (head, values)
    return found
