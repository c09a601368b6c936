"""Cross-entropy for one class a row."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.objectives.base import Loss, Objective

ClassWeights = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


class CrossEntropy(Objective):
    """How surprising the right class is.

        L = Σ_i v_{y_i} · -ln softmax(ŷ_i)_{y_i} / Σ_i v_{y_i}

    Label smoothing ε replaces the right class by (1 - ε) of it and ε / C of every class.

    Args:
        label_smoothing: ε, in [0, 1).
        class_weights: v: ``none``, all 1; ``balanced``, N / (C · n_c) from the training
            rows, 1 for a class that has none; or one number > 0 for each class.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classes"})

    def __init__(
        self,
        *,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        class_weights: Literal["none", "balanced"] | ClassWeights = "none",
    ) -> None:
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights

    def bind(self, target: Tensor, outputs: int) -> Loss:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: ``class_weights`` are not one for each class.
        """
        weight = self._weight(target, outputs)

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            nonlocal weight
            if weight is not None:
                weight = weight.to(logits.device)  # copies once, on the first batch
            return F.cross_entropy(
                logits.float(), labels, weight=weight, label_smoothing=self.label_smoothing
            )

        return loss

    def _weight(self, target: Tensor, outputs: int) -> Tensor | None:
        """Return ``(C,)`` class weights, or None where all are 1."""
        if self.class_weights == "none":
            return None
        if self.class_weights == "balanced":
            counts = torch.bincount(target.cpu(), minlength=outputs).float()
            balanced = len(target) / (outputs * counts)
            return balanced.where(counts > 0, 1.0)
        if len(self.class_weights) != outputs:
            raise ValueError(
                f"`class_weights` has {len(self.class_weights)} numbers; "
                f"the task has {outputs} classes"
            )
        return torch.tensor(self.class_weights, dtype=torch.float32)
