"""One trunk for all modalities and, in methods with a head for each modality, one head."""

from __future__ import annotations

from mmx.sharing.base import Sharing


class Parameters(Sharing):
    """One trunk for all modalities and, in methods with a head for each modality, one head.

    See :class:`~mmx.sharing.base.Sharing` for the arguments.
    """

    modalities = True
    classifiers = True
