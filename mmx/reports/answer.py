"""A summary in words and numbers, for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table

from mmx.evaluation.chance import Chance
from mmx.printable import one_line
from mmx.reports.view import metrics_text, percent_or_number
from mmx.terminal import Console

OF_A_TRIAL = ("candidate", "epochs", "fate")
"""What a summary says of a trial beside its metric."""


def answer(summary: dict[str, Any]) -> list[RenderableType]:
    """Return what a finished run says: the metrics, the gain, the cost, the notes."""
    source, target = summary["source"]["task"], summary["target"]
    mode, names = summary["transfer"]["mode"], list(target["metrics"]["test"])
    title = title_text(summary)
    table = Table()
    table.add_column("")
    for name in names:
        table.add_column(one_line(name), justify="right")
    rows = {f"{mode} test": target["metrics"]["test"], f"{mode} val": target["metrics"]["val"]}
    for name, control in summary.get("control", {}).items():
        label = f"control {control_text(name, control)}"
        rows[f"{label} test"] = control["metrics"]["test"]
        rows[f"{label} val"] = control["metrics"]["val"]
    for label, metrics in rows.items():
        table.add_row(one_line(label), *(percent_or_number(name, metrics[name]) for name in names))
    lines: list[RenderableType] = [title, table]
    if "metrics" in summary["source"]:
        found = metrics_text(summary["source"]["metrics"]["val"])
        lines.append(f"source {source} val: {found}")
    lines.extend(gain_texts(summary))
    lines.extend(search_texts(summary))
    lines.extend(line_texts(summary))
    timing, params = summary["timing"], summary["params"]
    control = f"control {timing['control_s']:.1f} s, " if "control_s" in timing else ""
    search = f"search {timing['search_s']:.1f} s, " if "search_s" in timing else ""
    cached = " (earlier, from the cache)" if timing["source_cached"] else ""
    shared = f", {params['shared']:,} shared" if params["shared"] else ""
    lines.append(
        f"cost: source {timing['source_s']:.1f} s{cached}, {search}"
        f"target {timing['target_s']:.1f} s, {control}"
        f"total {timing['total_s']:.1f} s, {timing['train_samples_per_s']:,.0f} samples/s; "
        f"{params['trainable']:,} of {params['total']:,} parameters trained{shared}"
    )
    lines.append(
        f"a sample: {summary['cost']['flops_per_sample']:,} FLOPs, "
        f"{1e3 * timing['seconds_per_sample']:.3g} ms"
    )
    if "balanced_accuracy" in target.get("classes", {}):
        lines.append(_classes_text(target["classes"]))
    lines.extend(f"note: {note}" for note in summary.get("notes", []))
    return lines


def title_text(summary: dict[str, Any]) -> str:
    """Return what a run was, on one line."""
    transfer = transfer_text(summary["transfer"])
    return (
        f"{summary['source']['task']} → {summary['target']['task']}  "
        f"({transfer}, {summary['fusion']}, seed {summary['seed']})"
    )


def transfer_text(transfer: dict[str, Any]) -> str:
    """Return the mode of a transfer, with the regulariser that was added to it."""
    regularizer = transfer.get("regularizer", {}).get("name")
    return f"{transfer['mode']} + {regularizer}" if regularizer else str(transfer["mode"])


def _classes_text(found: dict[str, Any]) -> str:
    """Return what the plain accuracy may hide, as one line."""
    text = f"classes: balanced accuracy {found['balanced_accuracy']:.3f}"
    recalls = {n: e["recall"] for n, e in found.get("classes", {}).items() if e["support"]}
    if not recalls:
        return text
    worst = min(recalls, key=lambda name: recalls[name])
    return f"{text}, lowest recall {recalls[worst]:.3f} ({worst})"


def control_text(name: str, control: dict[str, Any]) -> str:
    """Return a control's name, with the modality that was chosen for it."""
    return f"{name} ({control['modality']})" if "modality" in control else name


def gain_texts(summary: dict[str, Any]) -> list[str]:
    """Return what a run gains over its controls, and how fast, one sentence a line."""
    if "gain" not in summary:
        return []
    lines = [gain_text(summary["gain"])]
    gains = summary.get("gains", {})
    lines += rows_texts(summary["gain"], gains.get(summary["gain"].get("control", "scratch"), {}))
    if len(gains) > 1:
        level = 100 * next(iter(gains.values()))["level"]
        lines.append(
            f"over each of {len(gains)} controls, {level:.4g} % intervals, which all hold together "
            "in 95 % of cases (Bonferroni):"
        )
        for name, gain in gains.items():
            low, high = gain["interval"]
            lines.append(
                f"  {control_text(name, summary['control'][name])}: {gain['value']:+.3f} "
                f"({low:+.3f} … {high:+.3f}): {gain['verdict']}"
            )
    if summary.get("faster") and not _at_chance(summary):
        lines.append(faster_text(summary["faster"]))
    return lines


def _at_chance(summary: dict[str, Any]) -> bool:
    """Return whether the control that was to be caught up with is no better than chance."""
    found = summary["target"].get("chance")
    control = summary["control"][summary["faster"]["control"]]
    return found is not None and not Chance(**found).beaten(control["metrics"]["test"]["accuracy"])


def search_texts(summary: dict[str, Any]) -> list[str]:
    """Return what a search tried, what it left out, and why, a candidate a line."""
    found = summary["transfer"].get("auto")
    if found is None:
        return []
    tried, others = found["tried"], found["not_tried"]
    budget = ", ".join(f"{value:,g} {unit}" for unit, value in found["budget"].items())
    lines = [
        f"search: {len(tried)} of {len(tried) + len(others)} candidates tried, "
        f"in {_steps(found['steps'])} and {found['seconds']:.1f} s (budget {budget} for all "
        "trials; the source and the winner's own training come on top, and no control had any):"
    ]
    for each in tried:
        ((metric, value),) = (item for item in each.items() if item[0] not in OF_A_TRIAL)
        said = "" if value is None else f", {metric} {value:.3f}"
        count = each["epochs"]
        length = f"{count} epoch{'' if count == 1 else 's'}" if count else "fitted"
        lines.append(f"  {each['candidate']}, {length}{said}: {each['fate']}")
    return [*lines, *(f"  {name}: {why}" for name, why in others.items())]


def line_texts(summary: dict[str, Any]) -> list[str]:
    """Return the metric along the line from the starting weights to the trained ones."""
    found = summary["transfer"].get("wise_ft")
    if found is None:
        return []
    alphas = list(found["alpha"])
    points = ", ".join([*alphas[:2], "…", alphas[-1]])
    lines = [f"wise_ft: {found['metric']} at α = {points}; α = {found['kept']:g} is kept"]
    for split in ("val", "test"):
        values = (each[split][found["metric"]] for each in found["alpha"].values())
        lines.append(f"  {split:4s}  " + "  ".join(f"{value:.3f}" for value in values))
    return lines


def gain_text(gain: dict[str, Any]) -> str:
    """Return the gain as one sentence."""
    control = gain.get("control", "scratch")
    budget = "" if control == "majority" else " of equal budget"
    text = f"gain: {gain['value']:+.3f} {gain['metric']} over the {control} control{budget}"
    if gain.get("interval"):
        low, high = gain["interval"]
        text += f" (95 % interval {low:+.3f} … {high:+.3f} over test samples, one seed)"
    return f"{text}: {gain['verdict']}"


def rows_texts(gain: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return on how many test rows target and control differ, where that is known."""
    if "mcnemar_p" not in found:
        return []
    name = gain.get("control", "scratch")
    return [
        f"test rows: the target alone is right on {found['better_rows']:,}, the {name} control "
        f"alone on {found['worse_rows']:,} (McNemar's exact test: p = {found['mcnemar_p']:.2g})"
    ]


def faster_text(found: dict[str, Any]) -> str:
    """Return as one sentence when the target was as good as its control at its best."""
    best = f"the {found['control']} control's best validation {found['metric']}"
    best += f" ({found['value']:.3f})"
    theirs = f"{_steps(found['control_steps'])}, {found['control_s']:.2f} s"
    steps = found["target_steps"]
    if steps is None:
        return f"not faster: {best}, which took it {theirs}, is never reached"
    word = "faster" if steps < found["control_steps"] else "slower"
    word = "as fast" if steps == found["control_steps"] else word
    if steps == 0:  # a head that is fitted
        return f"faster: {best} is reached by a fit without steps; the control took {theirs}"
    ours = f"{_steps(steps)}, {found['target_s']:.2f} s"
    return f"{word}: {best} is reached after {ours}; the control took {theirs}"


def _steps(count: int) -> str:
    return f"{count:,} step" if count == 1 else f"{count:,} steps"


def show(console: Console, summary: dict[str, Any]) -> None:
    """Print the answer."""
    for line in answer(summary):
        if isinstance(line, str):
            console.print(one_line(line), highlight=False, markup=False, soft_wrap=True)
        else:
            console.print(line)
