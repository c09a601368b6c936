"""NCE: negative conditional entropy of target labels given source labels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.inputs import ArrayOrTensor, check_classes, check_same_rows


class Nce(Score):
    """How well the source's most probable class predicts the target's class.

    A coarser form of LEEP, with the predicted class in place of the probabilities.
    """

    rank = 5
    reads_source_outputs = True

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return the NCE; see :class:`~mmx.transfer.scores.base.Score`."""
        return nce(x.argmax(1), y)


def nce(source_labels: ArrayOrTensor, labels: ArrayOrTensor) -> float:
    """Return how well the source's label of a row predicts the target's.

        NCE = −H(Y | Z) = Σ_{y,z} P(y, z) log(P(y, z) / P(z)), P being frequencies

    Larger is better, from minus the entropy of the labels, at least −log C (independent labels), to
    0 (each source class lies within one target class; so it is also if every row has another source
    class). The names of the source classes do not matter either.

    Args:
        source_labels: ``(N,)`` integers, such as the classes that a source model predicts;
            one class is enough.
        labels: ``(N,)`` integers.

    Raises:
        ValueError: See :mod:`mmx.transfer.scores`.

    Reference: Tran et al. 2019, arXiv 1908.08142.
    """
    z, y = check_classes(source_labels, "source_labels", fewest=1), check_classes(labels, "labels")
    check_same_rows(z, "source_labels", y, "labels")
    targets = y.max() + 1  # C
    # Pairs (z, y) as one number, z · C + y: only those that occur are counted.
    pairs, joint = np.unique(z * targets + y, return_counts=True)
    # P(y | z) = N_zy / N_z of each pair that occurs; pairs // C is its z.
    conditional = joint / np.bincount(z)[pairs // targets]
    # -H(y | z), in nats.
    return min(float(joint @ np.log(conditional)) / len(y), 0.0)
