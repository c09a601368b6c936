"""Callbacks: own code that is told of a run's epochs, stages and end; see :class:`Callback`."""

from mmx.callbacks.base import Callback, EndFacts, EpochFacts, StageEndFacts

__all__ = ["Callback", "EndFacts", "EpochFacts", "StageEndFacts"]
