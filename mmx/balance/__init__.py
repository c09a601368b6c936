"""Class imbalance: what training does about classes with few rows.

Shape legend: ``B`` batch, ``C`` classes, ``N`` rows, ``D`` width.

A balance may choose which rows an epoch draws, change the objective, or mix the rows of a batch:
their inputs, or their features before the fusion. Every epoch has as many rows as the task has
training rows, whatever the balance, so that runs have equal budgets. Evaluation is never balanced.
"""

from mmx.balance.base import Balance, Mixed, MixedInputs

__all__ = ["Balance", "Mixed", "MixedInputs"]
