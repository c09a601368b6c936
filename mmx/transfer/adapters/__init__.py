"""Adapters: a few parameters that train inside an encoder whose own weights stay frozen.

    add_lora(encoder, rank=8, alpha=16.0) -> names of the adapted weights
    add_bottlenecks(encoder, width=32)    -> names of the modules that a bottleneck follows

Each adapter starts as the identity: before the first step the encoder returns what it did before,
bit for bit. The encoder's own tensors keep their values; :func:`base_name` returns the names that
they had before.

Both use parametrizations and forward hooks of torch itself, and not ``peft``. That package replaces
layers of known kinds by wrappers, and recurrent layers are not among them; here a weight is updated
in place, in any module. The encoder and its layers keep their classes, so ``depths()`` and other
methods still work. Names contain no wrapper: adapters have new names, and an updated weight has one
fixed suffix, so freezing, and copying from a source without adapters, use the names of every other
mode. The update is computed in float32 also under autocast, and has the weight's memory layout.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from mmx.transfer.adapters.base import AdapterMethod, AdapterModule
from mmx.transfer.adapters.bottleneck import BottleneckLayer, add_bottlenecks
from mmx.transfer.adapters.lora import LowRankUpdate, add_lora, base_name
from mmx.variants import find_variants

ADAPTERS: dict[str, type[AdapterMethod]] = find_variants("mmx.transfer.adapters", AdapterMethod)
"""The kinds of adapter of this folder, by the names of their files."""
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
