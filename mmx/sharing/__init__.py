"""Sharing: one set of weights for several modalities.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.

After its encoder, each modality passes an adapter of its own to a common width and then a
trunk. Use it where modalities have something in common that one of them could learn for the
other. Which weights are one is said by options of :class:`~mmx.sharing.trunk.Trunk`; source
and target share the trunk too where they train jointly, which is asked for by
``transfer=joint``.
"""

from mmx.sharing.base import Layers, Sharing

__all__ = ["Layers", "Sharing"]
