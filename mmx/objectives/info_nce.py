"""InfoNCE between modalities: find the same row in another modality of the batch."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.modalities.masking import mean_where
from mmx.objectives.base import Criterion, Objective
from mmx.objectives.projections import ProjectedLoss

FIRST_LOG_SCALE = math.log(1 / 0.07)  # as in CLIP, a temperature of 0.07
LARGEST_LOG_SCALE = math.log(100)  # as in CLIP, against instability


class InfoNce(Objective):
    """Aligns the embeddings of one row across modalities and separates those of other rows.

        e_m = (W_m x_m + b_m) / ‖W_m x_m + b_m‖,  S = e^s · E_a E_bᵀ
        L_ab = -½ mean_i [ln softmax_j(S_ij)_i + ln softmax_j(S_ji)_i]

    over the n rows that have both modalities. L is the mean of L_ab over the pairs of
    modalities with n ≥ 2, or 0 without such a pair. The log-scale s is learned: it starts at
    ln(1 / 0.07) and is kept in [0, ln 100]. The other rows of the batch are the negatives, so
    the loss of untrained encoders is about ln n. Unlike a loss of single rows, it grows with
    the batch size.

    It reads neither labels nor outputs. Use it alone to train encoders on rows without labels;
    ``source_objective=info_nce`` pre-trains a source in this way. Fusion and head are not
    trained then, and the metrics are those of retrieval: how often the embedding of a row is
    the nearest to that of the same row in another modality. Use it as a term of ``combined``
    to align the modalities while a task is learned.

    Args:
        width: E, the width of the common space.

    Reference: Radford et al. 2021, arXiv 2103.00020.
    """

    kinds = frozenset({"classes", "multilabel", "regression"})
    label_free = True
    reads_outputs = False
    cross_modal = True
    compares_rows = True

    def __init__(self, *, width: Annotated[int, Field(ge=1, le=65_536)] = 128) -> None:
        self.width = width

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: There is only one modality.
        """
        self._check_modalities(widths)
        return InfoNceLoss(widths, self.width)


class InfoNceLoss(ProjectedLoss):
    """The loss of :class:`InfoNce`.

    Args:
        widths: Modality to D_m.
        width: E.
    """

    def __init__(self, widths: dict[str, int], width: int) -> None:
        super().__init__(widths, width)
        self.log_scale = nn.Parameter(torch.tensor(FIRST_LOG_SCALE))

    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss; see FeatureLoss."""
        # In place, outside of the graph: the gradient of a clamp is zero beyond its bounds, so
        # a scale that had left them could not return.
        with torch.no_grad():
            self.log_scale.clamp_(0.0, LARGEST_LOG_SCALE)
        embedded = self.embed(pooled)
        losses, enough = [], []
        for a, b in combinations(self.modalities, 2):
            both = present[a] & present[b]
            similarity = self.log_scale.exp() * embedded[a] @ embedded[b].T  # (B, B)
            # Both directions: find b among all b given a, and a among all a given b.
            found = _log_likelihood(similarity, both) + _log_likelihood(similarity.T, both)
            losses.append(mean_where(-found / 2, both))
            enough.append(both.sum() >= 2)  # a single row has no negatives: its loss is 0
        return mean_where(torch.stack(losses), torch.stack(enough))


def _log_likelihood(similarity: Tensor, rows: Tensor) -> Tensor:
    """Return ``(B,)``, the log-probability of each row to find itself among ``rows`` ``(B,)``.

    Values of all other rows are meaningless, and callers mask them.
    """
    # Columns of other rows get probability 0. Their own diagonal is -inf, so mask the result.
    return similarity.masked_fill(~rows, -torch.inf).log_softmax(1).diagonal()
