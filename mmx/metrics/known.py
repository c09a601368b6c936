"""The metrics of mmx: by name, by kind of target, and as facts in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from mmx.metrics.accuracy import Accuracy
from mmx.metrics.base import Metric
from mmx.metrics.f1 import F1
from mmx.metrics.r2 import R2
from mmx.variants import find_variants, variant

USUAL: dict[str, Metric] = {"classes": Accuracy(), "multilabel": F1(), "regression": R2()}
"""Kind of target to the metric in which its gain is stated, unless another is chosen."""
BY_NAME: dict[str, Metric] = {each.name: each for each in USUAL.values()}
"""Those by name, as files state them."""
USUAL_NAMES = frozenset({*BY_NAME, "mse", "mae"})
"""What every run of some kind of target is measured in."""


def find_built_in() -> dict[str, type[Metric]]:
    """Return the metrics of mmx, by the name of their file."""
    helpers = ("base", "known", "ranked")
    return find_variants("mmx.metrics", Metric, skip=helpers)


def find_direction(name: str) -> bool | None:
    """Return whether a smaller value is better, of a metric that a summary names.

    None of a metric that is not of mmx, or whose name is not known.

    Example:
        >>> find_direction("ece_10"), find_direction("top_5"), find_direction("accuracy_error")
        (True, False, None)
    """
    if name == "loss":
        return True
    if name.startswith("recall@"):  # of retrieval
        return False
    kind = _find_kind(name)
    return None if kind is None else kind.lower_is_better


def find_bounds(name: str) -> tuple[float, float]:
    """Return the least and the largest possible value of a metric that a summary names.

    Infinite where there is none, or the metric is not of mmx.

    Example:
        >>> find_bounds("accuracy"), find_bounds("mcc"), find_bounds("mse"), find_bounds("r2")
        ((0.0, 1.0), (-1.0, 1.0), (0.0, inf), (-inf, 1.0))
    """
    if name == "loss":
        return 0.0, math.inf
    if name.startswith("recall@"):  # of retrieval
        return 0.0, 1.0
    kind = _find_kind(name)
    if kind is None:
        return -math.inf, math.inf
    # Every error is 0 at best, and every other metric 1.
    return (0.0, kind.span) if kind.lower_is_better else (1.0 - kind.span, 1.0)


def _find_kind(name: str) -> type[Metric] | None:
    for key, kind in find_built_in().items():
        if name == key or _has_options(name, key, kind):
            return kind
    return None


def _has_options(name: str, key: str, kind: type[Metric]) -> bool:
    """Return whether a name is that of a metric with an option: a number, or one of its words."""
    stem = f"{key.removesuffix('_k')}_"
    rest = name.removeprefix(stem)
    hints = get_type_hints(kind)
    words = {word for each in fields(kind) for word in get_args(hints[each.name])}
    return name.startswith(stem) and (rest.isdecimal() or rest in words)


def describe_metric(metric: Metric) -> dict[str, Any]:
    """Return the facts from which :func:`restore_metric` makes a metric again.

    Empty for those of :data:`USUAL`, of which a file states the name alone.
    """
    kind = type(metric)
    if BY_NAME.get(metric.name) == metric:
        return {}
    if not kind.__module__.startswith("mmx.metrics."):
        return {"class": f"{kind.__module__}.{kind.__qualname__}"}
    return {"variant": variant(kind), "options": asdict(metric)}


def restore_metric(name: str, facts: Mapping[str, Any]) -> Metric | None:
    """Return the metric of a file's facts; None if it is not one of mmx.

    A class of one's own is never looked for: a file may come from anybody.

    Args:
        name: Its name.
        facts: As :func:`describe_metric` returned them.
    """
    if not facts:
        return BY_NAME.get(name)
    kind, options = find_built_in().get(str(facts.get("variant"))), facts.get("options")
    names = {each.name for each in fields(kind)} if kind else set()
    if kind is None or not isinstance(options, Mapping) or options.keys() != names:
        return None
    try:
        metric: Metric = TypeAdapter(kind).validate_python(dict(options))
    except ValidationError:
        return None
    return metric if metric.name == name else None
