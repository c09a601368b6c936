"""The gains of a sweep for its readers: a table, notes, gains.csv and gains.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from mmx.csv_text import format_csv
from mmx.reports.group_gain import GroupGain
from mmx.reports.page import Grid
from mmx.reports.sweep_gains import (
    Gains,
    format_percent,
)
from mmx.runs.atomic import write_json, write_text

OLD_PAGE = "gains.html"
"""The page that an older mmx made of a sweep; it is sweep.html now."""
ONE_SEED = (
    "Groups of one seed: their intervals are over test samples alone, and say nothing of the "
    "luck of training. seeds=5 trains five."
)
SEEDS = (
    "Intervals are over seeds and test samples. Seeds are few, so what they show of their spread "
    "is weighed over all groups of the table: the more alike it is, the more they share "
    "(Student's t; the documentation says under Intervals how often such intervals hold)."
)
DECIDING = (
    "Would decide: about how many seeds in each group would make its interval exclude 0, if the "
    "difference is as seen."
)
AT_CHANCE = (
    "No answer: where neither target nor control is better than always saying the most frequent "
    "class, beyond binomial noise, their difference says nothing about transfer."
)
FOLDS = (
    "Intervals over folds: Student's t, with the variance of the mean corrected for the training "
    "rows that folds share (Nadeau and Bengio 2003: 1 / n + 1 / (k - 1) times the variance between "
    "the n folds of partitions into k; the documentation says under Intervals how often such "
    "intervals hold). "
    "Seeds of one fold count as one value, their mean."
)
FEWER_FOLDS = (
    "Not every fold is done, so some rows were not tested: the same command goes on with the rest."
)
HIGHER_IN = "higher in"
"""The column that says in how many seeds the target was higher."""
WOULD_DECIDE = "would decide"
"""The column that says how many seeds would."""
TO_BEST = "to the control's best"
"""The column that says how soon a target reached the best of its control."""
FASTER = (
    "To the control's best: in how many {unit}s the target reached the best validation metric of "
    "its control, and after how many steps and seconds of training, target / control: medians "
    "over {unit}s (– where the median {unit} never got there, empty where a control is no better "
    "than chance, and its gain is that of a short training), the source's training not counted."
)


def make_title(gains: Gains) -> str:
    """Return the title of the table."""
    if gains.comparisons == 1:
        return "Gain over the control, 95 % interval"
    return (
        f"Gain over the control, {format_percent(gains.level)} intervals: "
        f"all {gains.comparisons} hold together in 95 % of cases (Bonferroni)"
    )


def make_grid(gains: Gains) -> Grid:
    """Return the table as text, without columns that are empty or the same for all groups."""
    units = {"folds" if each.folds else "seeds" for each in gains.found}
    over = " or ".join(sorted(units))
    lines = [_make_line(each, over, mixed=len(units) > 1) for each in gains.found]
    heads = _choose_heads(gains.found, lines)
    rows = tuple(tuple(line.get(head, "") for head in heads) for line in lines)
    return Grid(make_title(gains), tuple(heads), rows)


def _make_line(each: GroupGain, over: str, *, mixed: bool) -> dict[str, str]:
    """Return the cells of one group by column, with those that the table may leave out.

    Args:
        each: The gain of the group.
        over: The column that says how many seeds or folds the means are over.
        mixed: Whether some groups are over folds and others over seeds.
    """
    return {
        **each.group,
        "metric": each.gain.metric,
        "over": each.gain.control,
        over: each.over if mixed or each.folds else str(each.count),
        "target mean": f"{each.target:.3f}",
        "control mean": f"{each.control:.3f}",
        "gain": f"{each.gain.value:+.3f}",
        "interval": _format_interval(each),
        HIGHER_IN: f"{each.higher} of {each.count} {'folds' if each.folds else 'seeds'}",
        "verdict": each.gain.verdict,
        WOULD_DECIDE: "" if each.deciding is None else str(each.deciding),
        TO_BEST: _format_to_best(each),
    }


def _choose_heads(found: Sequence[GroupGain], lines: Sequence[dict[str, str]]) -> list[str]:
    """Return the columns, less those that are empty or the same for all groups."""
    heads = list(dict.fromkeys(head for line in lines for head in line))
    if len({line["over"] for line in lines}) == 1:
        heads.remove("over")
    if all(each.count == 1 for each in found):
        heads.remove(HIGHER_IN)
    for head in (WOULD_DECIDE, TO_BEST):
        if not any(line[head] for line in lines):
            heads.remove(head)
    return heads


def _format_interval(each: GroupGain) -> str:
    if each.gain.interval is None:
        return ""
    low, high = each.gain.interval
    return f"{low:+.3f} … {high:+.3f}"


def _format_to_best(each: GroupGain) -> str:
    found = each.faster
    if found is None:
        return ""
    steps = "–" if found.target_steps is None else f"{found.target_steps:,.0f}"
    seconds = "–" if found.target_s is None else f"{found.target_s:,.2f}"
    return (
        f"{found.reached} of {len(each.draws)}: {steps} / {found.control_steps:,.0f} steps, "
        f"{seconds} / {found.control_s:,.2f} s"
    )


def make_gains_table(gains: Gains) -> Table:
    """Return the table for a terminal; negative transfer stands out."""
    shown = make_grid(gains)
    found = Table(*shown.columns, title=shown.title, title_justify="left")
    for each, cells in zip(gains.found, shown.rows, strict=True):
        # As text: a value such as [image,text] would be read as markup.
        found.add_row(*map(Text, cells), style="bold red" if each.gain.negative else "")
    return found


def list_notes(gains: Gains) -> list[str]:
    """Return how to read the table, and the answers on fewer labels."""
    counts = {each.count for each in gains.found if not each.folds}
    folded = [each for each in gains.found if each.folds]
    notes = (
        (SEEDS, max(counts, default=0) > 1),
        (ONE_SEED, 1 in counts),
        (FOLDS, bool(folded)),
        (FEWER_FOLDS, any(each.lacks_folds for each in folded)),
        (DECIDING, any(each.deciding for each in gains.found)),
        (AT_CHANCE, not all(each.gain.learned for each in gains.found)),
        (
            FASTER.format(unit="run" if folded else "seed"),
            any(each.faster for each in gains.found),
        ),
    )
    how = [note for note, applies in notes if applies]
    return [*how, *(each.text for each in gains.less_data)]


def write_gains(path: Path, gains: Gains) -> None:
    """Write ``gains.csv`` and ``gains.json`` into a sweep's directory."""
    lines = [{**each.group, **each.numbers()} for each in gains.found]
    heads = list(dict.fromkeys(head for line in lines for head in line))
    rows = [[line.get(head) for head in heads] for line in lines]
    write_text(path / "gains.csv", format_csv([heads, *rows]))
    write_json(path / "gains.json", gains.data())
    (path / OLD_PAGE).unlink(missing_ok=True)


def remove_gains(path: Path) -> None:
    """Remove the gains of an earlier sweep: no run in them counts any more."""
    for name in ("gains.csv", "gains.json", OLD_PAGE):
        (path / name).unlink(missing_ok=True)
