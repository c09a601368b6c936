"""Tasks: where rows come from, how they are split, and what is predicted.

A task is described once and can serve as source or as target. Constructing a task reads
nothing; ``load`` opens the data and returns it with its splits, its target and a fingerprint
of its content. ``val`` is always cut from ``train``, never from ``test``.

To add a task, subclass :class:`Task`, state its ``modalities``, and return :class:`Samples`
from ``read``; the base class splits the rows and has the few-shot options.
"""

from mmx.tasks.base import Samples, Target, Task, TaskData, cut_test

__all__ = ["Samples", "Target", "Task", "TaskData", "cut_test"]
