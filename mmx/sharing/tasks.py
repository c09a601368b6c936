"""Joint training in which each modality's trunk serves both tasks."""

from __future__ import annotations

from mmx.sharing.base import Sharing


class Tasks(Sharing):
    """Joint training in which each modality's trunk serves both tasks.

    The trunk is that of ``architecture``; see :class:`~mmx.sharing.base.Sharing` for the
    arguments, and :class:`~mmx.transfer.joint.Joint` for the training.
    """

    tasks = True
