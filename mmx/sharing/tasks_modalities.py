"""Joint training in which one trunk serves all modalities of both tasks."""

from __future__ import annotations

from mmx.sharing.base import TaskSharing


class TasksModalities(TaskSharing):
    """Joint training in which one trunk serves all modalities of both tasks.

    See :class:`~mmx.sharing.base.TaskSharing` for the arguments.
    """

    modalities = True
