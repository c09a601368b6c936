"""Mappings: from the modalities' features to a common space, before any fusion.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.

A mapping is made from the widths of the encoders and states its output widths. One that is
``fitted`` learns once from the features of the training rows, before training, and is then
fixed; any other trains with the rest of the model.
"""

from mmx.mapping.base import Mapping

__all__ = ["Mapping"]
