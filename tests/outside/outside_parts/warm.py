"""The source's encoders as a start, all else fresh."""

from __future__ import annotations

from torch import nn

from mmx.transfer import EncoderRate, Report, Source, Start, Transfer
from mmx.transfer.copying import copy_fitting
from mmx.transfer.regularizers import ActsOn


class Warm(Transfer):
    """Copies the encoders and trains all; what they say may be held near the source."""

    needs = "weights"

    def __init__(self, *, slowed: float = 1.0) -> None:
        self.slowed = slowed

    @property
    def encoder_rate(self) -> EncoderRate:
        """All that is copied trains at ``slowed``."""
        return EncoderRate(self.slowed, "transfer.slowed")

    @property
    def regularizable(self) -> frozenset[ActsOn]:
        """Features and how rows lie to each other."""
        return frozenset({"features", "relations"})

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Copy the encoders."""
        state = {k: v for k, v in source.state.items() if k.startswith("encoders.")}
        done = copy_fitting(Source(state, ()), model, (), {})
        return Start(
            Report(done.copied, done.adapted, (), done.fresh, notes=done.notes),
            rates=dict.fromkeys((*done.copied, *done.adapted), self.slowed),
        )
