"""Families of learner on fixed features, for fusion at algorithm level.

Shape legend: ``N`` rows, ``F`` features, ``C`` classes.

Each file here is a learner, which ``fusion.learners=[<name of the file>]`` chooses;
:data:`LEARNERS` lists them. scikit-learn fits them, and the result is stored in tensors. So a
checkpoint holds it, and a loaded model predicts without scikit-learn.
"""

from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mmx.fusion.learners.base import FittedModule, Learner
from mmx.fusion.learners.convex import Convex
from mmx.fusion.learners.knn import KnnLearner
from mmx.fusion.learners.logistic import LogisticLearner
from mmx.fusion.learners.trees import Trees
from mmx.variants import find_variants

NEURAL = "neural"
"""The head that is trained with the encoders by gradients; it is the first in :data:`ORDER`."""
LEARNERS: dict[str, type[Learner]] = dict(
    sorted(
        (
            (name, kind)
            for name, kind in find_variants("mmx.fusion.learners", Learner).items()
            if kind.rank is not None
        ),
        key=lambda each: each[1].rank or 0,
    )
)
"""The learners of this folder that predict from features, by the name of their file, by rank."""
ORDER = (NEURAL, *LEARNERS)
"""The order in which the learners' probabilities are concatenated."""
if TYPE_CHECKING:
    LearnerName: TypeAlias = str
else:
    LearnerName = Literal[ORDER]


def make_learner(name: str, outputs: int, **options: Any) -> Learner:
    """Return a learner, not yet fitted.

    Args:
        name: A key of :data:`LEARNERS`.
        outputs: C.
        options: Options of any learner; only those that this learner takes are passed on.
    """
    kind = LEARNERS[name]
    taken = signature(kind).parameters
    return kind(outputs, **{key: value for key, value in options.items() if key in taken})


__all__ = [
    "LEARNERS",
    "NEURAL",
    "ORDER",
    "Convex",
    "FittedModule",
    "KnnLearner",
    "Learner",
    "LearnerName",
    "LogisticLearner",
    "Trees",
    "make_learner",
]
