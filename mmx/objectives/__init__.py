"""Objectives: model outputs and targets in, a mean loss out.

Shape legend: ``B`` batch, ``C`` outputs.

An objective names the kinds of target it serves (``classes``, ``multilabel``,
``regression``). ``bind`` gives it the training targets, from which it may learn class
weights, and returns the loss function of a batch, a mean over the B samples.
"""

from mmx.objectives.base import Loss, Objective

__all__ = ["Loss", "Objective"]
