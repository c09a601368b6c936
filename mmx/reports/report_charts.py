"""The charts of a run's page: learning curves, classes, calibration, where tensors came from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from mmx.json_object import Json
from mmx.reports import chart_specs
from mmx.reports.chart_specs import COLOURS, GROUND, INK, PLAIN, SOFT, Series
from mmx.reports.heat_map import HeatCell, draw_heat_map
from mmx.reports.page import Chart, Grid
from mmx.runs.summary import CalibrationResult, ClassTable, LineFacts
from mmx.stage_id import Role

SHOWN_SPLITS = ("val", "train")
MORE_SPLITS = ("probe", "gradient")
"""Splits of measurements within a model: of each modality alone, and of its gradients."""
STAGES: dict[str, str] = {
    Role.TARGET: COLOURS[0],
    Role.CONTROL: COLOURS[1],
    Role.SOURCE: PLAIN,
}
"""Colours of stages; further controls have those that are left."""
MOST_CLASSES = 30
"""Classes of a confusion matrix; of more, the most frequent confusions are listed."""
MOST_CONFUSIONS = 20
WIDE_CLASSES = 12
"""Classes of a matrix in which counts are written also on a narrow screen."""
FATES = {"copied": COLOURS[0], "adapted": COLOURS[2], "frozen": COLOURS[4], "fresh": PLAIN}
LABELS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "average precision",
    "auroc": "AUROC",
    "accuracy": "accuracy",
}
"""Metrics of a label to their names on the page."""
PartMetrics = Mapping[str, Mapping[str, float | None]]
"""Class or label to its metrics by name."""
LEGEND = {"orient": "top", "symbolType": "circle", "offset": 4}
SPLIT_NAMES = {"val": "on validation", "train": "in training"}


def draw_learning_curves(
    metrics: Sequence[Json],
    best: int,
    splits: Sequence[str],
    chance: tuple[str, float] | None = None,
) -> list[Chart]:
    """Return a chart of each metric over epochs, with one line for each stage.

    Args:
        metrics: The lines of ``metrics.jsonl``.
        best: The epoch that the target kept; 0 for none.
        splits: The splits whose metrics are drawn.
        chance: A metric, and what one answer for all rows reaches in it.
    """
    shown = [each for each in metrics if each["split"] in splits]
    names = dict.fromkeys((str(each["split"]), str(each["name"])) for each in shown)
    # What one looks for first stands first: metrics on validation before losses and training.
    order = sorted(names, key=lambda each: (splits.index(each[0]), each[1] == "loss"))
    charts = []
    for split, name in order:
        curves: dict[str, list[tuple[float, float]]] = {}
        for each in shown:
            if (each["split"], each["name"]) == (split, name) and math.isfinite(each["value"]):
                curves.setdefault(str(each["stage"]), []).append((each["epoch"], each["value"]))
        if curves:
            reference = chance if chance and chance[0] == name and split == "val" else None
            title = f"{name} {SPLIT_NAMES.get(split, f'({split})')}"
            charts.append(_draw_metric(title, curves, best, reference))
    return charts


def _draw_metric(
    title: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    best: int,
    chance: tuple[str, float] | None,
) -> Chart:
    colours = pick_stage_colours(list(curves))
    series = [
        Series(stage, points, colours[stage], marked=best if stage == Role.TARGET else None)
        for stage, points in curves.items()
    ]
    reference = (chance[1], "chance") if chance else None
    spec = chart_specs.draw_curves(series, x="epoch", marked="kept epoch", reference=reference)
    epochs = sorted({epoch for points in curves.values() for epoch, _ in points})
    found = {stage: dict(points) for stage, points in curves.items()}
    rows = tuple(
        (f"{epoch:g}", *(_format_point(found[stage].get(epoch)) for stage in curves))
        for epoch in epochs
    )
    return Chart(title, spec, Grid(title, ("epoch", *curves), rows), small=True)


def _format_point(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def pick_stage_colours(stages: Sequence[str]) -> dict[str, str]:
    """Return a colour for each stage: the same in all charts of a page."""
    left = [each for each in COLOURS if each not in STAGES.values()]
    others = [stage for stage in stages if stage not in STAGES]
    return STAGES | {stage: left[place % len(left)] for place, stage in enumerate(others)}


def draw_line(found: LineFacts | None) -> Chart | None:
    """Return the metric along the line from the starting weights to the trained ones."""
    if found is None:
        return None
    splits = {"val": COLOURS[0], "test": COLOURS[1]}
    series = [
        Series(
            split,
            [(float(alpha), each[split][found.metric]) for alpha, each in found.alpha.items()],
            colour,
            marked=found.kept,
        )
        for split, colour in splits.items()
    ]
    rows = tuple(
        (alpha, *(f"{each[split][found.metric]:.3f}" for split in splits))
        for alpha, each in found.alpha.items()
    )
    return Chart(
        f"{found.metric} over α",
        chart_specs.draw_curves(series, x="α", marked="kept α", whole=False),
        Grid(f"{found.metric} over α", ("α", *splits), rows),
        width=620,
    )


def draw_reliability(found: CalibrationResult | None) -> Chart | None:
    """Return how often answers are right against how confident they are, on the test rows."""
    if found is None or "test" not in found.splits:
        return None
    tested = found.splits["test"]
    sides = {"before": tested.before, "after": tested.after}
    series = [
        Series(side, [(each.confidence, each.accuracy) for each in bins], colour)
        for (side, bins), colour in zip(sides.items(), (PLAIN, COLOURS[0]), strict=True)
    ]
    spec = chart_specs.draw_curves(
        series, x="confidence", whole=False, within=(0, 1), diagonal=True
    )
    rows = tuple(
        (side, f"{each.confidence:.3f}", f"{each.accuracy:.3f}", f"{each.count:,}")
        for side, bins in sides.items()
        for each in bins
    )
    return Chart(
        "share that is right, by confidence",
        spec,
        Grid("reliability", ("", "confidence", "right", "rows"), rows),
        note="A point on the dotted line is as often right as it is confident.",
        width=560,
    )


def draw_confusion(found: ClassTable | None) -> Chart | None:
    """Return the confusion matrix, coloured by the share of each row; None of many classes."""
    if found is None or not 0 < len(found.classes) <= MOST_CLASSES or not found.confusion:
        return None
    names, cells = list(found.classes), []
    for name, counts in zip(names, found.confusion, strict=True):
        total = sum(counts) or 1
        for other, count in zip(names, counts, strict=True):
            about = f"{count:,} of {total:,} {name} predicted as {other}"
            part = count / total if name == other else -count / total
            text = f"{count:,}" if count else ""
            cells.append(HeatCell(name, other, part, text, about))
    spec = draw_heat_map(cells, rows=names, columns=names, x="predicted", y="true", most=1.0)
    many = len(names) > WIDE_CLASSES
    if many:  # on a narrow screen counts would overlap
        spec["usermeta"] = {"narrow": {"layer": spec["layer"][:1]}}
    rows = [(name, *map(str, each)) for name, each in zip(names, found.confusion, strict=True)]
    return Chart(
        "Confusion: what rows of a class were predicted as",
        spec,
        Grid("Confusion", ("true \\ predicted", *names), tuple(rows)),
        note="Blue is right, orange is wrong; the stronger, the larger the share of its row.",
        small=not many,
        width=0 if many else 46 * len(names) + 140,
    )


def list_confusions(found: ClassTable | None) -> Grid | None:
    """Return the most frequent confusions, where a matrix would be too large."""
    if found is None or len(found.classes) <= MOST_CLASSES or not found.confusion:
        return None
    names = list(found.classes)
    wrong = [
        (int(count), name, other)
        for name, counts in zip(names, found.confusion, strict=True)
        for other, count in zip(names, counts, strict=True)
        if name != other and count
    ]
    most = sorted(wrong, key=lambda each: -each[0])[:MOST_CONFUSIONS]
    rows = tuple((name, other, f"{count:,}") for count, name, other in most)
    return Grid("The most frequent confusions", ("true", "predicted", "rows"), rows)


def _format_part(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def list_class_metrics(found: ClassTable | None) -> Grid | None:
    """Return recall, precision and support of each class; None without classes."""
    if found is None or not found.classes:
        return None

    rows = tuple(
        (name, f"{each.support:,}", _format_part(each.recall), _format_part(each.precision))
        for name, each in found.classes.items()
    )
    return Grid("Classes on the test rows", ("class", "rows", "recall", "precision"), rows)


def draw_classes(found: ClassTable | None) -> Chart | None:
    """Return recall and precision of each class, the lowest recall first."""
    grid = list_class_metrics(found)
    if found is None or grid is None:
        return None
    parts: PartMetrics = {
        name: {"recall": each.recall, "precision": each.precision}
        for name, each in found.classes.items()
    }
    return _draw_parts("classes", parts, ("recall", "precision"), "share of rows", grid)


def list_label_metrics(found: PartMetrics) -> Grid | None:
    """Return the metrics and support of each label, the lowest F1 first; None without labels.

    A run of before a metric was recorded for each label has no column of it.
    """
    if not found:
        return None
    keys = [key for key in LABELS if any(key in each for each in found.values())]
    rows = tuple(
        (
            name,
            f"{found[name].get('support') or 0:,.0f}",
            *(_format_part(found[name].get(key)) for key in keys),
        )
        for name in _order_parts(found, "f1")
    )
    heads = ("label", "rows", *(LABELS[key] for key in keys))
    return Grid("Labels on the test rows", heads, rows)


def draw_labels(found: PartMetrics) -> Chart | None:
    """Return F1 and average precision of each label, the lowest F1 first."""
    grid = list_label_metrics(found)
    if grid is None:
        return None
    parts: PartMetrics = {
        name: {LABELS[key]: each.get(key) for key in ("f1", "average_precision")}
        for name, each in found.items()
    }
    return _draw_parts("labels", parts, ("F1", "average precision"), "value", grid)


def _order_parts(parts: PartMetrics, first: str) -> list[str]:
    """Return names of classes or labels by a metric, the lowest first, those without it before."""

    def place(name: str) -> float:
        value = parts[name].get(first)
        return -math.inf if value is None else value

    return sorted(parts, key=place)


def _draw_parts(
    what: Literal["classes", "labels"],
    parts: PartMetrics,
    kinds: tuple[str, str],
    axis: str,
    grid: Grid,
) -> Chart:
    """Return two metrics of each class or label, the lowest first one first.

    Args:
        what: What the parts are.
        parts: Name of each to its metrics.
        kinds: The two metrics.
        axis: Title of the axis of their values.
        grid: The numbers as a table.
    """
    first, _ = kinds
    order = _order_parts(parts, first)[:MOST_CLASSES]
    values = [
        {"row": name, "x": value, "kind": kind, "text": f"{kind} {value:.3f}"}
        for name in order
        for kind in kinds
        if (value := parts[name][kind]) is not None
    ]
    least, _ = chart_specs.find_ends([*(float(str(each["x"])) for each in values), 1.0])
    x: Json = {"field": "x", "type": "quantitative", "title": axis}
    x["scale"] = {"domain": [max(0.0, least), 1], "nice": False}
    x["axis"] = {"grid": True, "tickCount": 5, "format": "~g"}
    kind = {"field": "kind", "type": "nominal", "title": None, "legend": LEGEND}
    colour = {**kind, "scale": {"domain": kinds, "range": COLOURS[:2]}}
    shape = {**kind, "scale": {"domain": kinds, "range": ["circle", "diamond"]}}
    about = [{"field": "row", "title": " "}, {"field": "text", "title": "value"}]
    line = {"type": "line", "color": SOFT, "strokeWidth": 1, "opacity": 0.6}
    spec = {
        **chart_specs.make_frame(chart_specs.ROW_HEIGHT * len(order)),
        "data": {"values": values},
        "encoding": {"y": chart_specs.make_rows(order)},
        "layer": [
            {"mark": line, "encoding": {"x": x, "detail": {"field": "row"}}},
            {
                "mark": {"type": "point", "size": 65, "opacity": 1, "filled": True},
                "encoding": {"x": x, "color": colour, "shape": shape, "tooltip": about},
            },
        ],
    }
    title = f"{len(order)} {what} of lowest {first}"
    if len(order) == len(parts):
        title = f"Each {'class' if what == 'classes' else 'label'}, lowest {first} first"
    return Chart(title, spec, grid, small=True)


def _count_fates(report: Json) -> dict[str, dict[str, int]]:
    """Return how many tensors of each part had each fate."""
    counts: dict[str, dict[str, int]] = {}
    for fate in FATES:
        names = report.get(fate)
        for name in names if isinstance(names, list) else ():
            part = ".".join(str(name).split(".")[: 2 if str(name).startswith("encoders.") else 1])
            own = counts.setdefault(part, dict.fromkeys(FATES, 0))
            own[fate] += 1
    return counts


def _stack(counts: dict[str, dict[str, int]]) -> Iterator[Json]:
    """Yield a piece of a part's bar for each fate that a tensor of it had."""
    for part, own in counts.items():
        start = 0
        for fate, count in own.items():
            if count:
                place = {"row": part, "low": start, "high": start + count, "fate": fate}
                said = {"text": str(count), "about": f"{count} {fate}"}
                yield {**place, "middle": start + count / 2, **said}
            start += count


def draw_transfer(report: Json) -> Chart | None:
    """Return how many tensors of each part were copied, adapted, frozen and fresh.

    Args:
        report: What ``transfer.json`` holds.
    """
    counts = _count_fates(report)
    if not counts:
        return None
    used = [fate for fate in FATES if any(own[fate] for own in counts.values())]
    x: Json = {"type": "quantitative", "title": "tensors"}
    x["axis"] = {"tickMinStep": 1, "tickCount": 6, "format": "d"}
    fill: Json = {"field": "fate", "type": "nominal", "title": None}
    fill["legend"] = {**LEGEND, "symbolType": "square"}
    fill["scale"] = {"domain": used, "range": [FATES[fate] for fate in used]}
    about = [{"field": "row", "title": " "}, {"field": "about", "title": "tensors"}]
    bar = {"type": "bar", "height": {"band": 0.7}, "stroke": GROUND, "opacity": 0.8}
    ends = {"x": {**x, "field": "low"}, "x2": {"field": "high"}}
    spec = {
        **chart_specs.make_frame(28 * len(counts)),
        "data": {"values": list(_stack(counts))},
        "encoding": {"y": chart_specs.make_rows(list(counts))},
        "layer": [
            {"mark": bar, "encoding": {**ends, "color": fill, "tooltip": about}},
            {
                "mark": {"type": "text", "color": INK, "fontSize": 11},
                "encoding": {"x": {**x, "field": "middle"}, "text": {"field": "text"}},
            },
        ],
    }
    rows = tuple((part, *(str(own[fate]) for fate in FATES)) for part, own in counts.items())
    grid = Grid("Tensors", ("part", *FATES), rows)
    return Chart("Where the tensors of the target came from", spec, grid)
