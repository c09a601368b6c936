"""Families of learner on fixed features, for fusion at algorithm level.

Shape legend: ``N`` rows, ``F`` features, ``C`` classes.

scikit-learn fits them; what it found is kept in tensors, so that a checkpoint holds it and
a model that was loaded predicts without scikit-learn.
"""

from mmx.fusion.learners.base import FittedModule, Learner
from mmx.fusion.learners.convex import Convex
from mmx.fusion.learners.knn import KnnLearner
from mmx.fusion.learners.logistic import LogisticLearner
from mmx.fusion.learners.trees import Trees

__all__ = ["Convex", "FittedModule", "KnnLearner", "Learner", "LogisticLearner", "Trees"]
