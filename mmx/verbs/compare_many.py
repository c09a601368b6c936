"""``mmx compare`` of any number of runs: one line for each group, as table and figure."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmx.errors import UsageError
from mmx.reports.compare_page import render_comparison
from mmx.reports.latex import explain_unknown_letters
from mmx.reports.many_runs import ManyRuns, compare_many
from mmx.reports.many_runs_figure import draw_figure, require_figure_path
from mmx.reports.many_runs_latex import format_latex
from mmx.reports.many_runs_table import Format, format_many
from mmx.reports.run_groups import FinishedRun, drop_repeated, find_runs, group_by_settings
from mmx.runs.conditions import parse_condition
from mmx.runs.variation import DRAWS, join_keys
from mmx.stage_id import Role
from mmx.verbs.left_out import tell_left_out, telling_left_out


def print_many(
    words: Sequence[str],
    conditions: Sequence[str],
    *,
    by: Sequence[str] = (),
    metric: str | None = None,
    form: Format = "text",
    figure: Path | None = None,
) -> None:
    """Print the comparison of all finished runs that words name.

    Args:
        words: Runs, sweeps, output folders, or patterns of such.
        conditions: What a run must fulfil, as typed.
        by: Keys that make groups; without them, all settings in which the runs differ.
        metric: What is compared; None for the runs' own.
        form: Of the output.
        figure: Where to draw a figure; None for none.
    """
    if figure is not None:
        require_figure_path(figure)
    notes: list[str] = []
    with telling_left_out(notes):
        many = _compare(words, conditions, by, metric, notes)
    if form == "csv":  # the one format that holds the table alone
        tell_left_out(notes)
    if form == "html":
        text = render_comparison(many)
    else:
        text = format_latex(many) if form == "latex" else format_many(many, form)
    print(text, end="")
    if form == "latex" and (unknown := explain_unknown_letters(text)):
        print(f"note: {unknown}", file=sys.stderr)
    if figure is not None:
        draw_figure(many, figure)
        print(f"figure: {figure}", file=sys.stderr)


def _compare(
    words: Sequence[str],
    conditions: Sequence[str],
    by: Sequence[str],
    metric: str | None,
    notes: list[str],
) -> ManyRuns:
    """Return the comparison; ``notes`` receives which runs are left out of it."""
    found = find_runs(words, [parse_condition(each) for each in conditions], left_out=notes)
    runs, repeated = drop_repeated(found)
    notes += [repeated] if repeated else []
    groups = group_by_settings(runs, by, first=[Role.SOURCE])
    if len(groups) < 2:
        raise UsageError(
            f"the {len(runs)} finished {'run' if len(runs) == 1 else 'runs'} are one group: "
            "there is nothing to compare",
            tip=_advise_key(words, conditions, runs),
        )
    keys = ["--by", ",".join(by)] if by else []
    return compare_many(groups, metric, notes=notes, words=[*words, *conditions, *keys])


def _advise_key(
    words: Sequence[str], conditions: Sequence[str], runs: Sequence[FinishedRun]
) -> str:
    """Return the same comparison by a key in which the runs differ, or how to find other runs."""
    differing = group_by_settings(runs)[0].label
    for key in (*differing, *map(join_keys, DRAWS)):
        try:
            several = len(group_by_settings(runs, [key])) > 1
        except UsageError:  # no run has the key, as that of folds
            continue
        if several:
            return shlex.join(["mmx", "compare", *words, *conditions, "--by", key])
    return "mmx list   (which other runs there are)"
