"""report.html: one run on one page, self-contained, written from the run directory."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

from mmx.errors import UnreadableFileError
from mmx.json_object import Json
from mmx.reports.headline import draw_headline, write_headline
from mmx.reports.page import Grid, render_page
from mmx.reports.report_charts import (
    MORE_SPLITS,
    SHOWN_SPLITS,
    draw_classes,
    draw_confusion,
    draw_labels,
    draw_learning_curves,
    draw_line,
    draw_reliability,
    draw_transfer,
    list_class_metrics,
    list_confusions,
)
from mmx.reports.run_settings import find_name, list_commands, list_settings
from mmx.reports.suite_charts import read_suites
from mmx.reports.summary_lines import (
    format_calibration,
    format_control,
    format_gains,
    format_search,
    format_title,
)
from mmx.runs import recorded
from mmx.runs.atomic import write_text
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.runs.summary import DataCard, LineFacts, Summary
from mmx.stage_id import Role
from mmx.untrusted import read_json
from mmx.yaml_text import dump_yaml

FILE = "report.html"
WARNING = "WARNING"
TRANSFER_LIMIT = 16 * 2**20
"""Most bytes of ``transfer.json``."""
SUITE_TITLES = {
    "importance": "Importance of the modalities",
    "missing": "Missing modalities",
    "missing_at_random": "Modalities missing at random",
    "noise": "Noisy modalities",
}


def write_report(directory: RunDirectory) -> None:
    """Write the report of a finished run."""
    write_text(directory.path / FILE, render_report(directory))


def refresh_report(directory: RunDirectory) -> None:
    """Write the report of a finished run anew, with what was measured since."""
    recorded.rewrite(directory.path, FILE, render_report(directory))


def render_report(directory: RunDirectory) -> str:
    """Return the page of a finished run."""
    summary, manifest = directory.read_summary(), directory.manifest()
    classes, metrics = summary.target.classes, directory.metrics()
    best, chance = summary.target.best_epoch, _find_chance(summary)
    suites, problems = read_suites(directory.path / "eval")
    calibrated = summary.target.calibration
    warnings = [note for note in summary.notes if note.startswith(WARNING)]
    return render_page(
        "report.html.jinja",
        title=f"{summary.source.task} → {summary.target.task}: {directory.path.name}",
        path=shlex.quote(find_name(directory.path, manifest)),
        over=format_title(summary),
        headline=write_headline(summary),
        picture=draw_headline(summary),
        gains=format_gains(summary),
        warnings=warnings,
        results=list_results(summary),
        curves=draw_learning_curves(metrics, best, SHOWN_SPLITS, chance),
        more_curves=draw_learning_curves(metrics, best, MORE_SPLITS),
        best_epoch=best,
        search=format_search(summary),
        line=describe_line(summary.transfer.wise_ft),
        line_chart=draw_line(summary.transfer.wise_ft),
        classes=classes,
        confusion=draw_confusion(classes),
        confusions=list_confusions(classes),
        class_chart=draw_classes(classes),
        class_table=list_class_metrics(classes),
        label_chart=draw_labels(summary.target.labels),
        reliability=draw_reliability(calibrated),
        calibration="" if calibrated is None else format_calibration(calibrated),
        suites={SUITE_TITLES[name]: charts for name, charts in suites.items()},
        summary=summary,
        transfer=draw_transfer(_read_transfer(directory)),
        published=list_published(manifest),
        cost=list_cost(summary),
        cards=list_cards(summary, manifest),
        settings=list_settings(directory),
        config=dump_yaml(directory.config()),
        commands=list_commands(directory),
        notes=[*(note for note in summary.notes if note not in warnings), *problems],
        surroundings=list_surroundings(manifest),
    )


def _find_chance(summary: Summary) -> tuple[str, float] | None:
    found = summary.target.chance
    if found is None:
        return None
    return found.metric, found.accuracy if found.value is None else found.value


def _format_metric(value: float) -> str:
    """Return a metric; errors of large targets without digits that say nothing."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def _read_transfer(directory: RunDirectory) -> Json:
    """Return what ``transfer.json`` holds; empty where it cannot be read."""
    recorded.check_file(directory.path, ["transfer.json"])
    found: Json = {}
    with contextlib.suppress(UnreadableFileError):
        found = read_json(directory.path / "transfer.json", dict, limit=TRANSFER_LIMIT)
    return found


def list_results(summary: Summary) -> Grid:
    """Return the metrics of the target and its controls, on test and validation."""
    names = list(summary.target.metrics["test"])
    every = {summary.transfer.mode: summary.target.metrics}
    for name, control in summary.control.items():
        every[f"control {format_control(name, control)}"] = control.metrics
    rows = tuple(
        (f"{label}, {split}", *(_format_metric(metrics[split][name]) for name in names))
        for split in ("test", "val")
        for label, metrics in every.items()
    )
    return Grid("Metrics", ("", *names), rows)


def describe_line(found: LineFacts | None) -> str:
    """Return in one sentence which weights between the starting and the trained ones are kept."""
    if found is None:
        return ""
    return (
        f"{found.metric} of (1 − α) · starting weights + α · trained weights; "
        f"α = {found.best} is best on validation, α = {found.kept} is kept."
    )


def list_published(manifest: Manifest) -> Grid | None:
    """Return where published weights come from; None without any."""
    heads = ("encoder", "weights", "origin", "revision", "licence", "model card", "digest")
    rows = []
    for modality, each in manifest.published.items():
        named = {f"{modality} ({each.role})": each, f"{modality}, merged into it": each.adapter}
        for label, facts in named.items():
            if facts is not None:
                told = (facts.revision, facts.licence or "not stated", facts.card, facts.digest)
                rows.append((label, facts.name, facts.origin, *(fact or "–" for fact in told)))
    return Grid("Published weights", heads, tuple(rows)) if rows else None


def list_cost(summary: Summary) -> dict[str, str]:
    """Return the cost of a run in time and parameters, and that of one sample, by name."""
    timing, params = summary.timing, summary.params
    seconds: dict[str, Any] = {
        "source": None if timing.source_cached else timing.source_s,
        "search": timing.search_s,
        "target": timing.target_s,
        "controls": timing.control_s,
        "in total": timing.total_s,
    }
    known = {name: value for name, value in seconds.items() if value is not None}
    found = {f"seconds, {name}": f"{value:,.1f}" for name, value in known.items()}
    if timing.source_cached:
        found["seconds, source"] = "from the cache"
    return {
        **found,
        "samples a second": f"{timing.train_samples_per_s:,}",
        "on": f"{summary.device} in {summary.precision}",
        "parameters trained": f"{params.trainable:,} of {params.total:,}",
        "FLOPs a sample": f"{summary.cost.flops_per_sample:,}",
        "time a sample": f"{1e3 * timing.seconds_per_sample:.3g} ms",
    }


def _describe_card(card: DataCard | None) -> list[str]:
    """Return the rows of each split, the inputs and the outputs; empty where nothing is known."""
    if card is None:
        return ["", "", "", "", ""]
    total = sum(card.rows.values()) or 1
    inputs = [
        name if count == total else f"{name} ({100 * count / total:.3g} %)"
        for name, count in card.inputs.items()
    ]
    counts = [f"{card.rows.get(split, 0):,}" for split in ("train", "val", "test")]
    kinds = {"classes": "classes", "multilabel": "labels"}
    outputs = f"{card.outputs:,} {kinds[card.kind]}" if card.kind in kinds else "a number"
    return [*counts, ", ".join(inputs), outputs]


def list_cards(summary: Summary, manifest: Manifest) -> Grid | None:
    """Return what source and target read: rows of each split, inputs, outputs, fingerprint."""
    tasks = {Role.SOURCE: summary.source.task, Role.TARGET: summary.target.task}
    prints = {**manifest.data, **summary.data}
    rows = []
    for role, task in tasks.items():
        if task in ("", "none") or (role not in prints and role not in summary.data_cards):
            continue
        facts = _describe_card(summary.data_cards.get(role))
        origin = manifest.origins.get(role)
        from_hub = f"{origin.name}@{origin.revision[:8]}" if origin else ""
        rows.append((role, task, *facts, prints.get(role, ""), from_hub))
    if not rows:
        return None
    heads = ("", "task", "train", "val", "test", "inputs", "predicts", "fingerprint", "from")
    kept = [place for place in range(len(heads)) if any(row[place] for row in rows)]
    return Grid(
        "What was read",
        tuple(heads[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in rows),
    )


def list_surroundings(manifest: Manifest) -> str:
    """Return versions, machine and code, a line each."""
    machine = manifest.machine.to_json()
    git = f" (git {manifest.code.git})" if manifest.code.git else ""
    return "\n".join(
        [
            *(f"{name} {version}" for name, version in manifest.versions.items()),
            *(f"{name}: {fact}" for name, fact in machine.items()),
            f"code {manifest.code.digest}{git}",
        ]
    )
