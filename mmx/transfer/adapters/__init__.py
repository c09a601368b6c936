"""Adapters: a few parameters that train inside an encoder whose own weights stay frozen.

    add_lora(encoder, rank=8, alpha=16.0) -> names of what was adapted
    add_bottlenecks(encoder, width=32)    -> names of what they stand behind

Each starts as the identity: until the first step the encoder answers as before, bit for bit.
The encoder's own tensors keep their values; :func:`plain` gives back the names they had.
"""

from mmx.transfer.adapters.bottleneck import Bottleneck, add_bottlenecks
from mmx.transfer.adapters.lora import LowRank, add_lora, plain

__all__ = ["Bottleneck", "LowRank", "add_bottlenecks", "add_lora", "plain"]
