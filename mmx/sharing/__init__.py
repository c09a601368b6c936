"""Sharing: one set of weights for several modalities.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.

After its encoder, each modality goes through an adapter, which projects it to a common width,
and then through a trunk. Use it where modalities have structure in common that one of them can
learn for the others. The options of :class:`~mmx.sharing.trunk.Trunk` say which weights are
shared. With ``transfer=joint`` source and target share the trunk as well.
"""

from mmx.sharing.base import Layers, Sharing

__all__ = ["Layers", "Sharing"]
