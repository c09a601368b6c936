"""Sharing: one set of weights for several modalities, for several tasks, or for both.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.

After its encoder, each modality passes an adapter of its own to a common width and then a
trunk. Who shares which trunk is the variant:

    architecture      each modality a trunk of the same form, with weights of its own
    modalities        one trunk for all modalities
    parameters        one trunk for all modalities, and one classifier where there are several
    tasks             source and target train jointly; a trunk for each modality serves both
    tasks_modalities  source and target train jointly; one trunk serves all modalities of both

Tasks that share also share the encoders and adapters of the modalities that both have;
each keeps a head of its own.
"""

from mmx.sharing.base import Sharing, Trunk

__all__ = ["Sharing", "Trunk"]
