"""Cross-entropy for targets with one class for each row."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.objectives.base import Criterion, Objective, OutputLoss
from mmx.objectives.class_weights import ClassWeights, balance_class_weights, make_class_weights


class CrossEntropy(Objective):
    """The mean negative log-probability of the true classes.

        L = Σ_i v_{y_i} · -ln softmax(ŷ_i / T)_{y_i} / Σ_i v_{y_i}

    Use it for classification, with ``class_weights=balanced`` if classes are imbalanced.

    Label smoothing ε replaces the true class by a target of 1 - ε for it plus ε / C for every
    class. The temperature scales the logits in the loss only, not those of predictions.

    Args:
        label_smoothing: ε, in [0, 1).
        temperature: T > 0; above 1, the same loss needs larger differences of logits.
        class_weights: v: ``none``, all 1; ``balanced``, N / (C · n_c) from the training
            rows, 1 for a class without rows; or one number > 0 for each class.
    """

    kinds = frozenset({"classes"})
    weighs_classes = True

    def __init__(
        self,
        *,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        temperature: Annotated[float, Field(gt=0, le=10000)] = 1.0,
        class_weights: ClassWeights = "none",
    ) -> None:
        self.label_smoothing = label_smoothing
        self.temperature = temperature
        self.class_weights = class_weights

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: ``class_weights`` does not have one number for each class.
        """
        smoothing, temperature = self.label_smoothing, self.temperature

        def loss(logits: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
            scaled = logits if temperature == 1 else logits / temperature
            # PyTorch divides by the sum of the weights, also with label smoothing.
            return F.cross_entropy(scaled, labels, weight=weight, label_smoothing=smoothing)

        weight = make_class_weights(self.class_weights, target, outputs)
        return OutputLoss(loss, weight, by_class=True)

    def with_class_weights(self) -> CrossEntropy:
        """Return the same objective with class weights ``balanced``; see Objective."""
        return CrossEntropy(
            label_smoothing=self.label_smoothing,
            temperature=self.temperature,
            class_weights=balance_class_weights(self.class_weights),
        )
