"""Tasks: where samples come from, how they are split, and what is to be predicted.

A task is described once and serves as source or target. Constructing one reads
nothing; ``load`` opens the data and returns it with its splits, target and a
fingerprint of its content. ``val`` is always cut from ``train``, never from ``test``.

A task of your own subclasses :class:`Task`, says its ``modalities``, and returns
:class:`Samples` from ``read``; splitting and few-shot options come with the base.
"""

from mmx.tasks.base import Samples, Target, Task, TaskData

__all__ = ["Samples", "Target", "Task", "TaskData"]
