"""What a stage's training is given, keeps and finds."""

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
    """What validating after an epoch found.

    Attributes:
        metrics: Name to value; ``loss`` is among them.
        probes: Modality to the accuracy of a linear probe on its features; empty where
            nobody watches the modalities.
        chance: Accuracy of the most frequent class.
        noise: Standard error of a probe that knows nothing.
    """

    metrics: dict[str, float]
    probes: dict[str, float] = field(default_factory=dict)
    chance: float = 0.0
    noise: float = 0.0


Validate = Callable[[MultimodalModel], Validation]
Epoch = tuple[int, float, float]
"""Steps and seconds of training, and the metric that validation is judged by, after an epoch."""


@dataclass(frozen=True)
class Recipe:
    """How one stage is trained.

    Attributes:
        stage: Which one; with the seed, the role of its task decides everything that is drawn.
        seed: The run's seed.
        trainer, optimizer, precision: As chosen in the config.
        validate: Model to what validation finds.
        score: Validation metrics to a tuple; the larger, the better.
        state_path: Where the training state is saved.
        joint: The source of joint training; None where a task trains alone.
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
        """What its draws depend on: target and controls see the same batches in one order."""
        return self.stage.task


@dataclass
class Progress:
    """The part of the training state that is no tensor.

    ``epochs`` counts those that were validated, so a state saved between an epoch's last
    step and its validation resumes with the validation. ``loss_sum`` and ``penalty_sum``, the
    penalty's part of it, are of the ``loss_steps`` of this epoch so far, and so are the norms
    ``gradients``; ``vitals`` are those of the epochs before, ``history`` is that of
    :class:`FitResult`.
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
    """What a stage's training found.

    Attributes:
        val: Validation metrics of the best epoch, whose weights the model now holds.
        best_epoch: That epoch, counted from 1.
        epochs, steps: Trained.
        seconds: Of training, without validation and saving.
        samples_per_s: Training samples a second.
        collapsed: Modality to the epoch in which it was first seen to have collapsed.
        history: Steps, seconds and the primary metric of validation after each epoch.
        weights: What the losses of target and source counted in the end; empty where one task
            was trained alone.
        grid: ``option``, ``chosen`` value, and ``val``: each value to its validation metrics;
            of heads of several seeds, means, and ``seeds``: each one's of the chosen value.
            Empty where there was nothing to choose from.
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
