"""The kinds of part that have a contract, each with its checks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmx.calibration import Calibration
from mmx.contract import (
    calibration,
    encoder,
    fusion,
    head,
    mapping,
    metric,
    missing,
    objective,
    regularizer,
    task,
    tracker,
)
from mmx.contract.base import Broken, Check, Part, Result, Untested, run_checks
from mmx.contract.faults import describe_fault
from mmx.encoders import Encoder
from mmx.fusion import Fusion
from mmx.mapping import Mapping
from mmx.metrics import Metric
from mmx.missing import Missing
from mmx.objectives import Objective
from mmx.tasks import Task
from mmx.trackers import Tracker
from mmx.transfer.heads import Head
from mmx.transfer.regularizers import Regularizer


@dataclass(frozen=True)
class PartKind:
    """A kind of part.

    Attributes:
        name: Its name, such as ``fusion``.
        base: The base class of every part of the kind.
        subject: Returns a part as the subject of the checks; raises Broken where it cannot.
        checks: The promises, in the order in which they are checked.
        supplied: Keyword arguments that mmx passes, closed to configs.
    """

    name: str
    base: type
    subject: Callable[[Part], Any]
    checks: Sequence[Check[Any]]
    supplied: tuple[str, ...] = ()


KINDS: dict[str, PartKind] = {
    each.name: each
    for each in (
        PartKind("calibration", Calibration, calibration.CalibrationSubject.of, calibration.CHECKS),
        PartKind("encoder", Encoder, encoder.EncoderSubject.of, encoder.CHECKS),
        PartKind("fusion", Fusion, fusion.FusionSubject.of, fusion.CHECKS, ("outputs",)),
        PartKind("mapping", Mapping, mapping.MappingSubject.of, mapping.CHECKS),
        PartKind("metric", Metric, metric.MetricSubject.of, metric.CHECKS),
        PartKind("missing", Missing, missing.MissingSubject.of, missing.CHECKS),
        PartKind("objective", Objective, objective.ObjectiveSubject.of, objective.CHECKS),
        PartKind("regularizer", Regularizer, regularizer.RegularizerSubject.of, regularizer.CHECKS),
        PartKind("head", Head, head.HeadSubject.of, head.CHECKS),
        PartKind("task", Task, task.TaskSubject.of, task.CHECKS),
        PartKind("tracker", Tracker, tracker.TrackerSubject.of, tracker.CHECKS),
    )
}


def kind_of(part: type) -> PartKind | None:
    """Return the kind of a class; None where it has none with a contract."""
    return next((each for each in KINDS.values() if issubclass(part, each.base)), None)


def check_part(part: Part) -> Iterator[Result]:
    """Yield the result of each check of a part's kind.

    Raises:
        ValueError: The class is of no kind that has a contract.
    """
    kind = kind_of(part.kind)
    if kind is None:
        raise ValueError(f"{part.kind.__name__} is none of {', '.join(KINDS)}")
    first = kind.checks[0].name
    try:
        subject = kind.subject(part)
    except (Broken, Untested) as error:
        yield Result(first, "failed", str(error))
    except Exception as error:
        yield Result(first, "failed", describe_fault(error), traceback.format_exc())
    else:
        yield from run_checks(kind.checks, subject)
