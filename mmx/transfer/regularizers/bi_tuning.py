"""Bi-tuning: contrastive fine-tuning, of classes with rows and of rows with rows."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext, Step
from mmx.transfer.regularizers.features import (
    SofteningTemperature,
    Strength,
    average_terms,
    disable_autocast,
    select_rows,
    upcast,
)


class BiTuning(Regularizer):
    """Adds two supervised contrastive losses, one on the outputs and one on the features.

        R = L(w_{y_i} · h_j / τ) + mean_m L(e_mi · e_mj / τ)
        L(s_ij) = 1/n Σ_i [ln mean_j exp(s_ij) − mean_{j: y_j = y_i} s_ij]

    The first term is the contrastive half of the contrastive cross-entropy (the other half is
    the objective): class y_i has to find its rows among all rows of the batch. h is the head's
    input with a 1 appended, and w_c the head's weights of class c with their bias appended, both
    scaled to length 1. A fusion that makes the outputs itself has no such head: h is then the
    outputs, scaled to length 1, and w_c the axis of output c. The second term is the
    categorical contrastive loss of e_m = P_m f_m / ‖P_m f_m‖, in which a row has to find the rows
    of its class, over the rows that have modality m. The projections P_m train with the model and
    are dropped afterwards. Normalisation and temperature are those of the authors' code.

    It differs from the paper in its keys: they are the rows of the batch, the row itself included,
    and not a queue of rows encoded by a second, slowly moving encoder. Gradients therefore reach
    the keys and w as well. The loss is a mean over anchors and uses a mean over keys, where the
    usual form has a sum; the two differ by ln n, so repeating every row changes nothing. It
    may be negative. Use it when the target has class labels and enough rows of each class in a
    batch, above all with a source that was trained without labels.

    Args:
        strength: λ, the weight of the penalty in the loss.
        width: Width of the projections that rows are compared in.
        temperature: τ, of both terms.

    Reference: Zhong et al. 2020, arXiv 2011.06182.
    """

    acts_on = "outputs"
    needs = frozenset({"weights", "classes"})
    compares_rows = True
    reads_outputs = True

    def __init__(
        self,
        *,
        strength: Strength = 1.0,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        temperature: SofteningTemperature = 0.07,
    ) -> None:
        self.strength = strength
        self.width = width
        self.temperature = temperature

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: The target has no classes.
        """
        if context.kind != "classes":
            raise TransferError(
                f"regularizer=bi_tuning needs classes, and the target is of kind {context.kind}",
                tip="regularizer=l2_sp",
            )
        # The projections are drawn from the run's seed, and the global generator is left as it was:
        # what is drawn after them does not depend on the regulariser.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(context.seed)
            return BiTuningPenalty(context.widths, self.strength, self.width, self.temperature)


class BiTuningPenalty(Penalty):
    """The penalty of :class:`BiTuning`.

    Args:
        widths: Modality to D_m.
        strength: λ, the weight of the penalty in the loss.
        width: Of the projections.
        temperature: τ.

    Attributes:
        projections: P_m, by modality.
    """

    def __init__(
        self, widths: dict[str, int], strength: float, width: int, temperature: float
    ) -> None:
        super().__init__()
        self.strength, self.temperature = strength, temperature
        self.projections = nn.ModuleDict(
            {name: nn.Linear(widths[name], width) for name in sorted(widths)}
        )

    def forward(self, step: Step) -> Tensor:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Penalty`."""
        batch, terms = step.batch, []
        with disable_autocast(step):
            # Logits of a classifier by cosine: lengths of features and weights play no part.
            scores = cosines(step) / self.temperature  # (B, C)
            # Row i of the transpose is the anchor, class y_i; column j is the key, row j: (B, B).
            of_classes = contrast(scores[:, batch.target].T, batch.target)
            for name, projection in self.projections.items():
                x = upcast(select_rows(name, batch, step.features[name].pooled))
                if len(x):
                    # length 1: e @ e.T are cosines
                    e = F.normalize(projection(x), dim=1)  # (n, width)
                    classes = select_rows(name, batch, batch.target)
                    terms.append(contrast(e @ e.T / self.temperature, classes))
            return self.strength * of_classes + average_terms(self.strength, terms, step)


def cosines(step: Step) -> Tensor:
    """Return the ``(B, C)`` cosines between the head's input of each row and each class's weights.

    The bias counts as the weight of an input that is always 1. Without a linear head they are
    the cosines between the outputs and the axis of each output.
    """
    head = step.model.head
    if step.fused is None or not isinstance(head, nn.Linear):
        return F.normalize(upcast(step.outputs), dim=1)
    x, weight = upcast(step.fused), upcast(head.weight)
    x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)  # (B, D + 1)
    if head.bias is not None:
        # (C, D) and (C, 1): the bias is one more weight, of the 1 above
        weight = torch.cat([weight, upcast(head.bias)[:, None]], dim=1)  # (C, D + 1)
    else:
        weight = F.pad(weight, (0, 1))  # a bias of 0
    return F.normalize(x, dim=1) @ F.normalize(weight, dim=1).T


def contrast(scores: Tensor, classes: Tensor) -> Tensor:
    """Return L, a mean over anchors.

    Args:
        scores: ``(n, n)``, anchor by key.
        classes: ``(n,)``. Every anchor is one of the keys, so its class has at least one.
    """
    # (B, B), True on the diagonal: each row is its own positive
    same = classes[:, None] == classes[None, :]
    # mean_{j: y_j = y_i} s_ij: scores of other classes become 0 and are not counted.
    found = scores.masked_fill(~same, 0.0).sum(1) / same.sum(1)  # at least 1, the row itself
    # ln mean_j exp(s_ij) = logsumexp_j(s_ij) − ln n
    return (scores.logsumexp(1) - math.log(len(scores)) - found).mean()
