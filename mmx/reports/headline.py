"""The answer of a run as one sentence and one picture, for the top of its page."""

from __future__ import annotations

from mmx.controls import find_control
from mmx.evaluation.verdict import Gain
from mmx.json_object import Json
from mmx.metrics import find_bounds
from mmx.printable import shorten
from mmx.reports.chart_specs import COLOURS, INK, PLAIN, SIGNED, UNSIGNED, make_frame
from mmx.reports.page import Chart, Grid
from mmx.reports.view import format_metric
from mmx.runs.summary import StatedGain, Summary

NO_SOURCE = ("", "none")
NAME = 40
"""Most characters of a task's name in the picture."""
HEIGHT, MIDDLE = 74, 37


def write_headline(summary: Summary) -> str:
    """Return the answer as one sentence."""
    source, target, gain = summary.source.task, summary.target.task, summary.gain
    if gain is None:
        name, value = find_main_metric(summary)
        return f"{target}: {name} {format_metric(name, value)} on test"
    over = f"the {gain.control} control"
    if not gain.learned:
        return f"No answer on {target}: neither the target nor {over} is better than chance"
    low, high = gain.interval or (float("nan"), float("nan"))
    transfers = find_control(gain.control).without_source and source not in NO_SOURCE
    if not (low > 0 or high < 0):
        what = f"Whether {source} helps on {target}" if transfers else f"A difference on {target}"
        return f"{what} is not clear: {format_gain_over(gain)} {over}"
    if transfers:
        effect = f"{source} {'helps' if low > 0 else 'hurts'} on {target}"
        return f"{effect}: {format_gain_over(gain)} {over}"
    return f"{target} is {'better' if low > 0 else 'worse'} than {over}: {_format_amount(gain)}"


def format_gain_over(gain: Gain | StatedGain) -> str:
    """Return a gain for a sentence that goes on with its control: ``+0.100 accuracy over``."""
    return f"{_format_amount(gain)} {'than' if gain.lower_is_better else 'over'}"


def _format_amount(gain: Gain | StatedGain) -> str:
    """Return a gain; where lower is better, with its direction in words."""
    if not gain.lower_is_better:
        return f"{gain.value:+.3f} {gain.metric}"
    way = "lower" if gain.value >= 0 else "higher"
    return f"{abs(gain.value):.3f} {way} {gain.metric} (lower is better)"


def find_main_metric(summary: Summary) -> tuple[str, float]:
    """Return the metric of the gain, the one that was chosen, or the first that is no loss."""
    tested = summary.target.metrics["test"]
    stated = [each for each in (summary.gain, summary.target.metric) if each is not None]
    names = [each.metric if isinstance(each, StatedGain) else each.name for each in stated]
    found = [name for name in (*names, *tested) if name in tested and name != "loss"]
    name = next(iter(found), next(iter(tested)))
    return name, tested[name]


def draw_headline(summary: Summary) -> Chart | None:
    """Return target and control on one axis with the interval of the gain; None without a gain."""
    gain = summary.gain
    if gain is None or gain.control not in summary.control:
        return None
    ours = summary.target.metrics["test"][gain.metric]
    theirs = summary.control[gain.control].metrics["test"][gain.metric]
    if ours != ours or theirs != theirs:  # NaN
        return None
    source, target = summary.source.task, summary.target.task
    arrow = target if source in NO_SOURCE else f"{source} → {target}"
    name = f"{shorten(arrow, NAME)} {format_metric(gain.metric, ours)}"
    control = f"{gain.control} {format_metric(gain.metric, theirs)}"
    interval = _shift(gain, theirs)
    lower = ", lower is better" if gain.lower_is_better else ""
    axis = f"{gain.metric} on test{lower}"
    rows = [[f"{gain.control} control", f"{theirs:.4f}", ""], [arrow, f"{ours:.4f}", ""]]
    if interval:
        rows[1][2] = f"{interval[0]:.4f} … {interval[1]:.4f}"
    grid = Grid(axis, ("", gain.metric, "control and interval of the gain"), (*map(tuple, rows),))
    title = f"{gain.metric} on the test rows"
    bounds = find_bounds(gain.metric)
    if interval:
        title += "; the band is the 95 % interval of the gain"
        if interval[0] < bounds[0] or interval[1] > bounds[1]:
            title += f", cut where {gain.metric} ends"
            interval = max(interval[0], bounds[0]), min(interval[1], bounds[1])
    return Chart(title, _make_spec(ours, theirs, name, control, interval, axis, bounds), grid)


def _shift(gain: StatedGain, control: float) -> tuple[float, float] | None:
    """Return the interval of the gain on the axis of the metric."""
    if gain.interval is None or any(end != end for end in gain.interval):
        return None
    low, high = gain.interval
    if gain.lower_is_better:
        return control - high, control - low
    return control + low, control + high


def _make_spec(
    ours: float,
    theirs: float,
    name: str,
    control: str,
    interval: tuple[float, float] | None,
    axis: str,
    bounds: tuple[float, float],
) -> Json:
    every = [ours, theirs, *(interval or ())]
    margin = 0.12 * (max(every) - min(every)) or 0.05 * abs(ours) or 0.05
    low, high = max(min(every) - margin, bounds[0]), min(max(every) + margin, bounds[1])
    x: Json = {"field": "x", "type": "quantitative", "title": axis}
    x["scale"] = {"domain": [low, high], "nice": False, "zero": False}
    x["axis"] = {"tickCount": 6, "labelExpr": UNSIGNED if low >= 0 else SIGNED.replace("+~g", "~g")}
    middle = {"value": MIDDLE}

    def place(mark: Json, value: float) -> Json:
        encoding = {"x": x, "y": middle}
        return {"data": {"values": [{"x": value}]}, "mark": mark, "encoding": encoding}

    def label(value: float, text: str, dy: int, colour: str) -> Json:
        # Towards the middle of the chart, so that no name leaves it.
        left = value < (low + high) / 2
        mark: Json = {"type": "text", "text": text, "color": colour, "fontSize": 13}
        inward = {"align": "left", "dx": -6} if left else {"align": "right", "dx": 6}
        return place({**mark, **inward, "dy": dy, "fontWeight": 600}, value)

    def span(ends: tuple[float, float], mark: Json) -> Json:
        encoding = {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": middle}
        values = [{"low": ends[0], "high": ends[1]}]
        return {"data": {"values": values}, "mark": {"type": "rule", **mark}, "encoding": encoding}

    dot = {"type": "point", "size": 150, "opacity": 1}
    hollow = {**dot, "filled": False, "fill": "var(--ground)", "stroke": PLAIN, "strokeWidth": 2.5}
    band = {"strokeWidth": 14, "opacity": 0.28, "color": COLOURS[0]}
    layers = [
        *([span(interval, band)] if interval else []),
        span((theirs, ours), {"strokeWidth": 2, "color": INK, "opacity": 0.5}),
        place(hollow, theirs),
        place({**dot, "filled": True, "color": COLOURS[0]}, ours),
        label(theirs, control, 22, "var(--soft)"),
        label(ours, name, -20, COLOURS[0]),
    ]
    return {**make_frame(HEIGHT), "layer": layers}
