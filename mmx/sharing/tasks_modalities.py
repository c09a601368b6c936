"""Joint training in which one trunk serves all modalities of both tasks."""

from __future__ import annotations

from mmx.sharing.base import Sharing


class TasksModalities(Sharing):
    """Joint training in which one trunk serves all modalities of both tasks.

    The trunk is that of ``modalities``; see :class:`~mmx.sharing.base.Sharing` for the
    arguments, and :class:`~mmx.transfer.joint.Joint` for the training.
    """

    modalities = True
    tasks = True
