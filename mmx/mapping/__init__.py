"""Mappings: the modalities' features to a common space, in front of any fusion.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.

A mapping is made from the widths of the encoders and states the widths after it. One that
is ``fitted`` learns from the features of the training rows once, before training, and
stays as it is; any other trains with the rest of the model.
"""

from mmx.mapping.base import Mapping

__all__ = ["Mapping"]
