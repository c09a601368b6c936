"""Sharing: one set of weights for several modalities, for several tasks, or for both.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.

After its encoder, each modality passes an adapter of its own to a common width and then a
trunk. Who shares which trunk is the variant:

    architecture      each modality a trunk of the same form, with weights of its own
    modalities        one trunk for all modalities
    parameters        one trunk for all modalities, and one classifier where there are several
    tasks             source and target train jointly; a trunk for each modality serves both
    tasks_modalities  source and target train jointly; one trunk serves all modalities of both

The last two choose ``transfer=joint``, under which ``architecture`` and ``modalities`` mean
the same as they: tasks that train jointly share whatever fits, trunk or no trunk.
"""

from mmx.sharing.base import Sharing, Trunk

__all__ = ["Sharing", "Trunk"]
