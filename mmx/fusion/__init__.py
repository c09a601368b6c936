"""Fusion: features of any modalities in, one vector (or one decision) out.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``C`` outputs, ``M`` modalities.

    fusion = Gmu(widths, width=128)
    fusion(features: dict[modality, Features], present: dict[modality, (B,) bool]) -> (B, D_out)

Any M ≥ 1 works. The order of a dict never matters, since modalities are sorted by name. An
absent modality contributes nothing, in training and in evaluation. No method mixes the rows
of a batch. A decision-level method owns one head for each modality and returns ``(B, C)``
logits.
"""

from mmx.fusion.base import Fusion, Widths, stack_presence

__all__ = ["Fusion", "Widths", "stack_presence"]
