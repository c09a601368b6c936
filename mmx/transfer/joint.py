"""Joint training: source and target together, shared weights, a head each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from mmx.transfer.base import Source, Start, Transfer, everything_fresh
from mmx.transfer.weighting import Weighting
from mmx.transfer.weighting.fixed import Fixed
from mmx.transfer.weighting.gradnorm import GradNorm
from mmx.transfer.weighting.uncertainty import Uncertainty

READ_BY = {"source_weight": "fixed", "alpha": "gradnorm", "rate": "gradnorm"}


class Joint(Transfer):
    """Trains source and target together: each step takes a batch of either.

        L = w_t L_t + w_s L_s

    They share the encoders of modalities that both have, the trunk of ``sharing=trunk`` where
    there is one, and mapping and fusion where both have the same modalities. Each has its own
    head and its own normalisation statistics. Use it where the source's rows are at hand and
    the target has few.

    Args:
        weighting: What the losses count: ``fixed``, by ``uncertainty``, or by ``gradnorm``.
        source_weight: Of ``fixed``: what the source's loss counts beside the target's; None: 1.
        alpha: Of ``gradnorm``: how hard the task that lags behind is pulled along; None: 1.5.
        rate: Of ``gradnorm``: step of the weights' logarithms; None: 0.025.

    Raises:
        ValueError: An option is given that the weighting does not read.
    """

    needs = "rows"

    def __init__(
        self,
        *,
        weighting: Literal["fixed", "uncertainty", "gradnorm"] = "fixed",
        source_weight: Annotated[float, Field(gt=0, le=1e6)] | None = None,
        alpha: Annotated[float, Field(ge=0, le=1000)] | None = None,
        rate: Annotated[float, Field(gt=0, le=1000)] | None = None,
    ) -> None:
        given = {"source_weight": source_weight, "alpha": alpha, "rate": rate}
        self.options = {name: value for name, value in given.items() if value is not None}
        for name, value in self.options.items():
            if READ_BY[name] != weighting:
                raise ValueError(
                    f"`{name}` (={value:g}) is read only where `weighting` is {READ_BY[name]}: set "
                    f"transfer.weighting={READ_BY[name]} or transfer.{name}=null"
                )
        self.weighting = weighting

    def takes_fusion(self, modalities: Collection[str]) -> bool:
        """Return True: both tasks use the same fusion, which they share where it fits."""
        return True

    def weigh(self, kinds: tuple[str, str]) -> Weighting:
        """Return what weighs the losses of target and source, new.

        Args:
            kinds: What each predicts: classes, multilabel or regression.
        """
        if self.weighting == "uncertainty":
            return Uncertainty(kinds=kinds)
        return GradNorm(**self.options) if self.weighting == "gradnorm" else Fixed(**self.options)

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Leave the model as it was drawn: both tasks shape it from the first step on."""
        return everything_fresh(model)
