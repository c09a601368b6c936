"""Gradient-boosted trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmx.fusion.learners.base import Classes, Learner, LearnerFloats

ROUNDS = 50
LEAVES = 8
DEPTH = LEAVES - 1  # a tree with LEAVES leaves is at most this deep
BINS = 63
RATE = 0.1


class Trees(Learner):
    """p(x) = softmax(b + Σ_r t_r(x)), one small regression tree for each round r and class.

    Use them where thresholds and interactions of single features matter, as in tabular data.

    scikit-learn's histogram gradient boosting fits them: 50 rounds at a learning rate of 0.1,
    up to 8 leaves a tree, 63 bins a feature. A node sends a row to the left if its feature is
    at most the threshold, or if it is NaN and the node has ``missing_left``. The nodes of all
    trees are concatenated in one set of tensors. A leaf is its own child, so that every row
    takes the same number of steps. Node 0 is a leaf of value 0: it is the tree of a class for
    which none was fitted.
    """

    rank = 3
    feature: Tensor
    threshold: Tensor
    missing_left: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    roots: Tensor
    baseline: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.declare(feature=torch.int64, threshold=None, missing_left=torch.bool)
        self.declare(left=torch.int64, right=torch.int64, value=None)
        self.declare(roots=torch.int64, baseline=None)

    def learn(self, x: LearnerFloats, y: Classes, seed: int) -> None:
        """Fit; see :class:`~mmx.fusion.learners.base.Learner`."""
        from sklearn.ensemble import HistGradientBoostingClassifier  # slow to import
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        seen = np.unique(y)
        baseline = np.full(self.outputs, -np.inf)  # probability 0 for classes without a row
        baseline[seen] = 0.0
        rounds: list[list[Any]] = []
        fitted = seen if len(seen) > 2 else seen[1:]  # for two classes: one tree a round
        if len(seen) > 1:
            model = HistGradientBoostingClassifier(
                max_iter=ROUNDS,
                learning_rate=RATE,
                max_leaf_nodes=LEAVES,
                max_bins=BINS,
                categorical_features=None,
                early_stopping=False,
                # scikit-learn takes 32 bits.
                random_state=seed % 2**32,
            )
            # Its many short parallel loops are very slow where other programs use the cores.
            with threadpool_limits(limits=1, user_api="openmp"):
                model.fit(x, y)
            # Private attributes: scikit-learn has no public access to its trees. (K,) log-odds or
            # scores
            baseline[fitted] = model._baseline_prediction[0]
            rounds = [[tree.nodes for tree in each] for each in model._predictors]
        self._keep(rounds, fitted, baseline)

    def _keep(self, rounds: list[list[Any]], fitted: Classes, baseline: LearnerFloats) -> None:
        """Keep scikit-learn's node arrays: in each round, one for each class in ``fitted``."""
        roots = np.zeros((len(rounds), self.outputs), dtype=np.int64)
        columns: dict[str, list[Any]] = {
            # Node 0 is a leaf of value 0, for classes without trees.
            "feature": [[0]],
            "threshold": [[0.0]],
            "missing_left": [[False]],
            "left": [[0]],
            "right": [[0]],
            "value": [[0.0]],
        }
        start = 1  # index of the next tree's root, after node 0
        for r, trees in enumerate(rounds):
            for c, nodes in zip(fitted, trees, strict=True):
                roots[r, c] = start
                # Children are numbered within their tree, hence + start.
                # A leaf points to itself, so that walking on after it changes nothing.
                leaf, itself = nodes["is_leaf"] == 1, start + np.arange(len(nodes))
                columns["feature"].append(np.where(leaf, 0, nodes["feature_idx"]))
                columns["threshold"].append(np.where(leaf, 0.0, nodes["num_threshold"]))
                columns["missing_left"].append(nodes["missing_go_to_left"] == 1)
                columns["left"].append(np.where(leaf, itself, nodes["left"] + start))
                columns["right"].append(np.where(leaf, itself, nodes["right"] + start))
                columns["value"].append(np.where(leaf, nodes["value"], 0.0))
                start += len(nodes)
        values = {name: torch.as_tensor(np.concatenate(each)) for name, each in columns.items()}
        # Rounded down: x ≤ threshold must decide as it does in float64.
        values["threshold"] = round_down(values["threshold"], self.threshold.dtype)
        self.keep(**values, roots=roots, baseline=baseline)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C)`` probabilities."""
        node = self.roots.flatten().expand(x.shape[0], -1)  # (N, rounds · C)
        # The same number of steps for all rows, so that no data-dependent loop is needed.
        for _ in range(DEPTH):
            # (N, rounds · C): the feature that each tree asks for at its current node.
            values_at = x.gather(1, self.feature[node])
            left = (values_at <= self.threshold[node]) | (
                values_at.isnan() & self.missing_left[node]
            )
            node = torch.where(left, self.left[node], self.right[node])
        values = self.value[node].view(x.shape[0], *self.roots.shape)  # (N, rounds, C)
        return (self.baseline + values.sum(1)).softmax(1)


def round_down(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the largest numbers of ``dtype`` that are at most ``x``.

    A number of ``dtype`` is at most ``x`` exactly if it is at most the result, so rounded
    thresholds send every row the same way.
    """
    near = x.to(dtype)
    # the next smaller number of this type
    below = torch.nextafter(near, near.new_tensor(-torch.inf))
    return torch.where(near.to(x.dtype) > x, below, near)
