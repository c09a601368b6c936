"""Adapters: a few parameters that train inside an encoder whose own weights stay frozen.

    add_lora(encoder, rank=8, alpha=16.0) -> names of what was adapted
    add_bottlenecks(encoder, width=32)    -> names of what they stand behind

Each starts as the identity: until the first step the encoder answers as before, bit for bit.
The encoder's own tensors keep their values; :func:`base_name` gives back the names they had.

Both are made with what torch itself has, parametrizations and forward hooks, and not with
``peft``. That package puts wrappers in the place of layers of the kinds it knows, recurrent ones
not among them; here a weight is updated where it is, in whatever module an encoder is made of. The
encoder and its layers keep their classes, so ``depths()`` and all else that asks them works on,
and no wrapper stands in the names: those of adapters are new ones, and an updated weight's has one
fixed ending, so that freezing, and copying from a source without adapters, go by the names of
every other mode. The update is computed in float32 under autocast, and has the weight's memory
layout.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from mmx.transfer.adapters.base import AdapterMethod, AdapterModule
from mmx.transfer.adapters.bottleneck import BottleneckLayer, add_bottlenecks
from mmx.transfer.adapters.lora import LowRankUpdate, add_lora, base_name
from mmx.variants import find_variants

ADAPTERS: dict[str, type[AdapterMethod]] = find_variants("mmx.transfer.adapters", AdapterMethod)
"""Those of this folder, by the name of their file."""
if TYPE_CHECKING:
    AdapterName: TypeAlias = str
else:
    AdapterName = Literal[tuple(ADAPTERS)]

__all__ = [
    "ADAPTERS",
    "AdapterMethod",
    "AdapterModule",
    "AdapterName",
    "BottleneckLayer",
    "LowRankUpdate",
    "add_bottlenecks",
    "add_lora",
    "base_name",
]
