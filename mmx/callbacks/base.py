"""The base of all callbacks, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn


@dataclass(frozen=True)
class EpochFacts:
    """An epoch that has been validated.

    Attributes:
        run: The run directory.
        stage: ``source``, ``target``, ``control``, ….
        epoch: Counted from 1.
        values: ``split.metric`` to value, such as ``val.accuracy``.
    """

    run: Path
    stage: str
    epoch: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class StageEndFacts:
    """A stage that has ended.

    Attributes:
        run: The run directory.
        stage: ``source``, ``target``, ``control``, ….
        epochs: How many were trained.
        best_epoch: The one of its weights.
        values: Validation metric to value, with these weights.
        cached: Whether it was taken from the artifact cache.
    """

    run: Path
    stage: str
    epochs: int
    best_epoch: int
    values: Mapping[str, float]
    cached: bool


@dataclass(frozen=True)
class EndFacts:
    """A run that has its answer.

    Attributes:
        run: The run directory, with the report.
        summary: The content of ``summary.json``, as a copy.
    """

    run: Path
    summary: Mapping[str, Any]


class Callback:
    """Base of all callbacks. A subclass overrides what it wants to be told.

    ::

        class Announce(Callback):
            def __init__(self, *, every: int = 1) -> None:
                self.every = every

            def on_epoch(self, facts: EpochFacts) -> None:
                if facts.epoch % self.every == 0:
                    print(facts.stage, facts.epoch, dict(facts.values), file=sys.stderr)

    It is named in the config, with its options, and its package is allowed::

        mmx train 'callbacks=[{_target_: my_pkg.hooks.Announce, every: 5}]' --allow my_pkg

    Several are called in the order in which they are listed. What one raises fails the run, which
    names it. None may change a number, since callbacks count in no fingerprint. Facts are frozen,
    random generators are put back, and a model with other weights is an error. Nothing else is
    checked: a hook, a buffer that is not saved, or ``torch.set_num_threads`` is not noticed.
    """

    def on_epoch(self, facts: EpochFacts) -> None:
        """Called after each epoch of each stage, once its metrics are written."""

    def on_stage(self, facts: StageEndFacts, model: nn.Module) -> None:
        """Called when a stage has ended.

        Args:
            facts: What it has reached.
            model: With its best weights, in evaluation mode; it may only be read.
        """

    def on_end(self, facts: EndFacts) -> None:
        """Called when summary and report are written, just before the run is done."""
