"""Objectives: what a model says and targets in, a mean loss out.

Shape legend: ``B`` batch, ``C`` outputs, ``M`` modalities, ``D`` width, ``E`` width of a
common space.

An objective names the kinds of target it serves (``classes``, ``multilabel``,
``regression``). ``bind`` gives it the training targets, from which it may learn class
weights, and the widths of the modalities' features, for objectives that look at those
too; it returns a :class:`Criterion`, the loss of a batch, a mean over the B samples.

Some objectives read no outputs, so they would leave the head untrained: they are terms of
``combined``, which adds them to one that does. Those that are ``label_free`` may stand alone
too, to train encoders on rows without labels.
"""

from mmx.objectives.base import Criterion, FeatureLoss, ModelOutput, Objective, OutputLoss

__all__ = ["Criterion", "FeatureLoss", "ModelOutput", "Objective", "OutputLoss"]
