"""Fusion: features of any modalities in, one vector (or one decision) out.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``C`` outputs, ``M`` modalities.

    fusion = Gmu(widths, width=128)
    fusion(features: dict[modality, Features], present: dict[modality, (B,) bool]) -> (B, D_out)

Any M ≥ 1; the order of a dict never matters (modalities are taken sorted by name); an
absent modality contributes nothing, in training and evaluation alike; no method mixes
the samples of a batch. A decision-level method owns a head per modality and returns
``(B, C)`` logits.
"""

from mmx.fusion.base import Fusion, Widths

__all__ = ["Fusion", "Widths"]
