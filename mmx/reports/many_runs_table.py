"""A comparison of many runs as a table: for a terminal, a paper, a notebook or a program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

from mmx.csv_text import format_csv
from mmx.json_object import Json, null_undefined
from mmx.printable import VALUE, one_line
from mmx.reports.group_line import GroupLine, GroupMean
from mmx.reports.many_runs import ManyRuns
from mmx.runs.mean_cells import MEANS, format_mean_cell

Format = Literal["text", "csv", "json", "markdown", "latex", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)
BEST, FRONT = "*", "p"
LEGEND = f"{BEST} best by validation; {FRONT} no other is better in less time; {MEANS}"

LineCells = list[str]


def format_many(found: ManyRuns, form: Format) -> str:
    """Return a comparison in a format, with a newline at its end.

    HTML is a page, and LaTeX has columns of its own (``many_runs_latex.py``).
    """
    formats: dict[str, Callable[[ManyRuns], str]] = {
        "text": _format_text,
        "csv": _format_csv,
        "json": lambda many: format_comparison_json(many.data()),
        "markdown": _format_markdown,
    }
    return formats[form](found)


def format_comparison_json(node: Json) -> str:
    """Return plain data as JSON; a number that is undefined is null, since JSON has no NaN."""
    return json.dumps(null_undefined(node), indent=2, allow_nan=False) + "\n"


def describe_comparison(found: ManyRuns) -> list[str]:
    """Return what the table says, in sentences, and how it was made."""
    lines = [] if found.larger_is_better else [_describe_direction(found)]
    for target in found.targets:
        lines += _describe_target(found, target)
    lines += [*_describe_ranks(found), *(f"note: {note}" for note in found.notes)]
    return [one_line(line) for line in lines]


def _describe_direction(found: ManyRuns) -> str:
    """Return that lower is better, and what the signs of differences mean then."""
    signed = []
    if any(line.gain for line in found.lines):
        signed.append("gains")
    if any(line.paired for line in found.lines):
        signed.append("differences to the best")
    signs = f"; {' and '.join(signed)} are positive where a group is better" if signed else ""
    return f"lower {found.metric} is better{signs}"


def _describe_target(found: ManyRuns, target: str) -> list[str]:
    """Return which group is best on a target, and how many others differ clearly from it."""
    own = [line for line in found.lines if line.group.target == target]
    best = next((line for line in own if line.is_best), None)
    where = f" on {target}" if len(found.targets) > 1 else ""
    if best is None:
        return [f"best by validation{where}: none, {found.metric} is undefined there"]
    answer = (
        f"best by validation{where}: {best.group.name}, {found.metric} "
        f"{format_mean(best.test)} on test ({format_mean(best.val)} on validation)"
    )
    if len(own) == 1:
        return [answer]
    paired = [line.paired for line in own if line.paired is not None]
    if not paired:
        return [answer, "  no other group can be paired with it row by row"]
    clear = sum(_excludes_zero(each.interval) for each in paired)
    return [
        answer,
        f"  {_count_clear(clear, len(paired), len(own) - 1)} clearly from it on the same "
        f"test rows ({100 * found.level:.4g} % intervals, which all hold together in "
        "95 % of cases)",
    ]


def _count_clear(clear: int, paired: int, others: int) -> str:
    """Return how many groups differ, of those that can be paired, and of all."""
    if paired == others:
        return f"{clear} of {others} other {'group differs' if others == 1 else 'groups differ'}"
    verb = "differs" if paired == 1 else "differ"
    return f"{clear} of the {paired} that can be paired, of {others} other groups, {verb}"


def _describe_ranks(found: ManyRuns) -> list[str]:
    ranks = found.ranks
    if ranks is None:
        return []
    ordered = sorted(zip(ranks.means, found.methods, strict=True))
    return [
        f"mean ranks over {ranks.targets} targets (Friedman's test: p = {ranks.p:.2g}; ranks that "
        f"differ by less than {ranks.critical_difference:.2f} are not told apart, Nemenyi): "
        + ", ".join(f"{name} {rank:.2f}" for rank, name in ordered)
    ]


def _excludes_zero(interval: tuple[float, float]) -> bool:
    return interval[0] > 0 or interval[1] < 0


def _list_columns(found: ManyRuns) -> list[tuple[str, Callable[[GroupLine], str]]]:
    """Return the heads of the columns, and what each shows of a line."""
    keys = list(dict.fromkeys(key for line in found.lines for key in line.group.label))
    columns: list[tuple[str, Callable[[GroupLine], str]]] = [("", _format_marks)]
    if len(found.targets) > 1:
        columns.append(("target", lambda line: line.group.target))
    for key in keys:
        columns.append((key, partial(find_label, key)))
    columns += [
        ("n", lambda line: str(len(line.test.values))),
        (f"{found.metric} test", lambda line: format_mean(line.test)),
        (f"{found.metric} val", lambda line: format_mean(line.val)),
    ]
    if any(line.gain for line in found.lines):
        columns.append(("gain", format_group_gain))
    if any(line.paired for line in found.lines):
        columns.append(("to the best", _format_paired))
    return [
        *columns,
        ("seconds", lambda line: f"{line.seconds:.3g}"),
        ("parameters", lambda line: f"{line.parameters:,.0f}"),
    ]


def list_heads(found: ManyRuns) -> LineCells:
    """Return the heads of the table."""
    return [one_line(head, VALUE) for head, _ in _list_columns(found)]


def list_rows(found: ManyRuns) -> list[LineCells]:
    """Return the cells of each line as texts for people."""
    columns = _list_columns(found)
    return [[one_line(show(line), VALUE) for _, show in columns] for line in found.lines]


def _format_marks(line: GroupLine) -> str:
    return (BEST if line.is_best else "") + (FRONT if line.is_on_front else "")


def find_label(key: str, line: GroupLine) -> str:
    """Return what a group has for a key; "" where it has none."""
    return line.group.label.get(key, "")


def format_group_gain(line: GroupLine) -> str:
    """Return the gain of a group with its interval; "" where it has none."""
    return "" if line.gain is None else format_mean(line.gain, signed=True)


def _format_paired(line: GroupLine) -> str:
    """Return the difference to the best by validation, with interval and effect size."""
    if line.paired is None:
        return ""
    low, high = line.paired.interval
    effect = "" if line.paired.effect is None else f", d = {line.paired.effect:.2g}"
    return f"{line.paired.value:+.3f} ({low:+.3f} … {high:+.3f}){effect}"


def format_mean(mean: GroupMean, *, signed: bool = False) -> str:
    """Return a mean with half of its interval, or with its values where they are too few."""
    write = ("{:+.3f}" if signed else "{:.3f}").format
    return format_mean_cell(mean.value, mean.half_width, mean.values.tolist(), write)


def _format_text(found: ManyRuns) -> str:
    heads, rows = list_heads(found), list_rows(found)
    lines: list[Sequence[str]] = [heads, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in lines
    ]
    said = describe_comparison(found)
    notes = [line for line in said if line.startswith("note: ")]
    answers = [line for line in said if line not in notes]
    return "\n".join([*answers, "", *table, LEGEND, *notes]) + "\n"


def _format_csv(found: ManyRuns) -> str:
    """Return numbers as they are stored, with intervals in columns of their own."""
    keys = list(dict.fromkeys(key for line in found.lines for key in line.group.label))
    own = ["test", "test_half_width", "val", "val_half_width", "gain", "gain_half_width"]
    paired = ["difference", "difference_low", "difference_high", "effect"]
    heads = ["target", *keys, "metric", "n", *own, *paired, "seconds", "parameters",
             "best_by_validation", "pareto"]  # fmt: skip
    rows: list[list[object]] = [list(heads)]
    for line in found.lines:
        means = [line.test, line.val, line.gain]
        numbers = [
            n for m in means for n in ((None, None) if m is None else (m.value, m.half_width))
        ]
        difference: tuple[object, ...] = (None,) * len(paired)
        if line.paired is not None:
            difference = (line.paired.value, *line.paired.interval, line.paired.effect)
        rows.append([
            line.group.target, *(line.group.label.get(key) for key in keys), found.metric,
            len(line.test.values), *numbers, *difference, line.seconds, line.parameters,
            line.is_best, line.is_on_front,
        ])  # fmt: skip
    return format_csv(rows)


def _format_markdown(found: ManyRuns) -> str:
    heads = [escape_markdown(head) for head in list_heads(found)]
    rows = [[escape_markdown(cell) for cell in row] for row in list_rows(found)]
    lines = [f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows]]
    return (
        "\n".join(
            [
                *lines,
                "",
                *(f"- {escape_markdown(line.strip())}" for line in describe_comparison(found)),
            ]
        )
        + "\n"
    )


def escape_markdown(text: str) -> str:
    """Return a text as Markdown shows it, with what Markdown obeys escaped."""
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", text)
