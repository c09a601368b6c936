"""The settings of the training loop: epochs, batch size, clipping, patience, resources."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from mmx.stage_id import Role

PositiveCount = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Settings of every stage's training.

    Args:
        epochs: Passes over the training rows.
        source_epochs: The same for a source that is trained before the target; None for
            ``epochs``.
        batch_size: Rows in a batch.
        accumulate: Batches that are accumulated for one optimiser step.
        clip: Largest norm of a step's gradient; None for no clipping.
        warmup: Fraction of the steps in which the learning rate rises.
        modality_dropout: Chance that a row loses a modality in a training step; it keeps at
            least one.
        patience: Epochs without a better validation score before training stops; None for never.
        resident: Keep decoded data on the device: ``auto`` (if it fits), always or never.
        workers: Processes that decode data that are not resident.
        checkpoint_seconds: Seconds of training between two saves.
        sync_batch_norm: Whether batch norm sees the rows of all processes of a run.
        threads: CPU threads; None: of one run, one for each core that is free when it starts.
    """

    epochs: PositiveCount = 15
    source_epochs: PositiveCount | None = None
    batch_size: PositiveCount = 64
    accumulate: PositiveCount = 1
    clip: Annotated[float, Field(gt=0, le=1e9)] | None = 1.0
    warmup: Fraction = 0.1
    modality_dropout: Fraction = 0.0
    patience: PositiveCount | None = None
    resident: Literal["auto"] | bool = "auto"
    workers: Annotated[int, Field(ge=0, le=4_096)] = 2
    checkpoint_seconds: Annotated[float, Field(ge=0, le=1e9)] = 10.0
    sync_batch_norm: bool = False
    threads: Annotated[int, Field(ge=1, le=4_096)] | None = None

    def of(self, role: Role) -> Trainer:
        """Return the settings for stages of a role; ``source_epochs`` applies to the source."""
        own = self.source_epochs if role is Role.SOURCE else None
        epochs = own or self.epochs
        return replace(self, epochs=epochs, source_epochs=None)
