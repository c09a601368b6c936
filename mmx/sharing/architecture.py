"""The same trunk for every modality, with weights of its own."""

from __future__ import annotations

from mmx.sharing.base import Sharing


class Architecture(Sharing):
    """The same trunk for every modality, with weights of its own.

    See :class:`~mmx.sharing.base.Sharing` for the arguments.
    """
