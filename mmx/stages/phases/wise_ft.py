"""WiSE-FT: the line from the starting weights to the trained ones, measured point by point.

    w(α) = (1 - α) w0 + α w,  α = 0, 0.1, … 1

It needs no further training. Fresh tensors stay at w, since their w0 is noise; running statistics
are interpolated too, counters are not. Parts that are fitted to encoded rows (stand-ins for
missing modalities) are fitted again at each point.

Reference: Wortsman et al. 2022, arXiv 2109.01903.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmx.calibration import suspend_calibration
from mmx.evaluation.metrics import find_primary, make_score, measure
from mmx.evaluation.predict import predict
from mmx.metrics import Metric
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.runs.stage_facts import LinePoints
from mmx.runs.summary import LineFacts
from mmx.stages.core.context import Context, Trained, WeightLine
from mmx.stages.core.stand_ins import fit_stand_ins
from mmx.stages.phases.base import Notes, StageState
from mmx.stages.phases.snapshot import copy_tensors
from mmx.tasks import Target
from mmx.training import checkpoint
from mmx.training.data import Data
from mmx.training.precision import Precision
from mmx.training.recipe import FitResult
from mmx.transfer.phases import WiseFT

ALPHAS = tuple(step / 10 for step in range(11))
PREFIX = "line"
"""The prefix of a line's tensors in a checkpoint."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class SplitMeasure:
    """Measures a model on a split.

    Attributes:
        data, target, criterion, precision: Of the stage.
        seed: The run's seed.
        metric: The metric that is chosen; None for the usual one.
    """

    data: Data
    target: Target
    criterion: Criterion
    precision: Precision
    seed: int
    metric: Metric | None = None

    def __call__(self, model: MultimodalModel, split: str) -> dict[str, float]:
        """Return the metrics."""
        found = predict(model, self.data, self.data.rows(split), self.precision)
        return measure(*found, self.target, self.criterion.task_loss, self.metric)

    def place(self, model: MultimodalModel, line: tuple[Tensors, Tensors], alpha: float) -> None:
        """Move a model to a point of a line, and fit what depends on its encoders."""
        # Its tensors are the model's own memory: writing to them moves the model.
        state = model.state_dict()
        with torch.no_grad():
            for name, start in line[0].items():
                state[name].copy_(torch.lerp(start, line[1][name], alpha))
        fit_stand_ins(model, self.data, self.precision, self.seed)


def measure_points(
    model: MultimodalModel,
    judge: SplitMeasure,
    line: tuple[Tensors, Tensors],
    kept: float,
    split: str,
    known: dict[str, float] | None = None,
) -> Iterator[dict[str, float]]:
    """Yield the metrics of a split at each of ``ALPHAS``; the model ends unchanged.

    Args:
        model: The model, at the point ``kept``.
        judge: Measures it.
        line: The tensors at its start, and at its end.
        kept: The α of the model.
        split: The split on which it is measured.
        known: The metrics at ``kept``, if they are known already.
    """
    held = copy_tensors(model)
    try:
        for alpha in ALPHAS:
            if alpha == kept and known is not None:
                yield known
                continue
            if alpha == kept:  # exactly the kept tensors, without the rounding of lerp
                model.load_state_dict(held)
            else:
                judge.place(model, line, alpha)
            yield judge(model, split)
    finally:
        model.load_state_dict(held)


def wise_ft(phase: WiseFT, state: StageState) -> Notes:
    """Validate the line from the snapshot to the trained model, if there is a snapshot."""
    if not state.snapshot:
        return ()
    judge = SplitMeasure(
        state.data,
        state.target,
        state.prepared.criterion,
        state.context.precision,
        state.seed,
        state.metric,
    )
    state.fitted, state.line, notes = measure_line(
        state.model, state.snapshot, judge, state.result, keep_best=phase.keep_best
    )
    return notes


def measure_line(
    model: MultimodalModel,
    origin: Tensors,
    judge: SplitMeasure,
    fitted: FitResult,
    *,
    keep_best: bool,
) -> tuple[FitResult, WeightLine, Notes]:
    """Validate the line from ``origin`` to a trained model; keep its best point if asked to.

    The best point is chosen as the best epoch of a training is; among equals it is the one
    nearest to the trained weights.

    Args:
        model: The model with its best weights.
        origin: The starting values of the tensors on the line.
        judge: Measures the model.
        fitted: The result of training; its metrics are those of the trained model.
        keep_best: Whether to keep the best point instead of the trained weights.

    Returns:
        The result of training with the metrics of the kept point, the line, and notes.
    """
    ends = origin, copy_tensors(model, origin)
    val = tuple(measure_points(model, judge, ends, 1.0, "val", known=fitted.val))
    scores = [make_score(judge.target.kind, judge.metric)(metrics) for metrics in val]
    best = max(zip(scores, ALPHAS, strict=True))[1]  # among equal scores, the largest α
    line = WeightLine(*ends, val=val, best=best, kept=best if keep_best else 1.0)
    if line.kept != 1.0:
        judge.place(model, ends, best)
        fitted = replace(fitted, val=val[ALPHAS.index(best)])
    return fitted, line, (_note(line, find_primary(judge.target.kind, judge.metric)),)


def _note(line: WeightLine, name: str) -> str:
    """Return in words what was found."""
    found = line.val[ALPHAS.index(line.best)][name]
    text = (
        f"wise_ft: α = {line.best:g} is best on validation ({name} {found:.3f}, "
        f"the trained weights {line.val[-1][name]:.3f}, the starting ones {line.val[0][name]:.3f})"
    )
    if line.kept == line.best:
        return f"{text} and is kept"
    return f"{text}; the trained weights are kept, transfer.wise_ft=best keeps the best"


def line_tensors(line: WeightLine | None) -> Tensors:
    """Return the tensors of a line that a checkpoint keeps in addition to the model's.

    Its end is left out if it is the model itself.
    """
    if line is None:
        return {}
    ends = checkpoint.add_prefix("start", line.start)
    if line.kept != 1.0:
        ends |= checkpoint.add_prefix("end", line.end)
    return checkpoint.add_prefix(PREFIX, ends)


def line_points(line: WeightLine | None) -> LinePoints | None:
    """Return the facts that go with :func:`line_tensors`."""
    if line is None:
        return None
    return LinePoints(val=list(line.val), best=line.best, kept=line.kept)


def read_line(
    tensors: Tensors, points: LinePoints | None, device: torch.device
) -> tuple[Tensors, WeightLine | None]:
    """Return a checkpoint's tensors without those of a line, and the line."""
    if points is None:
        return tensors, None
    kept = checkpoint.take_prefix(PREFIX, tensors)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{PREFIX}.")}
    first = checkpoint.take_prefix("start", kept)
    # Where no end was kept, the model itself is the end.
    last = {name: own[name] for name in first} | checkpoint.take_prefix("end", kept)
    start, end = (
        {name: tensor.to(device) for name, tensor in side.items()} for side in (first, last)
    )
    return own, WeightLine(start, end, tuple(points.val), points.best, points.kept)


def describe_tested_line(context: Context, trained: Trained, target: Target) -> LineFacts | None:
    """Return the line for the summary; its points are measured on the test split now."""
    line = trained.line
    if line is None:
        return None
    judge = SplitMeasure(
        trained.data.unlock_test(),
        target,
        trained.criterion,
        context.precision,
        context.experiment.settings.seed,
        context.experiment.metric,
    )
    ends = line.start, line.end
    with suspend_calibration(trained.model):  # as on validation, where nothing was calibrated yet
        tested = list(measure_points(trained.model, judge, ends, line.kept, "test"))
    metrics = {
        f"{alpha:g}": {"val": val, "test": test}
        for alpha, val, test in zip(ALPHAS, line.val, tested, strict=True)
    }
    metric = find_primary(target.kind, judge.metric)
    return LineFacts(metric=metric, best=line.best, kept=line.kept, alpha=metrics)
