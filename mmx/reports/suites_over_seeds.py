"""A suite over the runs of a sweep: means and intervals over seeds, from the runs' own files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmx.csv_text import format_csv
from mmx.errors import RunError
from mmx.metrics import find_bounds
from mmx.reports.chart_specs import (
    MeasuredRow,
    Series,
    draw_bars,
    draw_curves,
    find_ends,
    pick_colour,
)
from mmx.reports.group_line import GroupMean, describe_cut
from mmx.reports.page import Chart, Grid, render_page
from mmx.reports.run_groups import FinishedRun, RunGroup
from mmx.reports.suite_charts import FIXED, LIMIT
from mmx.reports.view import format_metric
from mmx.runs.atomic import write_text
from mmx.runs.mean_cells import format_mean_cell
from mmx.untrusted import read_text

CONDITIONS = {
    "missing": ("split", "shown"),
    "missing_at_random": ("split", "rate"),
    "noise": ("split", "modality", "noise", "strength"),
    "importance": ("split", "score", "class", "modality"),
}
"""Suite to the columns of its file that say what was measured; others are numbers, or follow."""
TITLES = {
    "missing": "Missing modalities",
    "missing_at_random": "Modalities missing at random",
    "noise": "Noisy modalities",
    "importance": "Importance of the modalities",
}
MOST_SAID = 4
"""Groups of which a sentence says the numbers."""
MOST_DRAWN = 12
"""Groups of which there is a chart each; the table has all."""
Condition = tuple[str, ...]


@dataclass(frozen=True)
class OverSeeds:
    """What a suite measured of one group of runs.

    Attributes:
        suite: Its name.
        group: The runs.
        metrics: Names of the numbers, the one that counts first.
        means: Condition to the mean of each metric over the runs.
    """

    suite: str
    group: RunGroup
    metrics: tuple[str, ...]
    means: Mapping[Condition, Mapping[str, GroupMean]]

    @property
    def overall(self) -> dict[Condition, Mapping[str, GroupMean]]:
        """The means without those of single classes."""
        place = CONDITIONS["importance"].index("class")
        by_class = self.suite == "importance"
        return {key: each for key, each in self.means.items() if not (by_class and key[place])}

    @property
    def named(self) -> dict[str, Mapping[str, GroupMean]]:
        """As ``overall``, by conditions in words, without those that all have in common."""
        every = list(self.overall)
        kept = [k for k in range(1, len(every[0])) if len({key[k] for key in every}) > 1]
        return {
            " ".join(_shorten(self.suite, key)[k] for k in kept if key[k]) or key[-1]: means
            for key, means in self.overall.items()
        }

    @property
    def name(self) -> str:
        """Its settings as one would type them; its target where it has none of its own."""
        return self.group.name if self.group.label else str(self.group.target)

    @property
    def title(self) -> str:
        """Its settings, and how many runs it has."""
        count = len(self.group.runs)
        return f"{self.name} ({count} {'run' if count == 1 else 'runs'})"


def _shorten(suite: str, condition: Condition) -> Condition:
    """Return a condition for people: a strength has three digits."""
    if suite != "noise":
        return condition
    return (*condition[:-1], f"{float(condition[-1]):.3g}")


def collect_over_seeds(suite: str, group: RunGroup) -> OverSeeds:
    """Return the means over a group's runs, each of which was evaluated by a suite.

    Args:
        suite: The suite.
        group: The runs.

    Raises:
        RunError: A run was evaluated otherwise than another, so that nothing can be averaged.
    """
    read = [_read(suite, run) for run in group.runs]
    first = read[0]
    for run, found in zip(group.runs, read, strict=True):
        if found.keys() != first.keys():
            raise RunError(
                f"{run.directory.path} has other conditions of suite {suite} than "
                f"{group.runs[0].directory.path}: there is no mean over both"
            )
    metrics = tuple(next(iter(first.values())))
    means = {
        condition: {
            name: GroupMean.of(group, [found[condition][name] for found in read])
            for name in metrics
        }
        for condition in first
    }
    return OverSeeds(suite, group, metrics, means)


def _read(suite: str, run: FinishedRun) -> dict[Condition, dict[str, float]]:
    """Return condition to numbers of a run; of several draws the mean."""
    path = run.directory.path / "eval" / f"{suite}.csv"
    heads, *rows = csv.reader(io.StringIO(read_text(path, limit=LIMIT)), strict=True)
    keys = CONDITIONS[suite]
    names = [each for each in heads if each not in (*FIXED, *keys)]
    places = [heads.index(each) for each in keys]
    values: dict[Condition, dict[str, list[float]]] = {}
    for row in rows:
        into = values.setdefault(tuple(row[place] for place in places), {})
        for name in names:
            into.setdefault(name, []).append(float(row[heads.index(name)]))
    return {
        condition: {name: sum(each) / len(each) for name, each in found.items()}
        for condition, found in values.items()
    }


def write_over_seeds(suite: str, found: Sequence[OverSeeds], folder: Path, sweep: str) -> Path:
    """Write ``<suite>.csv`` and ``<suite>.html`` into a folder, and return the page.

    Args:
        suite: The suite.
        found: Of each group.
        folder: Where to; it exists.
        sweep: The name of the sweep.
    """
    write_text(folder / f"{suite}.csv", _format_rows(suite, found))
    html = render_page(
        "suite_over_seeds.html.jinja",
        title=f"{TITLES[suite]}: {sweep}",
        sweep=sweep,
        suite=TITLES[suite],
        split=next(iter(found[0].means))[0],
        answer=describe_differences(suite, found),
        charts=_draw_all(suite, found[:MOST_DRAWN]),
        grids=[make_means_grid(suite, each) for each in found],
    )
    path = folder / f"{suite}.html"
    write_text(path, html)
    return path


def make_means_grid(suite: str, found: OverSeeds) -> Grid:
    """Return the means of a group as a table for people."""
    rows = tuple(
        (
            *_shorten(suite, condition)[1:],
            *(format_mean_interval(name, means[name]) for name in found.metrics),
        )
        for condition, means in found.means.items()
    )
    return Grid(found.title, (*CONDITIONS[suite][1:], *found.metrics), rows)


def format_mean_interval(name: str, mean: GroupMean) -> str:
    """Return a mean with half of its interval, or with its values where they are too few."""
    write = partial(format_metric, name)
    return format_mean_cell(mean.value, mean.half_width, mean.values.tolist(), write)


def describe_differences(suite: str, found: Sequence[OverSeeds]) -> list[str]:
    """Return between what the number that counts lies: a sentence for each of the first groups.

    The group with the largest number comes first.
    """
    name = found[0].metrics[0]
    spans = [(each, {key: means[name] for key, means in each.named.items()}) for each in found]
    spans.sort(key=lambda span: -max(mean.value for mean in span[1].values()))
    lines = [
        f"{_describe_span(suite, name, values)} for {each.name}"
        for each, values in spans[:MOST_SAID]
    ]
    if more := len(found) - len(lines):
        lines.append(f"{more} more {'group' if more == 1 else 'groups'} below")
    return lines


def _describe_span(suite: str, name: str, values: Mapping[str, GroupMean]) -> str:
    """Return the least and the largest number, and under what conditions they were measured."""
    if len(values) == 1:
        ((only, mean),) = values.items()
        said = _format_in_sentence(suite, name, mean)
        return f"{_name_number(suite, name)} {said} ({only})"
    low, *_, high = sorted(values, key=lambda key: values[key].value)
    least, most = (_format_in_sentence(suite, name, values[key]) for key in (low, high))
    return f"{_name_number(suite, name)} from {least} ({low}) to {most} ({high})"


def _name_number(suite: str, name: str) -> str:
    """Return what a number is called on the page."""
    return "Shapley value" if suite == "importance" else name


def _format_in_sentence(suite: str, name: str, mean: GroupMean) -> str:
    """Return a mean with half of its interval, or alone: the tables have its values."""
    sign = "+" if suite == "importance" and mean.value > 0 else ""
    if mean.interval is None:
        return sign + format_metric(name, mean.value)
    return sign + format_mean_interval(name, mean)


def _draw_all(suite: str, found: Sequence[OverSeeds]) -> list[Chart]:
    """Return the charts of groups: curves of noise, all on one scale, and bars of other suites."""
    if suite != "noise":
        return [_draw_bars(suite, each) for each in found]
    values = [means[each.metrics[0]].value for each in found for means in each.means.values()]
    within = find_ends([value for value in values if math.isfinite(value)])
    return [chart for each in found for chart in _draw_curves(each, within)]


def _draw_curves(found: OverSeeds, within: tuple[float, float]) -> list[Chart]:
    """Return a chart for each modality, with a line for each noise over its strength."""
    name, charts = found.metrics[0], []
    curves: dict[str, dict[str, list[tuple[float, GroupMean]]]] = {}
    for (_, modality, noise, strength), means in found.means.items():
        points = curves.setdefault(modality, {}).setdefault(noise, [])
        points.append((float(strength), means[name]))
    for modality, own in curves.items():
        series, rows = [], list[tuple[str, ...]]()
        for place, (noise, points) in enumerate(own.items()):
            heaviest = max(strength for strength, _ in points) or 1.0
            line = [(strength / heaviest, mean.value) for strength, mean in points]
            series.append(Series(noise, line, *pick_colour(place)))
            rows += [(noise, f"{x:.3g}", format_mean_interval(name, mean)) for x, mean in points]
        title = f"{found.name}: {name} with noise on {modality}"
        spec = draw_curves(
            series, x="strength, in parts of the heaviest", whole=False, within=within
        )
        charts.append(Chart(title, spec, Grid(title, ("noise", "strength", name), tuple(rows)),
                            small=True))  # fmt: skip
    return charts


def _draw_bars(suite: str, found: OverSeeds) -> Chart:
    name = found.metrics[0]
    shown = {key: means[name] for key, means in found.named.items()}
    signed = suite == "importance"
    bounds = (-math.inf, math.inf) if signed else find_bounds(name)
    bars = [MeasuredRow(key, mean.value, mean.clip(bounds)) for key, mean in shown.items()]
    title = _name_number(suite, name)
    spec = draw_bars(bars, x=title, signed=signed)
    note = "" if signed else describe_cut(list(shown.values()), name).strip()
    return Chart(f"{found.name}: {title}", spec, make_means_grid(suite, found), note=note)


def _format_rows(suite: str, found: Sequence[OverSeeds]) -> str:
    """Return one line for each group, condition and metric, with all digits."""
    keys = list(dict.fromkeys(key for each in found for key in each.group.label))
    heads = ["target", *keys, *CONDITIONS[suite], "metric", "n", "mean", "half_width"]
    rows: list[list[object]] = [list(heads)]
    for each in found:
        own = [each.group.target, *(each.group.label.get(key) for key in keys)]
        for condition, means in each.means.items():
            rows += [
                [*own, *condition, name, len(mean.values), mean.value, mean.half_width]
                for name, mean in means.items()
            ]
    return format_csv(rows)
