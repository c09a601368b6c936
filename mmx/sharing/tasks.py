"""Joint training in which each modality's trunk serves both tasks."""

from __future__ import annotations

from mmx.sharing.base import TaskSharing


class Tasks(TaskSharing):
    """Joint training in which each modality's trunk serves both tasks.

    See :class:`~mmx.sharing.base.TaskSharing` for the arguments.
    """
