"""An ensemble of learners of different families on the same features."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, stack_presence
from mmx.fusion.learners import (
    NEURAL,
    ORDER,
    Convex,
    Learner,
    LearnerName,
    LogisticLearner,
    make_learner,
)
from mmx.fusion.learners.neural import LabelledRows, make_neural, train_copy
from mmx.fusion.mixing import format_shares, move_rows
from mmx.modalities import Encoded, Features

DEFAULT = ("neural", "logistic", "knn", "trees")
LEAST = 1e-6
"""The probability that each class has at least, so that no logarithm is infinite."""
ROWS_AT_ONCE = 1024
"""Rows that the learners predict together, which bounds the memory of k-NN's distances."""


class Algorithm(Fusion):
    """Combines the predictions of different learners on the concatenated modalities.

        A(x) = Σ_a w_a A_a(x)                        ``combine=weights``
        A(x) = softmax(V [A_1(x); …; A_A(x)] + c)    ``combine=stacking``

    Use it when it is unclear which family of learner suits the features, or to learn how much
    of a result is due to the neural head. It serves classes only.

    x holds the pooled features, zeros for an absent modality, and one number for each
    modality: 1 where it is present and 0 where it is not. A_a(x) are the probabilities of

    - ``neural``: a layer of ReLU and a linear one, trained with the encoders by gradients;
    - ``logistic``: multinomial logistic regression;
    - ``knn``: the vote of the nearest training rows;
    - ``trees``: gradient-boosted trees.

    The output is ln A. In training mode, and before :meth:`settle`, it is the neural head's
    logits, even where the head is not among the learners: in that case it trains the encoders
    but is not part of A. :meth:`settle` fits all other learners on the training rows. The
    weights w, which lie on the simplex, then minimise the cross-entropy on the validation
    rows. For stacking, V and c (a logistic regression on standardised probabilities) are
    fitted on out-of-fold predictions of the training rows: each fold, stratified by class, is
    predicted by learners fitted on the other folds. One of these is a copy of the neural head,
    trained from new weights on these features with early stopping on the validation rows.

    An encoder that was trained on all training rows has seen the labels of every fold, so the
    out-of-fold predictions of all learners are optimistic. With frozen encoders they are not.

    Every A_a is replaced by (1 - C ε) A_a + ε with ε = 1e-6, so that no logarithm is
    infinite. Everything that is fitted lies in buffers, which are empty before; ``knn`` stores
    all training rows. With a single modality, x is its features and a 1.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of the neural head's layer.
        learners: The members of the ensemble, in any order.
        combine: ``weights`` or ``stacking``. A single learner has weight 1.
        neighbors: How many rows vote in ``knn``.
        folds: Number of folds of ``stacking``.

    Raises:
        ValueError: A learner is named twice.

    References: Wolpert 1992, Stacked generalization; Ting and Witten 1999, Issues in
    stacked generalization.
    """

    level: ClassVar[Literal["algorithm"]] = "algorithm"
    width_option = "hidden"
    settles = True

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 64,
        learners: Annotated[Sequence[LearnerName], Field(min_length=1)] = DEFAULT,
        combine: Literal["weights", "stacking"] = "weights",
        neighbors: Annotated[int, Field(ge=1, le=100_000)] = 15,
        folds: Annotated[int, Field(ge=2, le=100_000)] = 3,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        for name in learners:
            if list(learners).count(name) > 1:
                raise ValueError(f"`learners` (={list(learners)}) names {name} twice")
        self.width = outputs
        self.learners = tuple(name for name in ORDER if name in learners)
        self.combine = combine
        self.folds = folds
        # A presence number for each modality too: zeros for an absent one could also be real
        # features.
        features = sum(width.pooled for width in widths.values()) + len(widths)
        self.neural = make_neural(features, hidden, outputs)
        self.label_tensors = ("neural.2.weight", "neural.2.bias")  # module 1 is the ReLU
        fitted = [name for name in self.learners if name != NEURAL]
        self.fitted = nn.ModuleDict(
            {name: make_learner(name, outputs, neighbors=neighbors) for name in fitted}
        )
        self.combiner = Convex(outputs) if combine == "weights" else LogisticLearner(outputs)

    @classmethod
    def kinds(cls, **_options: Any) -> frozenset[str]:
        """Return the kinds of target served: classes."""
        return frozenset({"classes"})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` logits; see :class:`~mmx.fusion.base.Fusion`."""
        x = self._join_inputs(features, present)
        if self.training or not self.combiner.settled:
            logits: Tensor = self.neural(x)
            return logits
        # The learners' buffers have the dtype of the parameters, and boundaries of trees and
        # neighbours would move in half precision.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(next(self.neural.parameters()).dtype)
            mixed = self.combiner(self._predict(self._collect_learners(), x))
            return _smooth(mixed).log()

    def settle(self, train: Encoded, val: Encoded, seed: int) -> tuple[str, ...]:
        """Fit the learners and the combiner; see :meth:`mmx.fusion.base.Fusion.settle`."""
        with torch.no_grad():
            x, y = self._read_rows(train)
            val_x, val_y = self._read_rows(val)
            if self.combine == "stacking":
                # (N, A · C) probabilities, of the training rows: the combiner must not see fitted
                # answers.
                probabilities = self._predict_out_of_fold(x, y, (val_x, val_y), seed)
                self.combiner.fit(probabilities, y, seed)
                note = f"stacked on out-of-fold predictions of {len(train)} training rows"
            # The folds used copies; the learners that predict from now on see all rows.
            self._fit(self.fitted, x, y, seed)
            # Overwrites the out-of-fold ones: the combiner is judged, or fitted, on validation
            # rows.
            probabilities = self._predict(self._collect_learners(), val_x)
            if self.combine == "weights":
                self.combiner.fit(probabilities, val_y, seed)
                weights = format_shares(self.learners, self.combiner.get_buffer("weights"))
                note = f"weights fitted on {len(val)} validation rows: {weights}"
            mixed = _smooth(self.combiner(probabilities))
        single = probabilities.view(len(val), -1, self.outputs).unbind(1)  # A of (N, C)
        losses = torch.stack([_cross_entropy(p, val_y) for p in (*single, mixed)])
        listed = format_shares((*self.learners, "together"), losses)
        return note, f"cross-entropy on {len(val)} validation rows: {listed}"

    def _join_inputs(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, F)`` features and presence."""
        pooled = self.list_pooled(features, present)
        return torch.cat([*pooled, stack_presence(present, self.modalities).to(pooled[0])], dim=1)

    def _read_rows(self, rows: Encoded) -> LabelledRows:
        """Return ``(N, F)`` features and ``(N,)`` classes on the neural head's device."""
        like = next(self.neural.parameters())
        return self._join_inputs(*move_rows(rows, like)), rows.target.to(like.device)

    def _collect_learners(self) -> dict[str, nn.Module]:
        """Return the learners by name; each maps features to probabilities."""
        return {NEURAL: nn.Sequential(self.neural, nn.Softmax(1)), **self.fitted}

    def _predict(self, learners: dict[str, nn.Module], x: Tensor) -> Tensor:
        """Return the learners' probabilities, concatenated to ``(N, A · C)``."""
        if torch.compiler.is_exporting():  # for any number of rows, and so in one part
            return torch.cat([_smooth(learners[name](x)) for name in self.learners], dim=1)
        return torch.cat(
            [
                torch.cat([_smooth(learners[name](part)) for name in self.learners], dim=1)
                for part in torch.split(x, ROWS_AT_ONCE)
            ]
        )

    def _predict_out_of_fold(self, x: Tensor, y: Tensor, val: LabelledRows, seed: int) -> Tensor:
        """Return ``(N, A · C)`` probabilities of learners that were not fitted on the row."""
        folds = assign_folds(y, self.folds, seed)
        probabilities = x.new_empty(len(x), len(self.learners) * self.outputs)
        # Fewer folds than asked for if there are fewer rows than folds.
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            # Copies: the learners that predict later must not keep what a fold was fitted on.
            learners = dict(self._fit(copy.deepcopy(self.fitted), x[~out], y[~out], seed))
            if NEURAL in self.learners:
                head = train_copy(self.neural, (x[~out], y[~out]), val, seed)
                learners[NEURAL] = nn.Sequential(head, nn.Softmax(1))
            probabilities[out] = self._predict(learners, x[out])
        return probabilities

    @staticmethod
    def _fit(learners: nn.ModuleDict, x: Tensor, y: Tensor, seed: int) -> nn.ModuleDict:
        for learner in learners.values():
            cast(Learner, learner).fit(x, y, seed)
        return learners


def assign_folds(y: Tensor, folds: int, seed: int) -> Tensor:
    """Return each row's fold, ``(N,)`` from 0.

    The sizes of the folds, and their numbers of rows of each class, differ by at most one.

    Args:
        y: ``(N,)`` classes.
        folds: Number of folds; with fewer rows, there is one fold for each row.
        seed: Of the shuffle.
    """
    # Drawn on the CPU, so that the folds are the same on every device.
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator).to(y.device)
    by_class = order[y[order].argsort(stable=True)]  # sorted by class, shuffled within each
    fold_of = torch.empty_like(y)
    # The sorted rows are dealt out in turn, which stratifies by class and keeps folds equally
    # large.
    fold_of[by_class] = torch.arange(len(y), device=y.device) % min(folds, len(y))
    return fold_of


def _smooth(probabilities: Tensor) -> Tensor:
    """Return ``(N, C)`` probabilities (1 - C ε) p + ε, which still sum to 1."""
    # Each of the C terms grows by ε and all shrink by C ε together, so the sum stays 1.
    return (1 - probabilities.shape[1] * LEAST) * probabilities + LEAST


def _cross_entropy(probabilities: Tensor, classes: Tensor) -> Tensor:
    return -probabilities.log().gather(1, classes[:, None]).mean()
