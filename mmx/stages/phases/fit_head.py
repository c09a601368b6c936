"""A head on cached features: fitted without a gradient step, or several trained as one batch.

Validation chooses among the values of a grid as it chooses the best epoch of a training; among
equals the most regularised. The test split is locked.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from mmx.errors import DivergedError, MemoryExceededError
from mmx.evaluation.metrics import find_primary, measure
from mmx.metrics import Metric
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stages.phases.base import Notes, StageState
from mmx.stages.phases.fit_linear_probe import fuse_rows
from mmx.stages.phases.training_setup import make_recipe
from mmx.tasks import Target
from mmx.training.data import Data
from mmx.training.encode import BATCH_SIZE
from mmx.training.events import Event, EventKind, Listener, StopRequest
from mmx.training.fit import count_steps_per_epoch
from mmx.training.many_heads import HeadTraining, TrainableHead, TrainedHead, train_heads
from mmx.training.memory import is_out_of_memory, name_full_memory
from mmx.training.optimizer import Optimizer
from mmx.training.randomness import seed_torch
from mmx.training.recipe import FitResult, Recipe
from mmx.transfer.feature import FitHead
from mmx.transfer.heads import FittedHead, HeadCandidate

HeadMetrics = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """A model whose head is to be fitted, and what is needed for it.

    Attributes:
        model: The model; its encoders are frozen, and nothing but its head is trained.
        data: The data, with the features of all its encoders.
        target: What is predicted.
        criterion: The objective.
        recipe: How the stage would be trained.
        metric: The metric that is chosen for the stage; None for the usual one.
    """

    model: MultimodalModel
    data: Data
    target: Target
    criterion: Criterion
    recipe: Recipe
    metric: Metric | None = None

    def rows(self, split: str) -> tuple[Tensor, Tensor]:
        """Return a split's ``(N, D)`` fused features and its targets, on the device."""
        features, targets = fuse_rows(
            self.model, self.data, self.data.rows(split), self.recipe.precision
        )
        return torch.from_numpy(features).to(self.data.device), targets.to(self.data.device)

    def measure_outputs(self, outputs: Tensor, values: Tensor) -> HeadMetrics:
        """Return the metrics of outputs ``(N, C)`` for targets in the task's own unit."""
        loss_of = self.criterion.task_loss
        return measure(outputs.cpu(), values, self.target, loss_of, self.metric)


def fit_head(phase: FitHead, state: StageState) -> Notes:
    """Fit or train the head of a stage's model in place; its encoders are frozen.

    A resumed run repeats this phase: it takes seconds, and gives the same result.

    Raises:
        DivergedError: No loss is finite.
        Interrupted: A signal asked to stop.
    """
    state.data.decode()
    recipe, notes = make_recipe(state, state.data)
    criterion, metric = state.prepared.criterion, state.metric
    bench = Bench(state.model, state.data, state.target, criterion, recipe, metric)
    if isinstance(phase.head, FittedHead):
        state.fitted, found = _fit_grid(bench, phase.head, state.listen)
    else:
        state.fitted, found = _train_as_batch(bench, phase, state.listen, state.context.stop)
    return (*notes, *found)


def _fit_grid(bench: Bench, head: FittedHead, listen: Listener) -> tuple[FitResult, Notes]:
    """Fit a head for each value of its grid, and keep the best."""
    model, recipe, target = bench.model, bench.recipe, bench.target
    began = time.perf_counter()
    x, y = bench.rows("train")
    # All at once, so that the seconds cover the solutions and not their validation.
    candidates = list(head.candidates(x, y, target.outputs, target.kind))
    seconds = time.perf_counter() - began
    (val, _), values = bench.rows("val"), bench.data.truth(bench.data.rows("val"))
    metrics = []
    for candidate in candidates:
        model.head.load_state_dict(candidate.state)
        # In the number format of predictions, not in float64: what is judged is what will answer.
        metrics.append(bench.measure_outputs(_outputs(bench, val.float()), values))
    best = _choose_best(metrics, recipe)
    model.head.load_state_dict(candidates[best].state)
    found = recipe.validate(model).metrics
    said = {f"val.{name}": value for name, value in found.items()}
    listen(Event(EventKind.EPOCH, recipe.stage, epoch=1, values=said, seconds=seconds))
    fitted = FitResult(
        val=found,
        best_epoch=0,
        epochs=0,
        steps=0,
        seconds=seconds,
        samples_per_s=len(x) / max(seconds, 1e-9),
        history=[(0, seconds, recipe.score(found)[0])],
        grid=_make_grid(head.varied, candidates, metrics, best),
    )
    return fitted, _make_notes(head, candidates, best, len(x), len(val))


@torch.no_grad()
def _outputs(bench: Bench, x: Tensor) -> Tensor:
    """Return ``(N, C)`` of fused features, in batches as those of a prediction."""
    bench.model.eval()
    with bench.recipe.precision.autocast():
        parts = [bench.model.head(part).float() for part in torch.split(x, BATCH_SIZE)]
    return torch.cat(parts)


def _make_notes(
    head: FittedHead, candidates: list[HeadCandidate], best: int, rows: int, val: int
) -> tuple[str, ...]:
    """Return in words what was chosen."""
    if len(candidates) == 1:
        return head.remarks(rows)
    text = (
        f"{head.varied}={candidates[best].value:g} of {len(candidates)} values "
        f"chosen on {val} validation rows"
    )
    if best in (0, len(candidates) - 1):
        # The first value is the most regularised: the smallest C, but the largest penalty.
        side = "smaller" if (best == 0) == (head.varied == "C") else "larger"
        text += f"; it is the last of its side: transfer.grid with {side} ones may do better"
    return (text,)


def _train_as_batch(
    bench: Bench, phase: FitHead, listen: Listener, stop: StopRequest
) -> tuple[FitResult, Notes]:
    """Train a head for each weight decay and seed as one batch; keep one of the best decay.

    The head of the run's own seed is kept; those of other seeds show how much results vary.
    """
    model, recipe = bench.model, bench.recipe
    decays = phase.decays or (recipe.optimizer.weight_decay,)
    x, y = bench.rows("train")
    (val, _), values = bench.rows("val"), bench.data.truth(bench.data.rows("val"))
    validating = 0.0

    def validate(outputs: Tensor) -> list[HeadMetrics]:
        nonlocal validating
        began = time.perf_counter()
        found = [bench.measure_outputs(each, values) for each in outputs.float()]
        validating += time.perf_counter() - began
        return found

    plan = HeadTraining(
        [_with_decay(recipe.optimizer, decay) for decay in decays],
        recipe.trainer,
        bench.criterion.task_part,
        validate,
        recipe.score,
        recipe.draws,
    )
    seeds = [recipe.seed + place for place in range(phase.seeds)]  # the run's own comes first
    first = cast(TrainableHead, model.head)  # Feature refuses others: Head.batched
    heads = [first, *(_draw_head(first, seed, recipe.draws) for seed in seeds[1:])]
    began = time.perf_counter()
    try:
        trained = train_heads(heads, [x] * len(seeds), y, [val] * len(seeds), seeds, plan, stop)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _memory_error(name_full_memory(error), len(seeds) * len(decays)) from error
    seconds = time.perf_counter() - began - validating  # as fit's: without validation
    return _keep_best(bench, decays, seeds, trained, (seconds, len(x), len(val)), listen)


def _keep_best(
    bench: Bench,
    decays: Sequence[float],
    seeds: Sequence[int],
    trained: Sequence[Sequence[TrainedHead]],
    took: tuple[float, int, int],
    listen: Listener,
) -> tuple[FitResult, Notes]:
    """Give the model the head of its own seed with the best decay, and say how it was chosen.

    Args:
        bench: With the model.
        decays: L values.
        seeds: S seeds, the run's own first.
        trained: For each seed the L trained heads.
        took: Seconds of training, training rows, validation rows.
        listen: Called with the events of the kept head's epochs.
    """
    seconds, rows, validated = took
    of_decay = list(zip(*trained, strict=True))  # L of S heads
    metrics = [_mean([each.val for each in heads]) for heads in of_decay]
    best = _choose_best(metrics, bench.recipe)
    chosen = of_decay[best][0]
    bench.model.head.load_state_dict(chosen.state)
    history = _say_epochs(bench, chosen, seconds, listen)
    epochs = len(chosen.curve)
    grid = _make_grid("decay", [HeadCandidate(decay, {}) for decay in decays], metrics, best)
    if len(seeds) > 1:
        grid["seeds"] = {str(s): each.val for s, each in zip(seeds, of_decay[best], strict=True)}
    fitted = FitResult(
        val=bench.recipe.validate(bench.model).metrics,
        best_epoch=chosen.best_epoch,
        epochs=epochs,
        steps=history[-1][0],
        seconds=seconds,
        samples_per_s=epochs * rows / max(seconds, 1e-9),
        history=history,
        grid=grid,
    )
    primary = find_primary(bench.target.kind, bench.metric)
    notes = _notes_on_training(decays, of_decay, best, validated, primary)
    return fitted, notes


def _draw_head(head: TrainableHead, seed: int, draws: str) -> TrainableHead:
    """Return a head of the same form with fresh weights of another seed."""
    device = next(head.parameters()).device
    other = copy.deepcopy(head).cpu()  # weights are always drawn on the CPU, for equal numbers
    seed_torch(seed, draws, "head")
    for layer in other.layers:
        layer.reset_parameters()
    return other.to(device)


def _mean(metrics: Sequence[HeadMetrics]) -> HeadMetrics:
    """Return the mean of each metric; empty if a head has none because it diverged."""
    if not all(metrics):
        return {}
    return {name: math.fsum(each[name] for each in metrics) / len(metrics) for name in metrics[0]}


def _notes_on_training(
    decays: Sequence[float],
    trained: Sequence[Sequence[TrainedHead]],
    best: int,
    rows: int,
    metric: str,
) -> tuple[str, ...]:
    """Return in words what was chosen, and how much seeds differ.

    Args:
        decays: L values.
        trained: For each of them, the heads of all seeds.
        best: Index of the chosen decay.
        rows: Number of validation rows.
        metric: The primary metric.
    """
    wild = []
    for decay, heads in zip(decays, trained, strict=True):
        if count := sum(each.diverged for each in heads):
            of = f" ({count} of {len(heads)} seeds)" if len(heads) > 1 else ""
            wild.append(f"{decay:g}{of}")
    notes = [] if not wild else [f"training diverged at weight decay {', '.join(wild)}"]
    if len(decays) > 1:
        text = f"weight decay {decays[best]:g} of {len(decays)} values chosen on {rows}"
        notes.append(f"{text} validation rows; all were trained as one batch")
    if len(trained[best]) > 1:
        found = [each.val[metric] for each in trained[best]]
        notes.append(
            f"{len(found)} heads that differ in seed alone, trained as one batch: validation "
            f"{metric} {statistics.mean(found):.3f} ± {statistics.stdev(found):.3f} "
            f"({min(found):.3f} … {max(found):.3f}), this run's {found[0]:.3f}"
        )
    return tuple(notes)


def _memory_error(device: str, heads: int) -> MemoryExceededError:
    return MemoryExceededError(
        f"{device} is out of memory for {heads} heads that train as one batch",
        tip="fewer of transfer.decays or of transfer.head_seeds, or a smaller trainer.batch_size",
    )


def _with_decay(optimizer: Optimizer, decay: float) -> Optimizer:
    other = copy.copy(optimizer)
    other.weight_decay = decay
    return other


def _say_epochs(
    bench: Bench, chosen: TrainedHead, seconds: float, listen: Listener
) -> list[tuple[int, float, float]]:
    """Send the events of each epoch that training the chosen head alone would have sent."""
    recipe = bench.recipe
    steps = count_steps_per_epoch(bench.data.rows("train"), recipe.trainer)
    history = []
    for epoch, values in enumerate(chosen.curve, start=1):
        # The heads were trained together: each of this one's epochs gets an equal share.
        after = seconds * epoch / len(chosen.curve)
        listen(
            Event(
                EventKind.EPOCH,
                recipe.stage,
                epoch=epoch,
                step=epoch * steps,
                steps=recipe.trainer.epochs * steps,
                values=values,
                seconds=after,
            )
        )
        said = {name.removeprefix("val."): value for name, value in values.items()}
        history.append((epoch * steps, after, recipe.score(said)[0]))
    return history


def _choose_best(metrics: list[HeadMetrics], recipe: Recipe) -> int:
    """Return the index of the best solution; among equals the first."""
    finite = [i for i, each in enumerate(metrics) if each and math.isfinite(each["loss"])]
    if not finite:
        raise DivergedError(
            f"no validation loss of the heads of stage {recipe.stage} is finite",
            tip=f"try optimizer.lr={recipe.optimizer.lr / 10:g}",
        )
    # -i: among equals, the first.
    return max(finite, key=lambda i: (recipe.score(metrics[i]), -i))


def _make_grid(
    option: str, candidates: list[HeadCandidate], metrics: list[HeadMetrics], best: int
) -> dict[str, Any]:
    """Return all validation metrics, for the summary; empty if there was no choice."""
    if candidates[best].value is None:
        return {}
    values = {f"{each.value:.12g}": found for each, found in zip(candidates, metrics, strict=True)}
    return {"option": option, "chosen": candidates[best].value, "val": values}
