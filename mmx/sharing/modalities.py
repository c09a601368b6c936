"""One trunk for all modalities."""

from __future__ import annotations

from mmx.sharing.base import Sharing


class Modalities(Sharing):
    """One trunk for all modalities.

    See :class:`~mmx.sharing.base.Sharing` for the arguments.
    """

    modalities = True
