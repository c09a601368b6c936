"""A summary in words and numbers, for the terminal."""

from __future__ import annotations

import math

from rich.console import RenderableType
from rich.table import Table

from mmx.controls import find_control
from mmx.printable import one_line
from mmx.reports.view import format_metric, format_metrics
from mmx.runs.summary import (
    CalibrationResult,
    CaughtUp,
    ClassTable,
    ControlResult,
    StatedGain,
    Summary,
    TestedFold,
    TransferFacts,
)
from mmx.terminal import Console


def write_lines(summary: Summary) -> list[RenderableType]:
    """Return the answer of a finished run: metrics, gain, search, cost and notes."""
    lines: list[RenderableType] = [format_title(summary), _metrics_table(summary)]
    if found := summary.source.metrics:
        lines.append(f"source {summary.source.task} val: {format_metrics(found['val'])}")
    lines.extend(format_gains(summary))
    lines.extend(format_search(summary))
    lines.extend(format_line(summary))
    lines.extend(_format_cost(summary))
    if summary.target.classes is not None and summary.target.classes.balanced_accuracy is not None:
        lines.append(_format_classes(summary.target.classes))
    if summary.target.calibration is not None:
        lines.append(format_calibration(summary.target.calibration))
    lines.extend(f"note: {note}" for note in summary.notes)
    return lines


def _metrics_table(summary: Summary) -> Table:
    """Return the metrics of the target and its controls, on test and validation."""
    names, mode = list(summary.target.metrics["test"]), summary.transfer.mode
    table = Table()
    table.add_column("")
    for name in names:
        table.add_column(one_line(name), justify="right")
    every = {mode: summary.target.metrics}
    for name, control in summary.control.items():
        every[f"control {format_control(name, control)}"] = control.metrics
    for label, metrics in every.items():
        for split in ("test", "val"):
            cells = (format_metric(name, metrics[split][name]) for name in names)
            table.add_row(one_line(f"{label} {split}"), *cells)
    return table


def _format_cost(summary: Summary) -> list[str]:
    """Return the cost of a run in time and parameters, and that of one sample."""
    timing, params = summary.timing, summary.params
    control = "" if timing.control_s is None else f"control {timing.control_s:.1f} s, "
    search = "" if timing.search_s is None else f"search {timing.search_s:.1f} s, "
    cached = " (earlier, from the cache)" if timing.source_cached else ""
    shared = f", {params.shared:,} shared" if params.shared else ""
    return [
        f"cost: source {timing.source_s:.1f} s{cached}, {search}"
        f"target {timing.target_s:.1f} s, {control}"
        f"total {timing.total_s:.1f} s, {timing.train_samples_per_s:,.0f} samples/s; "
        f"{params.trainable:,} of {params.total:,} parameters trained{shared}",
        f"a sample: {summary.cost.flops_per_sample:,} FLOPs, "
        f"{1e3 * timing.seconds_per_sample:.3g} ms",
    ]


def format_title(summary: Summary) -> str:
    """Return a run's source, target, transfer, fusion and seed on one line."""
    return (
        f"{summary.source.task} → {summary.target.task}  "
        f"({format_transfer(summary.transfer)}, {summary.fusion}, seed {summary.seed}"
        f"{_format_fold(summary.fold)})"
    )


def _format_fold(fold: TestedFold | None) -> str:
    if fold is None:
        return ""
    repeat = f", repeat {fold.repeat}" if fold.repeat > 1 else ""
    return f", fold {fold.number} of {fold.count}{repeat}"


def format_transfer(transfer: TransferFacts) -> str:
    """Return the mode of a transfer, with its regulariser if there is one."""
    regularizer = transfer.regularizer.name if transfer.regularizer else None
    return f"{transfer.mode} + {regularizer}" if regularizer else transfer.mode


def _format_classes(found: ClassTable) -> str:
    """Return balanced accuracy and lowest recall, which plain accuracy may hide."""
    text = f"classes: balanced accuracy {found.balanced_accuracy:.3f}"
    occurring = {name: each for name, each in found.classes.items() if each.support}
    recalls = {n: e.recall for n, e in occurring.items() if e.recall is not None}
    if not recalls:
        return text
    worst = min(recalls, key=lambda name: recalls[name])
    return f"{text}, lowest recall {recalls[worst]:.3f} ({worst})"


def format_calibration(found: CalibrationResult) -> str:
    """Return what calibration changed on the test rows, in one sentence."""
    method = found.method if found.temperature is None else f"temperature {found.temperature:.3g}"
    tested = found.splits["test"]
    return (
        f"calibration: {method}, fitted on validation; expected calibration error (ECE) on test "
        f"{tested.ece_before:.3f} before, {tested.ece_after:.3f} after; log loss "
        f"{tested.log_loss_before:.3f} before, {tested.log_loss_after:.3f} after."
    )


def format_control(name: str, control: ControlResult) -> str:
    """Return a control's name, with its modality if it has one."""
    return name if control.modality is None else f"{name} ({control.modality})"


def format_gains(summary: Summary) -> list[str]:
    """Return the gains over controls, and how fast the target trains, one sentence a line."""
    if summary.gain is None:
        return []
    lines, gains = [format_gain_sentence(summary.gain)], summary.gains
    if summary.gain.control in gains:
        lines += format_row_counts(summary.gain.control, gains[summary.gain.control])
    if len(gains) > 1:
        level = 100 * next(iter(gains.values())).level
        lines.append(
            f"over each of {len(gains)} controls, {level:.4g} % intervals, which all hold together "
            "in 95 % of cases (Bonferroni):"
        )
        for name, gain in gains.items():
            low, high = gain.interval or (math.nan, math.nan)
            lines.append(
                f"  {format_control(name, summary.control[name])}: {gain.value:+.3f} "
                f"({low:+.3f} … {high:+.3f}): {gain.verdict}"
            )
    if summary.faster is not None:
        untrained = _at_chance(summary, summary.faster)
        lines.append((format_untrained if untrained else format_faster)(summary.faster))
    return lines


def format_untrained(faster: CaughtUp) -> str:
    """Return what a gain over a control means that has learned nothing."""
    return (
        f"the {faster.control} control is no better than chance after "
        f"{_steps(faster.control_steps)}: the gain is that of so short a training; a larger "
        "trainer.epochs trains both longer"
    )


def _at_chance(summary: Summary, faster: CaughtUp) -> bool:
    """Return whether the control is no better than chance: then catching up says nothing."""
    found, control = summary.target.chance, summary.control[faster.control]
    return found is not None and not found.is_beaten_by(control.metrics["test"][found.metric])


def format_search(summary: Summary) -> list[str]:
    """Return what a search tried and what it left out with the reason, a candidate a line."""
    found = summary.transfer.auto
    if found is None:
        return []
    tried, others = found.tried, found.not_tried
    budget = ", ".join(f"{value:,g} {unit}" for unit, value in found.budget.items())
    lines = [
        f"search: {len(tried)} of {len(tried) + len(others)} candidates tried, "
        f"in {_steps(found.steps)} and {found.seconds:.1f} s (budget {budget} for all "
        "trials; the source and the winner's own training come on top, and no control had any):"
    ]
    for each in tried:
        metric, value = each.metric
        said = "" if value is None else f", {metric} {value:.3f}"
        count = each.epochs
        length = f"{count} epoch{'' if count == 1 else 's'}" if count else "fitted"
        lines.append(f"  {each.candidate}, {length}{said}: {each.fate}")
    return [*lines, *(f"  {name}: {why}" for name, why in others.items())]


def format_line(summary: Summary) -> list[str]:
    """Return the metric along the line from the starting weights to the trained ones."""
    found = summary.transfer.wise_ft
    if found is None:
        return []
    alphas = list(found.alpha)
    points = ", ".join([*alphas[:2], "…", alphas[-1]])
    lines = [f"wise_ft: {found.metric} at α = {points}; α = {found.kept:g} is kept"]
    for split in ("val", "test"):
        values = (each[split][found.metric] for each in found.alpha.values())
        lines.append(f"  {split:4s}  " + "  ".join(f"{value:.3f}" for value in values))
    return lines


def format_gain_sentence(gain: StatedGain) -> str:
    """Return the gain as one sentence."""
    budget = " of equal budget" if find_control(gain.control).trained else ""
    metric = gain.metric + (" (lower is better, so a positive gain is one)" * gain.lower_is_better)
    text = f"gain: {gain.value:+.3f} {metric} over the {gain.control} control{budget}"
    if gain.interval:
        low, high = gain.interval
        text += f" (95 % interval {low:+.3f} … {high:+.3f} over test samples, one seed)"
    return f"{text}: {gain.verdict}"


def format_row_counts(control: str, found: StatedGain) -> list[str]:
    """Return on how many test rows only one of target and control is right, if known."""
    if found.mcnemar_p is None:
        return []
    return [
        f"test rows: the target alone is right on {found.better_rows:,}, the {control} control "
        f"alone on {found.worse_rows:,} (McNemar's exact test: p = {found.mcnemar_p:.2g})"
    ]


def format_faster(found: CaughtUp) -> str:
    """Return in one sentence when the target reached the best validation metric of its control."""
    best = f"the {found.control} control's best validation {found.metric}"
    best += f" ({found.value:.3f})"
    theirs = f"{_steps(found.control_steps)}, {found.control_s:.2f} s"
    steps = found.target_steps
    if steps is None:
        return f"not faster: {best}, which took it {theirs}, is never reached"
    word = "faster" if steps < found.control_steps else "slower"
    word = "as fast" if steps == found.control_steps else word
    if steps == 0:  # the head is fitted, not trained by steps
        return f"faster: {best} is reached by a fit without steps; the control took {theirs}"
    ours = f"{_steps(steps)}, {found.target_s:.2f} s"
    return f"{word}: {best} is reached after {ours}; the control took {theirs}"


def _steps(count: int) -> str:
    return f"{count:,} step" if count == 1 else f"{count:,} steps"


def show(console: Console, summary: Summary) -> None:
    """Print the answer."""
    for line in write_lines(summary):
        if isinstance(line, str):
            console.print(one_line(line), highlight=False, markup=False, soft_wrap=True)
        else:
            console.print(line)
