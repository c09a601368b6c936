"""A summary in words and numbers, for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from mmx.runs.view import metrics_text, percent_or_number


def answer(summary: dict[str, Any]) -> list[RenderableType]:
    """Return what a finished run says: the metrics, the gain, the cost, the notes."""
    source, target = summary["source"]["task"], summary["target"]
    mode, names = summary["transfer"]["mode"], list(target["metrics"]["test"])
    title = f"{source} → {target['task']}  ({mode}, {summary['fusion']}, seed {summary['seed']})"
    table = Table()
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    rows = {f"{mode} test": target["metrics"]["test"], f"{mode} val": target["metrics"]["val"]}
    for name, control in summary.get("control", {}).items():
        rows[f"control {name} test"] = control["metrics"]["test"]
        rows[f"control {name} val"] = control["metrics"]["val"]
    for label, metrics in rows.items():
        table.add_row(label, *(percent_or_number(name, metrics[name]) for name in names))
    lines: list[RenderableType] = [title, table]
    if "metrics" in summary["source"]:
        found = metrics_text(summary["source"]["metrics"]["val"])
        lines.append(f"source {source} val: {found}")
    if "gain" in summary:
        lines.append(gain_text(summary["gain"]))
    timing, params = summary["timing"], summary["params"]
    control = f"control {timing['control_s']:.1f} s, " if "control_s" in timing else ""
    cached = " (earlier, from the cache)" if timing["source_cached"] else ""
    shared = f", {params['shared']:,} shared" if params["shared"] else ""
    lines.append(
        f"cost: source {timing['source_s']:.1f} s{cached}, "
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


def _classes_text(found: dict[str, Any]) -> str:
    """Return what the plain accuracy may hide, as one line."""
    text = f"classes: balanced accuracy {found['balanced_accuracy']:.3f}"
    recalls = {n: e["recall"] for n, e in found.get("classes", {}).items() if e["support"]}
    if not recalls:
        return text
    worst = min(recalls, key=lambda name: recalls[name])
    return f"{text}, lowest recall {recalls[worst]:.3f} ({worst})"


def gain_text(gain: dict[str, Any]) -> str:
    """Return the gain as one sentence."""
    text = f"gain: {gain['value']:+.3f} {gain['metric']} over the scratch control of equal budget"
    if gain.get("interval"):
        low, high = gain["interval"]
        text += f" (95 % interval {low:+.3f} … {high:+.3f} over test samples, one seed)"
    return f"{text}: {gain['verdict']}"


def show(console: Console, summary: dict[str, Any]) -> None:
    """Print the answer."""
    for line in answer(summary):
        if isinstance(line, str):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            console.print(line)
