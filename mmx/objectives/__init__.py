"""Objectives: the output of a model and targets in, a mean loss out.

Shape legend: ``B`` batch, ``C`` outputs, ``M`` modalities, ``D`` width, ``E`` width of a
common space.

An objective names the kinds of target that it serves (``classes``, ``multilabel``,
``regression``). ``bind`` takes the training targets, for example for class weights, and the
widths of the modalities' features. It returns a :class:`Criterion`, the loss of a batch, which
is a mean over the B rows.

An objective that does not read the model's outputs would leave the head untrained, so it is a
term of ``combined``, which adds it to one that does. An objective that is ``label_free`` can
also be used alone, to train encoders on rows without labels.
"""

from mmx.objectives.base import Criterion, FeatureLoss, ModelOutput, Objective, OutputLoss

__all__ = ["Criterion", "FeatureLoss", "ModelOutput", "Objective", "OutputLoss"]
