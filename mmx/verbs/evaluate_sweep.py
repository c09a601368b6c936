"""``mmx eval SWEEP suite=…``: suites over the runs of a sweep, with intervals over their seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from mmx.errors import UsageError
from mmx.json_object import Json
from mmx.printable import one_line
from mmx.reports.run_groups import drop_repeated, find_runs, group_by_settings
from mmx.reports.suites_over_seeds import (
    OverSeeds,
    collect_over_seeds,
    describe_differences,
    make_means_grid,
    write_over_seeds,
)
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role
from mmx.terminal import Console
from mmx.verbs.left_out import telling_left_out


def holds_runs_of_sweep(path: Path) -> bool:
    """Return whether a path is a sweep, and no run."""
    return (path / "runs").is_dir() and not (path / "config.yaml").exists()


def require_suites(sweep: Path, tables: Sequence[str], suites: Sequence[str]) -> None:
    """Refuse what is measured of a run alone.

    Raises:
        UsageError: A table is named, or no suite.
    """
    if tables:
        raise UsageError(
            f"{tables[0]} is measured by one run, and {sweep} is a sweep",
            tip=f"mmx eval {sweep}/runs/<run> {tables[0]}",
        )
    if not suites:
        raise UsageError(
            f"{sweep} is a sweep, whose metrics mmx compare shows",
            tip=f"mmx compare {sweep}; or mmx eval {sweep} suite=missing,noise,importance",
        )


def evaluate_sweep(
    sweep: Path,
    suites: Sequence[str],
    at_random: bool,
    measure: Callable[[RunDirectory], Json],
    console: Console,
) -> Json:
    """Measure each finished run of a sweep, and write and return what it is over seeds.

    Args:
        sweep: The sweep.
        suites: The suites.
        at_random: Whether suite=missing has rates.
        measure: Measures a run, and writes its files.
        console: Where progress, notes and tables are printed.

    Raises:
        RunError: It has no finished run, or one cannot be measured.
    """
    notes: list[str] = []
    with telling_left_out(notes):
        runs, repeated = drop_repeated(find_runs([str(sweep)], left_out=notes))
    for note in filter(None, [*notes, repeated]):
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for place, run in enumerate(runs, 1):
        name = f"{place} of {len(runs)}  {run.directory.path.name}"
        console.print(name, highlight=False, markup=False, soft_wrap=True)
        measure(run.directory)
    groups = group_by_settings(runs, first=[Role.SOURCE])
    folder = sweep / "eval"
    folder.mkdir(exist_ok=True)
    said: Json = {}
    for suite in suites:
        kept = "missing_at_random" if suite == "missing" and at_random else suite
        found = [collect_over_seeds(kept, group) for group in groups]
        for each in found:
            console.print(_make_table(kept, each))
        page = write_over_seeds(kept, found, folder, sweep.name)
        for line in (*describe_differences(kept, found), str(page)):
            console.print(one_line(line), highlight=False, markup=False, soft_wrap=True)
        said[suite] = [_describe(each) for each in found]
    return said


def _make_table(suite: str, found: OverSeeds) -> Table:
    grid = make_means_grid(suite, found)
    table = Table(title=grid.title, title_justify="left")
    for name in grid.columns:
        table.add_column(name)
    for row in grid.rows:
        table.add_row(*row)
    return table


def _describe(found: OverSeeds) -> Json:
    """Return the means of a group as plain data."""
    return {
        "target": found.group.target,
        **found.group.label,
        "runs": len(found.group.runs),
        "conditions": [
            {
                "of": list(condition),
                **{
                    name: {"mean": mean.value, "half_width": mean.half_width}
                    for name, mean in means.items()
                },
            }
            for condition, means in found.means.items()
        ],
    }
