"""Joint training of source and target: shared weights, and a head for each task."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Annotated

from pydantic import Field
from torch import nn

from mmx.transfer.base import Source, Start, Transfer, start_fresh
from mmx.transfer.weighting import WEIGHTINGS, Weighting, WeightingName
from mmx.variants import read_options, variant


class Joint(Transfer):
    """Trains source and target together: each step takes a batch of each task.

        L = w_t L_t + w_s L_s

    They share the encoders of modalities that both have, the trunk of ``sharing=trunk`` if there
    is one, and mapping and fusion if both have the same modalities. Each has its own head and its
    own normalisation statistics. Use it when the source's rows are available during training and
    the target has few.

    Args:
        weighting: Weights of the losses: ``fixed``, ``uncertainty`` or ``gradnorm``; your own
            weighting is a node with its options.
        source_weight: For ``fixed``: weight of the source's loss, the target's being 1; None: 1.
        alpha: For ``gradnorm``: how strongly the task that lags behind is favoured; None: 1.5.
        rate: For ``gradnorm``: step size of the logarithms of the weights; None: 0.025.

    Raises:
        ValueError: An option is given that the weighting does not read.
    """

    needs = "rows"

    def __init__(
        self,
        *,
        weighting: WeightingName | Weighting = "fixed",
        source_weight: Annotated[float, Field(gt=0, le=1e6)] | None = None,
        alpha: Annotated[float, Field(ge=0, le=1000)] | None = None,
        rate: Annotated[float, Field(gt=0, le=1000)] | None = None,
    ) -> None:
        # None is "not given", so that an option of another weighting is noticed.
        given = {"source_weight": source_weight, "alpha": alpha, "rate": rate}
        self.weighting = weighting if isinstance(weighting, str) else variant(type(weighting))
        self.options = read_options("weighting", self.weighting, WEIGHTINGS, given)
        self.own = weighting if isinstance(weighting, Weighting) else None

    def takes_fusion(self, modalities: Collection[str]) -> bool:
        """Return True: both tasks use the same fusion, and share it where it fits."""
        return True

    def weigh(self, kinds: tuple[str, str]) -> Weighting:
        """Return a new weighting of the losses of target and source.

        Args:
            kinds: What each predicts: classes, multilabel or regression.
        """
        if self.own is not None:
            return copy.deepcopy(self.own)  # a weighting has state: each stage needs its own
        return WEIGHTINGS[self.weighting].of_kinds(kinds, **self.options)

    @property
    def takes_negative(self) -> bool:
        """Whether the losses may be negative."""
        kind = WEIGHTINGS[self.weighting] if self.own is None else type(self.own)
        return kind.takes_negative

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Leave the model fresh: both tasks train it from the first step on."""
        return start_fresh(model)
