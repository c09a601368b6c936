"""In what steps that are accumulated, or divided, differ from steps of one batch."""

from __future__ import annotations

from torch.nn.modules.batchnorm import _BatchNorm

from mmx.experiment import Experiment
from mmx.model import MultimodalModel, set_training_mode
from mmx.transfer import Start


def explain_accumulation(
    experiment: Experiment, model: MultimodalModel, start: Start, rows: int
) -> tuple[str, ...]:
    """Return a note of the parts that see a batch and not the step; none if they are the same.

    Losses that are means over rows are equal up to rounding. Parts that compare rows with each
    other, or compute statistics over them, see fewer rows.

    Args:
        experiment: The experiment, for its trainer, objectives, regulariser and balance.
        model: The target's model.
        start: Which of its parameters are frozen.
        rows: Number of training rows of the target.
    """
    size, accumulate = experiment.trainer.batch_size, experiment.trainer.accumulate
    if accumulate == 1 or rows <= size:
        return ()
    seeing = [
        f"the {role}'s objective"
        for role, each in experiment.roles.items()
        if each.objective.compares_rows
    ]
    if experiment.regularizer is not None and experiment.regularizer.compares_rows:
        seeing.append("the regularizer")
    if experiment.balance is not None and experiment.balance.compares_rows:
        seeing.append("the balance")
    if _normalizes_by_batch(model, start):
        seeing.append("batch normalisation")
    if not seeing:
        return ()
    verb = "looks" if len(seeing) == 1 else "look"
    return (
        f"trainer.accumulate={accumulate}: a step is not quite that of one batch of "
        f"{size * accumulate} rows: {' and '.join(seeing)} {verb} at {size} rows at a time",
    )


def explain_shares(experiment: Experiment, model: MultimodalModel, start: Start) -> tuple[str, ...]:
    """Return a note where batch norm sees the share of a process; what else would is refused."""
    size, count = experiment.trainer.batch_size, experiment.settings.processes
    if count == 1 or experiment.trainer.sync_batch_norm or not _normalizes_by_batch(model, start):
        return ()
    return (
        f"processes={count}: batch normalisation looks at the {size // count} rows of a process at "
        f"a time, and not at the {size} of a batch, as with trainer.sync_batch_norm=true",
    )


def _normalizes_by_batch(model: MultimodalModel, start: Start) -> bool:
    """Return whether any batch norm uses the statistics of a batch in training."""
    modes = [(part, part.training) for part in model.modules()]  # restored below
    set_training_mode(model, start.frozen, start.frozen_statistics)
    found = any(isinstance(part, _BatchNorm) and part.training for part in model.modules())
    for part, mode in modes:
        part.training = mode
    return found
