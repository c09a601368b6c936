"""Families of learner on fixed features, for fusion at algorithm level.

Shape legend: ``N`` rows, ``F`` features, ``C`` classes.

A file here is a learner that ``fusion.learners=[<name of the file>]`` chooses; :data:`LEARNERS`
finds it. scikit-learn fits them; what it found is kept in tensors, so that a checkpoint holds it
and a model that was loaded predicts without scikit-learn.
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
"""The head that the run's own loop trains with the encoders; it decides before all others."""
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
"""Those of this folder that decide on rows, by the name of their file, by rank."""
ORDER = (NEURAL, *LEARNERS)
"""The order in which the probabilities of those that decide stand side by side."""
if TYPE_CHECKING:
    LearnerName: TypeAlias = str
else:
    LearnerName = Literal[ORDER]


def make_learner(name: str, outputs: int, **options: Any) -> Learner:
    """Return a learner, not yet fitted.

    Args:
        name: Of :data:`LEARNERS`.
        outputs: C.
        options: Of all learners; each is given those that it takes.
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
