"""A trunk after the encoders, one for all modalities or one for each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmx.sharing.base import Layers, Sharing


class Trunk(Sharing):
    """Layers after the encoders with weights that modalities share, or one set for each.

    With ``modalities`` false each modality has its own trunk of the same shape. Compare the two
    to see what sharing is worth. With ``transfer=joint`` source and target have the trunk in
    common in both cases.

    Args:
        modalities: Whether all modalities use one trunk.
        classifier: Whether they also use one head, in fusions that have a head for each modality.
        width: Width of adapters and trunk.
        depth: Layers of the trunk.
    """

    def __init__(
        self,
        *,
        modalities: bool = True,
        classifier: bool = False,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        depth: Annotated[int, Field(ge=1, le=1_024)] = 2,
    ) -> None:
        self.modalities = modalities
        self.classifier = classifier
        self.width = width
        self.depth = depth

    def make_layers(self, widths: dict[str, int]) -> Layers:
        """Return the adapters and the trunk; see :class:`~mmx.sharing.base.Sharing`."""
        return Layers(widths, width=self.width, depth=self.depth, one=self.modalities)
