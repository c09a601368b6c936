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
from mmx.reports.chart_specs import MeasuredRow, draw_bars
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
    def name(self) -> str:
        """Its settings as one would type them; its target where it has none of its own."""
        return self.group.name if self.group.label else str(self.group.target)

    @property
    def title(self) -> str:
        """Its settings, and how many runs it has."""
        count = len(self.group.runs)
        return f"{self.name} ({count} {'run' if count == 1 else 'runs'})"


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
        answer=describe_largest_difference(suite, found),
        charts=[_draw(suite, each) for each in found[:MOST_DRAWN]],
        grids=[make_means_grid(suite, each) for each in found],
    )
    path = folder / f"{suite}.html"
    write_text(path, html)
    return path


def make_means_grid(suite: str, found: OverSeeds) -> Grid:
    """Return the means of a group as a table for people."""
    rows = tuple(
        (*condition[1:], *(format_mean_interval(name, means[name]) for name in found.metrics))
        for condition, means in found.means.items()
    )
    return Grid(found.title, (*CONDITIONS[suite][1:], *found.metrics), rows)


def format_mean_interval(name: str, mean: GroupMean) -> str:
    """Return a mean with half of its interval, or with its values where they are too few."""
    write = partial(format_metric, name)
    return format_mean_cell(mean.value, mean.half_width, mean.values.tolist(), write)


def describe_largest_difference(suite: str, found: Sequence[OverSeeds]) -> str:
    """Return by how much the metric that counts differs most from its largest value."""
    parts = []
    for each in found:
        name = each.metrics[0]
        values = {" ".join(key[1:]): means[name] for key, means in each.overall.items()}
        high = max(values, key=lambda key: values[key].value)
        low = min(values, key=lambda key: values[key].value)
        least, most = (_format_in_sentence(name, values[key]) for key in (low, high))
        text = f"{name} from {least} ({low.strip()}) to {most} ({high.strip()})"
        parts.append(f"{each.name}: {text}")
    more = f"; and {len(parts) - 3} more groups" if len(parts) > 3 else ""
    return "; ".join(parts[:3]) + more


def _format_in_sentence(name: str, mean: GroupMean) -> str:
    """Return a mean with half of its interval, or alone: the tables have its values."""
    if mean.interval is None:
        return format_metric(name, mean.value)
    return format_mean_interval(name, mean)


def _draw(suite: str, found: OverSeeds) -> Chart:
    name = found.metrics[0]
    shown = {" ".join(key[1:]).strip(): means[name] for key, means in found.overall.items()}
    signed = suite == "importance"
    bounds = (-math.inf, math.inf) if signed else find_bounds(name)
    bars = [MeasuredRow(key, mean.value, mean.clip(bounds)) for key, mean in shown.items()]
    spec = draw_bars(bars, x=name, signed=signed)
    note = "" if signed else describe_cut(list(shown.values()), name).strip()
    return Chart(f"{found.name}: {name}", spec, make_means_grid(suite, found), note=note)


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
