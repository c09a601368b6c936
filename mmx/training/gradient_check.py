"""A check, when training starts, that a gradient reaches every trainable parameter."""

from __future__ import annotations

from collections.abc import Iterable

from mmx.modalities import Batch
from mmx.model import MultimodalModel
from mmx.stage_id import StageId
from mmx.training.dead_parameters import dead_parameters_error, find_dead_parameters


class GradientCheck:
    """Checks that parameters get a gradient, once each modality has been in a batch.

    If no batch of an epoch has a modality, its encoder and the fusion's parameters for it are
    not checked: they could not get a gradient.

    Args:
        model: The model that trains.
        stage: The stage that is trained, for the error.
        names: The parameters to check.
    """

    def __init__(self, model: MultimodalModel, stage: StageId, names: Iterable[str]) -> None:
        self.model, self.stage = model, stage
        self.start(names)

    def start(self, names: Iterable[str]) -> None:
        """Check these parameters from the next step on, as when they have just been unfrozen."""
        self.pending = True
        self.without_gradient = set(names)
        self.seen: set[str] = set()

    def observe(self, batch: Batch, prefix: str = "") -> None:
        """Note the modalities that a batch has; it waits for the device, so only while pending.

        Args:
            batch: A batch of a step.
            prefix: What the names of the parameters that it trains begin with: ``companion.``
                for the source of joint training.
        """
        if self.pending:
            here = [name for name, present in batch.present.items() if bool(present.any())]
            self.seen |= {f"{prefix}encoders.{name}." for name in here}

    def check(self, *, ends_epoch: bool) -> None:
        """Check the current gradients, after the backward passes of a step.

        Args:
            ends_epoch: Whether the step is the last of its epoch. The check then stops waiting
                for modalities that no batch had.

        Raises:
            DeadParameterError: A trainable parameter got no gradient.
        """
        if not self.pending:
            return
        # None, not 0: a gradient of zeros did flow, one that is None did not.
        self.without_gradient -= {
            name for name, parameter in self.model.named_parameters() if parameter.grad is not None
        }
        encoders = self._encoder_prefixes()
        # Each modality must have been in a batch, or its encoder had no chance of a gradient.
        if not (ends_epoch or self.seen >= encoders):
            return
        self.pending = False
        if dead := find_dead_parameters(self.without_gradient, encoders - self.seen):
            raise dead_parameters_error(self.stage, dead)

    def _encoder_prefixes(self) -> set[str]:
        """Return the prefixes of the encoders' parameters, in joint training of both tasks."""
        joint = self.model.companion
        own = {f"encoders.{name}." for name in self.model.encoders}
        others = () if joint is None else joint.encoders
        return own | {f"companion.encoders.{name}." for name in others}
