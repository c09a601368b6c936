"""LoRA: low-rank updates of frozen weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmx.transfer.adapters.base import AdapterMethod, AdapterModule

MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)


class LowRankUpdate(AdapterModule):
    """A weight plus the product of two thin matrices.

        W + (alpha / rank) · B A,  A: r×(inputs), B: outputs×r,  r = min(rank, outputs, inputs)

    A kernel is flattened to ``outputs × (channels · positions)``. A is initialised as the weight
    of a linear layer and B with zeros, so the sum starts as W itself. It is computed in float32
    also under autocast: B A may be smaller than the last bit of W in half precision.

    Args:
        weight: W, ``(outputs, …)``; its shape is read, not its values.
        rank: Bound of the update's rank.
        alpha: Scale of the update. It is divided by ``rank``, so the update's size does not depend
            on the rank.

    Reference: Hu et al. 2022, arXiv 2106.09685.
    """

    def __init__(self, weight: Tensor, *, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape[0], weight[0].numel()
        thin = min(rank, outputs, inputs)
        self.scale = alpha / rank  # by the rank as given, also if a side of W bounds it
        self.down = nn.Parameter(torch.empty(thin, inputs, device=weight.device))
        self.up = nn.Parameter(torch.empty(outputs, thin, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as nn.Linear does
        # Zero, so that the product is 0 at the start; `down` must not be, or no gradient would
        # flow.
        nn.init.zeros_(self.up)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight, with the shape of ``weight``."""
        with torch.autocast(weight.device.type, enabled=False):
            # (outputs, thin) @ (thin, inputs), viewed as the kernel: inputs are flattened over its
            # window.
            updated = weight + (self.scale * (self.up @ self.down)).view(weight.shape)
            # A convolution chooses its algorithm by the memory layout, and with it its rounding:
            # without the same strides the encoder would not start bit for bit as it was.
            if updated.stride() != weight.stride():
                return torch.empty_like(weight).copy_(updated)
            return updated


def add_lora(encoder: nn.Module, *, rank: int, alpha: float) -> tuple[str, ...]:
    """Add a :class:`LowRankUpdate` to every weight matrix and kernel of an encoder.

    These are the weights of linear layers, convolutions and embeddings, the input and state
    matrices of recurrent layers, and the projections of an attention (query, key and value
    of equal width are one matrix, and share A).

    Args:
        encoder: Changed in place; ``weight`` becomes ``parametrizations.weight.original``.
        rank: Bound of the updates' rank.
        alpha: Scale of the updates.

    Returns:
        The names of the weights before the change.
    """
    # Listed before anything is registered, which adds modules with weights of their own.
    found = find_matrices(encoder)
    for whole in found:
        prefix, _, name = whole.rpartition(".")
        module = encoder.get_submodule(prefix)
        update = LowRankUpdate(getattr(module, name), rank=rank, alpha=alpha)
        # unsafe: no check is needed, since the update has the weight's shape. The check would
        # compute it, and so import torch's compiler for a meta model.
        parametrize.register_parametrization(module, name, update, unsafe=True)
        if isinstance(module, nn.RNNBase) and _forget_weights not in module._forward_hooks.values():
            module.register_forward_hook(_forget_weights)
    return found


def find_matrices(encoder: nn.Module) -> tuple[str, ...]:
    """Return the names of the weights that :func:`add_lora` updates."""
    return tuple(
        f"{prefix}.{name}" if prefix else name
        for prefix, module in encoder.named_modules()
        for name in _list_weights(module)
    )


def base_name(name: str) -> str:
    """Return the name that a tensor of an adapted model had before :func:`add_lora`."""
    return re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name)


def _list_weights(module: nn.Module) -> Iterator[str]:
    """Yield the names of a module's own weights that can be updated."""
    if isinstance(module, MATRICES):
        yield "weight"
    elif isinstance(module, nn.RNNBase):
        yield from (name for name, _ in module.named_parameters() if name.startswith("weight_"))
    elif isinstance(module, nn.MultiheadAttention):
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        yield from (name for name in names if getattr(module, name) is not None)


def _forget_weights(module: nn.RNNBase, arguments: object, output: object) -> None:
    """Let a recurrent layer forget the weights that it has used.

    It keeps a list of them to notice changes. Updated weights are computed again in each pass, so
    the list would keep the graph of a step alive, and could not be deep-copied.
    """
    # It keeps references to the weights that the hook's pass computed, graph included.
    module._flat_weights = [None for _ in module._flat_weights]


class Lora(AdapterMethod):
    """A :class:`LowRankUpdate` of every weight matrix and kernel.

    The default. Use it when few parameters per target should be trained and stored, or when the
    target has too few rows to fine-tune the whole encoder.

    Args:
        rank: Bound of the updates' rank.
        alpha: Scale of the updates.
    """

    def __init__(self, *, rank: int = 8, alpha: float = 16.0) -> None:
        self.rank, self.alpha = rank, alpha

    def find_places(self, encoder: nn.Module) -> tuple[str, ...]:
        """Return the names of the weights."""
        return find_matrices(encoder)

    def add_to(self, encoder: nn.Module) -> None:
        """Add the updates; see :func:`add_lora`."""
        add_lora(encoder, rank=self.rank, alpha=self.alpha)
