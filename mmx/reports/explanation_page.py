"""The page of ``mmx explain``: what inputs contribute, and why rows are answered as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mmx.evaluation.data_facts import InputReaders
from mmx.evaluation.subsets import ALL_SUBSETS, ORDERS
from mmx.explanations import METHODS
from mmx.explanations.explained_rows import ExplainedInput, ExplainedRow
from mmx.explanations.shares import Shares
from mmx.modalities.audio import AudioColumn, find_channel
from mmx.modalities.image import find_decoding
from mmx.printable import printable, shorten
from mmx.reports.chart_specs import MeasuredRow, draw_bars, format_number
from mmx.reports.explanation import Explanation
from mmx.reports.explanation_media import SIDE, Bar, ShownMap, find_largest, show_map
from mmx.reports.page import Chart, Grid, render_page
from mmx.reports.samples import SOUND_BYTES, Sample, Showing, show_row
from mmx.tasks import TaskData

NAME = 80  # characters of a class, a run or a label on the page


@dataclass(frozen=True)
class ShownInput:
    """One input of a row: as it is, and what each method found.

    Attributes:
        name: Of the input.
        sample: The input itself; None where the parts already show it, as cells do.
        maps: What each method found.
        misfits: Title of a method, and why it does not fit.
    """

    name: str
    sample: Sample | None
    maps: tuple[ShownMap, ...]
    misfits: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ShownRow:
    """One row.

    Attributes:
        title: What was answered, and what is right.
        about: Which row it is, how sure the answer is, and what is explained.
        shares: What each input contributes to the answer.
        total: To what the shares sum.
        inputs: The row's inputs.
    """

    title: str
    about: str
    shares: tuple[Bar, ...]
    total: str
    inputs: tuple[ShownInput, ...]


@dataclass(frozen=True)
class Section:
    """Rows under one head."""

    title: str
    rows: tuple[ShownRow, ...]


@dataclass(frozen=True)
class Note:
    """How one thing on the page is read: its name, and a text."""

    name: str
    text: str


def render_explanation(found: Explanation, data: TaskData, readers: InputReaders) -> str:
    """Return the page.

    Args:
        found: What was found.
        data: The opened data of the first run.
        readers: Input to what reads it.
    """
    inputs = [each for row in found.rows for each in row.inputs]
    sounds = sum(isinstance(data.columns[each.name], AudioColumn) for each in inputs)
    how = Showing(SIDE, SOUND_BYTES // max(1, sounds))
    rows = [_show_row(found, each, data, readers, how) for each in found.rows]
    run = shorten(printable(found.runs[0]), NAME)
    return render_page(
        "explanation.html.jinja",
        title=f"Explanation: {run}",
        over=_describe_place(found),
        answer=_describe_shares(found.shares),
        lead=_describe_rows(found),
        notes=[printable(note) for note in found.notes],
        shares=_draw_shares(found),
        runs=_list_runs(found),
        sections=_sort_sections(found, rows),
        methods=_list_methods(found),
        command=printable(found.command),
    )


def _describe_place(found: Explanation) -> str:
    runs = [shorten(printable(each), NAME) for each in found.runs]
    named = runs[0] if len(runs) == 1 else f"{len(runs)} runs, rows explained by {runs[0]}"
    return f"{named} · target {printable(found.target_name)} · split {found.split}"


def _describe_shares(shares: Shares) -> str:
    """Return the answer of the page: which input the metric comes from."""
    first, *others = shares.values.items()
    full, empty = format_number(shares.full), format_number(shares.empty)
    metric = printable(shares.metric)
    if not others:
        return f"With {printable(first[0])}, {metric} is {full}; without, it is {empty}"
    parts = [f"{printable(name)} {format_number(each.value, signed=True)}" for name, each in others]
    listed = ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
    return (
        f"Of {metric} {full}, {printable(first[0])} brings "
        f"{format_number(first[1].value, signed=True)}; {listed}"
    )


def _describe_rows(found: Explanation) -> str:
    count = len(found.answers.truth)
    where = f"{count:,} rows of {found.split}"
    if found.asked:
        asked = f"{len(found.rows)} rows" if len(found.rows) > 1 else "1 row"
        return f"Below: {asked} of the {where}, asked for by number."
    if found.target.kind == "regression":
        return f"Below: of the {where}, those that are farthest off, and the nearest."
    wrong = sum(each.chosen.right is False for each in found.rows)
    right = len(found.rows) - wrong
    if not wrong:
        return f"Below: {right} of the {where}; there is no error among them."
    errors = f"the {wrong} most confident errors" if wrong > 1 else "the only error"
    return f"Below: of the {where}, {errors}, and {right} right answers of different classes."


def _draw_shares(found: Explanation) -> Chart:
    shares = found.shares
    measured = [
        MeasuredRow(
            shorten(printable(name), NAME),
            each.value,
            (each.low, each.high) if math.isfinite(each.low) else None,
        )
        for name, each in shares.values.items()
    ]
    over = "test rows" if found.split == "test" else f"rows of {found.split}"
    over = over if len(found.runs) == 1 else f"{len(found.runs)} runs and {over}"
    metric = printable(shares.metric)
    better = ", where lower is better" if shares.lower_is_better else ""
    return Chart(
        title=f"What each input contributes to {metric}{better}",
        spec=draw_bars(measured, x=f"{metric} (Shapley value)", signed=True),
        table=Grid(
            f"Shares of {metric}",
            ("input", "share", "from", "to"),
            tuple(
                (
                    shorten(printable(name), NAME),
                    format_number(each.value, signed=True),
                    _format(each.low),
                    _format(each.high),
                )
                for name, each in shares.values.items()
            ),
        ),
        note=f"They sum to {format_number(shares.full)} with all inputs minus "
        f"{format_number(shares.empty)} without any. Intervals of 95 % over {over}.",
    )


def _format(value: float) -> str:
    return format_number(value, signed=True) if math.isfinite(value) else ""


def _list_runs(found: Explanation) -> Grid | None:
    """Return the shares of each run; None for a single one."""
    if len(found.runs) == 1:
        return None
    names = list(found.shares.values)
    return Grid(
        "Each run",
        ("run", printable(found.shares.metric), *map(printable, names)),
        tuple(
            (
                shorten(printable(run), NAME),
                format_number(each.full),
                *(format_number(each.values[name].value, signed=True) for name in names),
            )
            for run, each in zip(found.runs, found.shares_of_runs, strict=True)
        ),
    )


def _sort_sections(found: Explanation, rows: Sequence[ShownRow]) -> list[Section]:
    """Return the rows under a head for errors and one for right answers, or one for all."""
    if found.asked or found.target.kind == "regression":
        title = "The rows asked for" if found.asked else "Farthest off first"
        return [Section(title, tuple(rows))]
    paired = list(zip(found.rows, rows, strict=True))
    sections = [
        Section("Most confident errors", tuple(s for row, s in paired if not row.chosen.right)),
        Section("Right answers", tuple(shown for row, shown in paired if row.chosen.right)),
    ]
    return [each for each in sections if each.rows]


def _show_row(
    found: Explanation, row: ExplainedRow, data: TaskData, readers: InputReaders, how: Showing
) -> ShownRow:
    chosen = row.chosen
    answer, truth = found.name_answer(chosen.place), found.name_truth(chosen.place)
    explained = found.name_output(chosen.output)
    if found.target.kind == "regression":
        sure = f"off by {chosen.confidence:.4g}"
    else:
        sure = f"confidence {chosen.confidence:.3f}"
    other = f" · explained: {explained}" if explained not in (answer, "the number") else ""
    order = list(found.shares.values)
    inputs = sorted(row.inputs, key=lambda each: order.index(each.name))
    quote = str if found.target.kind == "regression" else _quote
    said = f"Answer {quote(answer)}" if answer else "Answer: no label"
    title = f"{said}, which is right" if chosen.right else f"{said}, true is {quote(truth)}"
    return ShownRow(
        title=printable(title),
        about=printable(f"row {chosen.row + 1} · {sure}{other}"),
        shares=_show_shares(found, row),
        total=_describe_total(found, row),
        inputs=tuple(_show_input(each, row, data, readers, how) for each in inputs),
    )


def _quote(text: str) -> str:
    return f"“{shorten(text, NAME)}”" if text else "no label"


def _show_shares(found: Explanation, row: ExplainedRow) -> tuple[Bar, ...]:
    """Return the bars of the row's inputs, those it lacks left out; none for a single input."""
    if len(row.shares) < 2:
        return ()
    there = {each.name for each in row.inputs}
    shares = sorted(row.shares.items(), key=lambda item: -item[1])
    largest = max(abs(value) for value in row.shares.values()) or 1.0
    return tuple(
        Bar(
            shorten(printable(name), NAME),
            "" if name in there else "absent",
            format_number(value, signed=True),
            value / largest,
        )
        for name, value in shares
    )


def _describe_total(found: Explanation, row: ExplainedRow) -> str:
    if found.target.kind == "regression":
        return f"from {row.empty:.4g} without any input to {row.full:.4g}"
    name = shorten(printable(found.name_output(row.chosen.output)), NAME)
    return (
        f"probability of “{name}”: from {format_number(row.empty)} without any input "
        f"to {format_number(row.full)}"
    )


def _show_input(
    given: ExplainedInput, row: ExplainedRow, data: TaskData, readers: InputReaders, how: Showing
) -> ShownInput:
    reader = readers.get(given.name)
    how = replace(how, decoding=find_decoding(reader), channel=find_channel(reader))
    sample: Sample | None = show_row(data.columns[given.name], data, row.chosen.row, how)
    if given.modality == "tabular" or (given.in_order and given.maps):
        sample = None  # its cells or words are shown with what they contribute
    # Numbers of one method for one answer can be compared, so that a row's bars have one scale.
    maps = tuple(
        show_map(given, name, METHODS[name].title, find_largest(row.inputs, name))
        for name in given.maps
    )
    return ShownInput(
        printable(given.name),
        sample,
        order_maps(maps),
        tuple((METHODS[name].title, why) for name, why in given.misfits.items()),
    )


def order_maps(maps: Iterable[ShownMap]) -> tuple[ShownMap, ...]:
    """Return the maps that count from a baseline first: they alone sum to something."""
    return tuple(sorted(maps, key=lambda each: (not METHODS[each.method].has_baseline, each.title)))


def _list_methods(found: Explanation) -> list[Note]:
    """Return how everything on the page was computed."""
    inputs = [each for row in found.rows for each in row.inputs]
    used = dict.fromkeys(name for each in inputs for name in each.maps)
    baselines = dict.fromkeys(
        f"{printable(each.name)}: {each.baseline}"
        for each in inputs
        if any(METHODS[name].has_baseline for name in each.maps)
    )
    notes = [Note(METHODS[name].title, METHODS[name].about) for name in used]
    if baselines:
        notes.append(Note("Baselines", "; ".join(baselines) + "."))
    misfits: dict[str, None] = {}
    for each in inputs:
        for name, why in each.misfits.items():
            text = f"{METHODS[name].title} is not used for {printable(each.name)}: {why}."
            misfits.setdefault(text)
    if misfits:
        notes.append(Note("Not used", " ".join(misfits)))
    if found.target.kind == "regression":
        unit = f"{found.target.std:.4g}"
        notes.append(Note("Units", UNITS.format(unit=unit)))
    shares = (
        "A Shapley value is what an input adds to the metric, as the mean over "
        + ("all orders" if len(found.shares.values) <= ALL_SUBSETS else f"{ORDERS} orders")
        + " in which inputs can be shown. An absent input is treated as the model treats a missing "
        "one; rows without any are answered by the prior of the training targets."
    )
    return [Note("Shares", shares), *notes, Note("What it does not say", CAUTION)]


CAUTION = (
    "An explanation is of the model, not of the world: what speaks for an answer need not cause "
    "what is true. Everything is computed in float32 and evaluation mode, one row at a time."
)
UNITS = (
    "Answers are in the task's own unit. What parts add to the output is in standard deviations of "
    "the training numbers: 1 stands for {unit}."
)
