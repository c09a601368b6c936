"""Different families of learner on the same features."""

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
from mmx.fusion.learners.neural import LabelledRows, make_neural, trained_copy
from mmx.fusion.mixing import format_shares, move_rows
from mmx.modalities import Encoded, Features

DEFAULT = ("neural", "logistic", "knn", "trees")
LEAST = 1e-6
ROWS_AT_ONCE = 1024


class Algorithm(Fusion):
    """Lets learners of different kinds decide together on the modalities side by side.

        A(x) = Σ_a w_a A_a(x)                        ``combine=weights``
        A(x) = softmax(V [A_1(x); …; A_A(x)] + c)    ``combine=stacking``

    x are the pooled features, zeros for an absent modality, and one number for each
    modality, 1 where it is present and 0 where not. A_a(x) are the probabilities of

    - ``neural``: a layer of ReLU and a linear one, trained with the encoders by gradients;
    - ``logistic``: multinomial logistic regression;
    - ``knn``: the vote of the nearest training rows;
    - ``trees``: gradient-boosted trees.

    The output is ln A. In training mode, and as long as nothing is settled, it is the
    neural head's logits, also where the head is not among the learners: then it trains
    the encoders and has no say in the end. :meth:`settle` fits all other learners on
    the training rows. Weights w, on the simplex, then have the lowest cross-entropy on the
    validation rows. For stacking, V and c (a logistic regression on standardised
    probabilities) are fitted on out-of-fold predictions of the training rows: each fold,
    stratified by class, is predicted by learners fitted on the other folds, among them a
    copy of the neural head trained anew on these features, stopped by the validation rows.

    An encoder that trained on all training rows has seen each fold's labels, so that
    out-of-fold predictions are optimistic, for every learner alike. With frozen encoders
    they are what they say.

    Every A_a is taken as (1 - C ε) A_a + ε with ε = 1e-6, so that no logarithm is
    infinite. All that is fitted is held in buffers, empty before; ``knn`` holds all training
    rows. With a single modality x is its features and a 1.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of the neural head's layer.
        learners: Who decides, in any order.
        combine: ``weights`` or ``stacking``. Weights of a single learner are 1.
        neighbors: How many rows vote in ``knn``.
        folds: Of ``stacking``.

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
        features = sum(width.pooled for width in widths.values()) + len(widths)
        self.neural = make_neural(features, hidden, outputs)
        self.label_tensors = ("neural.2.weight", "neural.2.bias")
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
        x = self._side_by_side(features, present)
        if self.training or not self.combiner.settled:
            logits: Tensor = self.neural(x)
            return logits
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(next(self.neural.parameters()).dtype)
            mixed = self.combiner(self._opinions(self._experts(), x))
            return _above_zero(mixed).log()

    def settle(self, train: Encoded, val: Encoded, seed: int) -> tuple[str, ...]:
        """Fit learners and what combines them; see :meth:`mmx.fusion.base.Fusion.settle`."""
        with torch.no_grad():
            x, y = self._rows(train)
            asked, truth = self._rows(val)
            if self.combine == "stacking":
                opinions = self._out_of_fold(x, y, (asked, truth), seed)
                self.combiner.fit(opinions, y, seed)
                note = f"stacked on out-of-fold predictions of {len(train)} training rows"
            self._fit(self.fitted, x, y, seed)
            opinions = self._opinions(self._experts(), asked)
            if self.combine == "weights":
                self.combiner.fit(opinions, truth, seed)
                weights = format_shares(self.learners, self.combiner.get_buffer("weights"))
                note = f"weights fitted on {len(val)} validation rows: {weights}"
            mixed = _above_zero(self.combiner(opinions))
        alone = opinions.view(len(val), -1, self.outputs).unbind(1)
        losses = torch.stack([_cross_entropy(p, truth) for p in (*alone, mixed)])
        said = format_shares((*self.learners, "together"), losses)
        return note, f"cross-entropy on {len(val)} validation rows: {said}"

    def _side_by_side(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, F)`` features and presence."""
        pooled = self.pooled(features, present)
        return torch.cat([*pooled, stack_presence(present, self.modalities).to(pooled[0])], dim=1)

    def _rows(self, rows: Encoded) -> LabelledRows:
        """Return ``(N, F)`` features and ``(N,)`` classes, where the neural head is."""
        like = next(self.neural.parameters())
        return self._side_by_side(*move_rows(rows, like)), rows.target.to(like.device)

    def _experts(self) -> dict[str, nn.Module]:
        """Return the learners by name, each from features to probabilities."""
        return {NEURAL: nn.Sequential(self.neural, nn.Softmax(1)), **self.fitted}

    def _opinions(self, experts: dict[str, nn.Module], x: Tensor) -> Tensor:
        """Return the experts' probabilities side by side, ``(N, A · C)``."""
        return torch.cat(
            [
                torch.cat([_above_zero(experts[name](part)) for name in self.learners], dim=1)
                for part in torch.split(x, ROWS_AT_ONCE)
            ]
        )

    def _out_of_fold(self, x: Tensor, y: Tensor, val: LabelledRows, seed: int) -> Tensor:
        """Return ``(N, A · C)`` probabilities from learners that did not see the row."""
        folds = stratified_folds(y, self.folds, seed)
        opinions = x.new_empty(len(x), len(self.learners) * self.outputs)
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            experts = dict(self._fit(copy.deepcopy(self.fitted), x[~out], y[~out], seed))
            if NEURAL in self.learners:
                head = trained_copy(self.neural, (x[~out], y[~out]), val, seed)
                experts[NEURAL] = nn.Sequential(head, nn.Softmax(1))
            opinions[out] = self._opinions(experts, x[out])
        return opinions

    @staticmethod
    def _fit(learners: nn.ModuleDict, x: Tensor, y: Tensor, seed: int) -> nn.ModuleDict:
        for learner in learners.values():
            cast(Learner, learner).fit(x, y, seed)
        return learners


def stratified_folds(y: Tensor, folds: int, seed: int) -> Tensor:
    """Return each row's fold, ``(N,)`` from 0.

    The folds' sizes, and their numbers of rows of each class, differ by one at most.

    Args:
        y: ``(N,)`` classes.
        folds: Number of folds; no more than there are rows.
        seed: Of the shuffle.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(y), generator=generator).to(y.device)
    by_class = shuffled[y[shuffled].argsort(stable=True)]
    found = torch.empty_like(y)
    found[by_class] = torch.arange(len(y), device=y.device) % min(folds, len(y))
    return found


def _above_zero(probabilities: Tensor) -> Tensor:
    """Return the probabilities mixed with a very little of the same for each class."""
    return (1 - probabilities.shape[1] * LEAST) * probabilities + LEAST


def _cross_entropy(probabilities: Tensor, classes: Tensor) -> Tensor:
    return -probabilities.log().gather(1, classes[:, None]).mean()
