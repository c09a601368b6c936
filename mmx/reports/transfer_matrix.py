"""``mmx matrix``: the gain of every source on every target, read from finished runs.

Rows are sources and columns are targets. Runs that differ in more than source, target, seed and
fold make one matrix for each setting, so that a mean is over seeds or folds alone. All intervals
hold together in 95 % of cases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mmx.errors import RunError, UsageError, closest
from mmx.json_object import Json
from mmx.reports import gains_page
from mmx.reports.group_gain import GroupGain
from mmx.reports.run_gain import Compared
from mmx.reports.run_groups import FinishedRun, RunGroup, find_stated_direction, group_by_settings
from mmx.reports.sweep_gains import Gains, compute_gains
from mmx.stage_id import TASK_ROLES

SOURCE, TARGET = map(str, TASK_ROLES)
NO_SOURCE = ("", "none")
POSITIVE, NEGATIVE, UNCLEAR, NO_ANSWER = "+", "-", "·", "?"
ITSELF, NOT_RUN = "–", "not run"
UNSAID = ("", "{}")
"""Values of a setting that is absent."""
WHICH_SET = ("_target_", "name", "path", "root", "options")
"""Keys of a task that say which data it is."""
Setting = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Trouble:
    """A source and target without a result.

    Attributes:
        source, target: Their names.
        status: ``failed``, ``refused``, ``interrupted`` …
        why: The reason; empty if there is none.
    """

    source: str
    target: str
    status: str
    why: str = ""


@dataclass(frozen=True)
class MatrixCell:
    """One source on one target.

    Attributes:
        source, target: Their names.
        gain: The mean gain over the control, with its interval.
        val: The mean of the metric on validation rows.
        control_val: That of the control; None where it was not measured.
    """

    source: str
    target: str
    gain: GroupGain
    val: float
    control_val: float | None

    @property
    def mark(self) -> str:
        """The verdict in one character."""
        found = self.gain.gain
        if not found.learned:
            return NO_ANSWER
        if found.interval is not None and found.interval[0] > 0:
            return POSITIVE
        return NEGATIVE if found.interval is not None and found.interval[1] < 0 else UNCLEAR

    @property
    def metric(self) -> str:
        """The metric of the gain."""
        return self.gain.gain.metric

    @property
    def signed_val(self) -> float:
        """The metric on validation, so that larger is better."""
        return self.gain.gain.sign * self.val


@dataclass(frozen=True)
class Matrix:
    """The matrix of one setting.

    Attributes:
        setting: Keys in which it differs from the other matrices, with their values.
        cells: Source and target to their cell, for those with a result.
    """

    setting: Setting
    cells: Mapping[tuple[str, str], MatrixCell]

    @property
    def name(self) -> str:
        """Its setting as one would type it, without what is absent; empty if there is only one."""
        said = [item for item in self.setting if item[1] not in UNSAID] or self.setting
        return " ".join(f"{key}={value}" for key, value in said)

    def find_best(self, target: str) -> MatrixCell | None:
        """Return the source that is best on validation; None where a target has no result."""
        found = [cell for (_, name), cell in self.cells.items() if name == target]
        known = [cell for cell in found if not math.isnan(cell.signed_val)]
        return max(known or found, key=lambda cell: cell.signed_val, default=None)

    def find_metric(self, target: str) -> str:
        """Return the metric of a target's column; empty without a result."""
        best = self.find_best(target)
        return "" if best is None else best.metric


@dataclass(frozen=True)
class TransferMatrix:
    """Gains of all sources on all targets.

    Attributes:
        matrices: One for each setting.
        sources, targets: The rows and the columns.
        gains: All gains, with their common confidence level.
        troubles: Why results are missing.
        notes: What a reader must know of how it was made.
    """

    matrices: tuple[Matrix, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    gains: Gains
    troubles: tuple[Trouble, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def cells(self) -> list[MatrixCell]:
        """All cells with a result."""
        return [cell for matrix in self.matrices for cell in matrix.cells.values()]

    @property
    def title(self) -> str:
        """What the numbers are."""
        title = gains_page.make_title(self.gains)
        controls = list(dict.fromkeys(cell.gain.gain.control for cell in self.cells))
        over = f"over the {controls[0]} control" if len(controls) == 1 else "over the control"
        title = title.replace("over the control", over, 1)
        metrics = list(dict.fromkeys(cell.metric for cell in self.cells))
        return title.replace("Gain", f"Gain in {metrics[0]}", 1) if len(metrics) == 1 else title

    def name_column(self, matrix: Matrix, target: str) -> str:
        """Return the head of a target's column, with its metric where targets differ in it."""
        several = len({cell.metric for cell in self.cells}) > 1
        metric = matrix.find_metric(target)
        return f"{target} ({metric})" if several and metric else target

    def find_status(self, source: str, target: str) -> str:
        """Return in a word why a source has no result on a target."""
        if source == target:
            return ITSELF
        fits = (x.status for x in self.troubles if (x.source, x.target) == (source, target))
        return next(fits, NOT_RUN)

    def data(self) -> Json:
        """Return everything as plain data."""
        return {
            "level": self.gains.level,
            "comparisons": self.gains.comparisons,
            "sources": list(self.sources),
            "targets": list(self.targets),
            "cells": list(self.list_entries()),
            "notes": list(self.notes),
        }

    def list_entries(self) -> Iterable[Json]:
        """Yield each cell as plain data, also those without a result."""
        for matrix in self.matrices:
            for source in self.sources:
                for target in self.targets:
                    where = {**dict(matrix.setting), SOURCE: source, TARGET: target}
                    cell = matrix.cells.get((source, target))
                    if cell is not None:
                        yield {**where, **_as_data(cell, cell is matrix.find_best(target))}
                    else:
                        yield {**where, **self._describe_empty(source, target)}

    def _describe_empty(self, source: str, target: str) -> Json:
        status = self.find_status(source, target)
        own = [x.why for x in self.troubles if (x.source, x.target) == (source, target)]
        why = "; ".join(dict.fromkeys(filter(None, own)))
        return {"status": "the same task" if status == ITSELF else status, "why": why}


def _as_data(cell: MatrixCell, best: bool) -> Json:
    numbers = cell.gain.numbers()
    kept = {key: value for key, value in numbers.items() if not key.startswith("faster_")}
    return {
        "status": "done",
        "mark": cell.mark,
        "n": cell.gain.count,
        **kept,
        "val_mean": cell.val,
        "control_val_mean": cell.control_val,
        "best_by_validation": best,
    }


def build_matrix(
    runs: Sequence[FinishedRun],
    troubles: Sequence[Trouble] = (),
    *,
    metric: str | None = None,
    pairs: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> TransferMatrix:
    """Return the matrix of finished runs.

    Args:
        runs: Any; those without a source or a control have no gain, and are counted in a note.
        troubles: Runs and pairs without a result.
        metric: In what gains are; None for the metric of each run.
        pairs: All sources and targets in their order, if it is known.
        notes: On how the runs were chosen.

    Raises:
        RunError: No run has a gain of a source.
        UsageError: The metric is not one that all runs have.
    """
    kept, left_out = _keep_transfers(runs)
    if not kept:
        reasons = [f"{x.source} → {x.target} {x.status}: {x.why}" for x in troubles]
        raise RunError(
            "no finished run has the gain of a source over a control"
            + "".join(f"\n  {reason}" for reason in dict.fromkeys(reasons)),
            tip="mmx matrix source=a,b target=x,y",
        )
    other = None if metric is None else _find_metric(kept, metric)
    groups = {_make_key(group): group for group in group_by_settings(kept, first=(SOURCE, TARGET))}
    gains = compute_gains(
        {key: [run.directory.path for run in group.runs] for key, group in groups.items()}, other
    )
    found: dict[Setting, dict[tuple[str, str], MatrixCell]] = {}
    for key, group in groups.items():
        (_, source), (_, target), *setting = key
        cell = _make_cell(key, group, gains)
        found.setdefault(tuple(setting), {})[source, target] = cell
    have = [*(pair for cells in found.values() for pair in cells)]
    have += [(x.source, x.target) for x in troubles]
    sources, targets = _order(have, pairs)
    return TransferMatrix(
        tuple(Matrix(setting, cells) for setting, cells in found.items()),
        sources,
        targets,
        gains,
        tuple(dict.fromkeys(troubles)),
        (*notes, *left_out, *_note_one_seed(gains)),
    )


def _order(
    have: Sequence[tuple[str, str]], pairs: Sequence[tuple[str, str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sources and targets, in the order of pairs if it is known."""
    sources = dict.fromkeys(source for source, _ in (*pairs, *have))
    targets = dict.fromkeys(target for _, target in (*pairs, *have))
    if not pairs:  # the diagonal then lies where one looks for it
        targets = dict.fromkeys([*(each for each in sources if each in targets), *targets])
    return tuple(sources), tuple(targets)


def is_itself(config: Mapping[str, Any]) -> bool:
    """Return whether the source of a config is its target: the same set, whatever part of it."""
    source, target = config.get(SOURCE), config.get(TARGET)
    if not isinstance(source, Mapping) or not isinstance(target, Mapping):
        return False
    return all(source.get(key) == target.get(key) for key in WHICH_SET)


def _keep_transfers(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[str]]:
    """Return the runs with the gain of a source on another target, and what was left out."""
    kept, counts = [], dict.fromkeys(("without a source", "without a control", "on itself"), 0)
    for run in runs:
        source = run.summary.source.task
        if source in NO_SOURCE:
            counts["without a source"] += 1
        elif run.summary.gain is None:
            counts["without a control"] += 1
        elif is_itself(run.directory.config()):
            counts["on itself"] += 1
        else:
            kept.append(run)
    texts = {"on itself": "of a source on itself"}
    return kept, [
        f"{count} {'run' if count == 1 else 'runs'} {texts.get(what, what)} left out"
        for what, count in counts.items()
        if count
    ]


def _find_metric(runs: Sequence[FinishedRun], name: str) -> Compared:
    """Return a metric by its name; UsageError if not all runs and controls have it."""
    measured = [
        each
        for run in runs
        for each in (run.summary.target.metrics, *(x.metrics for x in run.summary.control.values()))
    ]
    tested = [each.get("test", {}) for each in measured]
    common = [key for key in tested[0] if all(key in each for each in tested)]
    if name not in common:
        near = closest(name, common) or (common or ["accuracy"])[0]
        raise UsageError(
            f"--metric {name}: all runs have {', '.join(common) or 'no metric in common'}",
            tip=f"--metric {near}",
        )
    return Compared(name, bool(find_stated_direction(runs, name)))


def _make_key(group: RunGroup) -> Setting:
    """Return source, target and setting of a group, as items."""
    own = {key: value for key, value in group.label.items() if key.startswith(f"{SOURCE}.")}
    task = group.runs[0].summary.source.task
    source = " ".join([task, *(f"{key}={value}" for key, value in own.items())])
    setting = [
        (key, value)
        for key, value in group.label.items()
        if key not in own and key not in (SOURCE, TARGET)
    ]
    return ((SOURCE, source), (TARGET, group.target), *setting)


def _make_cell(key: Setting, group: RunGroup, gains: Gains) -> MatrixCell:
    stated = group.runs[0].summary.gain
    control = "" if stated is None else stated.control
    found = [each for each in gains.found if tuple(each.group.items()) == key]
    gain = next((each for each in found if each.gain.control == control), found[0])
    metric, over = gain.gain.metric, gain.gain.control
    own = [run.summary.target.metrics["val"][metric] for run in group.runs]
    theirs: list[Any] = [
        run.summary.control[over].metrics.get("val", {}).get(metric) for run in group.runs
    ]
    known = None if None in theirs else float(np.mean(theirs))
    return MatrixCell(key[0][1], key[1][1], gain, float(np.mean(own)), known)


def _note_one_seed(gains: Gains) -> list[str]:
    alone = any(each.count == 1 and not each.folds for each in gains.found)
    return [gains_page.ONE_SEED] if alone else []
