"""The inputs, the progress and the result of a stage's training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmx.model import MultimodalModel
from mmx.stage_id import Role, StageId
from mmx.training.loss import JointLoss
from mmx.training.optimizer import Optimizer
from mmx.training.precision import Precision
from mmx.training.trainer import Trainer


@dataclass(frozen=True)
class Validation:
    """The result of the validation after an epoch.

    Attributes:
        metrics: Name to value; ``loss`` is among them.
        probes: Modality to the accuracy of a linear probe on its features; empty if modality
            collapse is not checked.
        chance: Accuracy of always answering the most frequent class.
        noise: Standard error of the accuracy of a probe at chance level.
    """

    metrics: dict[str, float]
    probes: dict[str, float] = field(default_factory=dict)
    chance: float = 0.0
    noise: float = 0.0


Validate = Callable[[MultimodalModel], Validation]
Epoch = tuple[int, float, float]
"""Steps and seconds of training so far, and the primary metric of validation, after an epoch.

Where lower is better it is the negative of the metric, so that larger is always better."""


@dataclass(frozen=True)
class Recipe:
    """How one stage is trained.

    Attributes:
        stage: The stage; the role of its task and the seed determine all random draws.
        seed: The run's seed.
        trainer, optimizer, precision: As chosen in the config.
        validate: Validates a model.
        score: Validation metrics to a tuple; the larger, the better.
        state_path: Where the training state is saved.
        joint: The source in joint training; None if a task trains alone.
    """

    stage: StageId
    seed: int
    trainer: Trainer
    optimizer: Optimizer
    precision: Precision
    validate: Validate
    score: Callable[[dict[str, float]], tuple[float, ...]]
    state_path: Path
    joint: JointLoss | None = None

    @property
    def draws(self) -> Role:
        """The role that seeds the draws: target and controls see the same batches in one order."""
        return self.stage.task


@dataclass
class Progress:
    """The part of the training state that is not tensors.

    ``epochs`` counts validated epochs, so that a state saved between an epoch's last step and
    its validation resumes with the validation. ``loss_sum`` adds up the losses of the
    ``loss_steps`` steps of this epoch so far, and ``penalty_sum`` the penalties in them;
    ``gradients`` are the encoders' gradient norms in this epoch. ``vitals`` has an entry for
    each earlier epoch, ``history`` is that of :class:`FitResult`.
    """

    step: int = 0
    epochs: int = 0
    loss_sum: float = 0.0
    penalty_sum: float = 0.0
    loss_steps: int = 0
    best_epoch: int = 0
    best_score: list[float] = field(default_factory=list)
    best_metrics: dict[str, float] = field(default_factory=dict)
    bad_epochs: int = 0
    seconds: float = 0.0
    gradients: dict[str, list[float]] = field(default_factory=dict)
    vitals: list[dict[str, Any]] = field(default_factory=list)
    collapsed: dict[str, int] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)


@dataclass(frozen=True)
class FitResult:
    """The result of a stage's training.

    Attributes:
        val: Validation metrics of the best epoch; the model has the weights of that epoch.
        best_epoch: That epoch, counted from 1.
        epochs, steps: How many were trained.
        seconds: Seconds of training, without validation and saving.
        samples_per_s: Training rows per second.
        collapsed: Modality to the epoch in which its collapse was first noticed.
        history: Steps, seconds and the primary metric of validation after each epoch.
        weights: Final weights of the losses of target and source; empty unless they were trained
            jointly.
        grid: ``option``, its ``chosen`` value, and ``val``: each value to its validation metrics.
            With several head seeds these are means, and ``seeds`` has the metrics of each seed
            at the chosen value. Empty if there was nothing to choose.
    """

    val: dict[str, float]
    best_epoch: int
    epochs: int
    steps: int
    seconds: float
    samples_per_s: float
    collapsed: dict[str, int] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
