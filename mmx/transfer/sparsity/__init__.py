"""Sparsity patterns: which weights of a trained encoder are large enough to keep.

    masks = pattern.masks(layer, tensors)     # name to bool, True where a weight stays

A pattern prunes each layer separately, so that every layer keeps the same fraction of itself.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from mmx.transfer.sparsity.base import Pattern
from mmx.transfer.sparsity.layers import Layer, find_layers
from mmx.variants import find_variants

PATTERNS: dict[str, type[Pattern]] = find_variants("mmx.transfer.sparsity", Pattern)
"""The patterns of this folder, by the names of their files."""
if TYPE_CHECKING:
    PatternName: TypeAlias = str
else:
    NAMES = ("none", *PATTERNS)
    PatternName = Literal[NAMES]

__all__ = ["PATTERNS", "Layer", "Pattern", "PatternName", "find_layers"]
