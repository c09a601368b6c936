"""Contrastive pre-training: encoders learn from which modalities belong together."""

from __future__ import annotations

from mmx.objectives.info_nce import InfoNce


class Contrastive(InfoNce):
    """InfoNCE between the modalities as the whole loss, of rows without labels.

    The loss is that of :class:`~mmx.objectives.info_nce.InfoNce`. Neither labels nor outputs
    are read, so that fusion and head do not train; what was learned shows in how well one
    modality's embedding finds the same row's in another.

    Args:
        width: E, the width of the common space.

    Reference: Radford et al. 2021, arXiv 2103.00020.
    """

    label_free = True
