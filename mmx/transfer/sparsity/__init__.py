"""Sparsity patterns: which weights of a trained encoder are large enough to keep.

    masks = pattern.masks(layer, tensors)     # name to bool, True where a weight stays

A pattern looks at one layer at a time, so that every layer keeps the same part of itself.
"""

from mmx.transfer.sparsity.layers import Layer, layers_of
from mmx.transfer.sparsity.patterns import Channel, Magnitude, NOfM, Pattern

__all__ = ["Channel", "Layer", "Magnitude", "NOfM", "Pattern", "layers_of"]
