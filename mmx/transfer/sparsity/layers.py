"""The layers of an encoder that a sparsity pattern is laid over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
GATES = {"LSTM": 4, "GRU": 3}


@dataclass(frozen=True)
class Layer:
    """A layer's tensors by name.

    Attributes:
        weights: Matrices and kernels, ``(gates · C, …)`` each; one for all but recurrent layers.
        per_output: What else belongs to the same C outputs: bias, scale and shift of the norm.
        gates: Rows of each output, one after the other; 1 for all but recurrent layers.
    """

    weights: tuple[str, ...]
    per_output: tuple[str, ...] = ()
    gates: int = 1


def find_layers(encoder: nn.Module, prefix: str) -> list[Layer]:
    """Return the layers of an encoder whose weights may be sparse, from input to output.

    These are linear layers, convolutions, recurrent layers (each direction and level for
    itself) and the projections of attention. Word vectors, positions, norms and biases stay
    dense: there are few of them, or each is read by itself. So does the first depth where
    there are several: its few weights read the input, and all else reads them.

    Args:
        encoder: May say ``depths()``, by which prefixes its tensors are named.
        prefix: Before each name: ``encoders.image.``.
    """
    depths: tuple[tuple[str, ...], ...] = getattr(encoder, "depths", lambda: (("",),))()
    modules = dict(encoder.named_modules())
    found: list[Layer] = []
    for starts in depths[1:] if len(depths) > 1 else depths:
        names = [name for start in starts for name in modules if f"{name}.".startswith(start)]
        found.extend(_of_depth({name: modules[name] for name in names}, modules, prefix))
    return found


def _of_depth(
    depth: dict[str, nn.Module], modules: dict[str, nn.Module], prefix: str
) -> list[Layer]:
    """Return the layers of one depth, each with the norm that its outputs go through."""
    found: list[Layer] = []
    last: tuple[str, int] | None = None  # name and width of a layer that has no norm yet
    for name, module in depth.items():
        path = f"{prefix}{name}." if name else prefix
        if isinstance(module, nn.Linear | _ConvNd):
            bias = (f"{path}bias",) if module.bias is not None else ()
            found.append(Layer((f"{path}weight",), bias))
            last = name, len(module.weight)
        elif isinstance(module, nn.RNNBase):
            found.extend(_recurrent(module, path))
        elif isinstance(module, nn.MultiheadAttention):
            found.extend(_attention(module, path))
        elif isinstance(module, NORMS) and last is not None and module.weight is not None:
            own = module.weight.shape == (last[1],)
            if own and (isinstance(module, _BatchNorm) or _in_a_row(last[0], name, modules)):
                affine = tuple(f"{path}{part}" for part, _ in module.named_parameters())
                found[-1] = replace(found[-1], per_output=(*found[-1].per_output, *affine))
                last = None
    return found


def _in_a_row(one: str, other: str, modules: dict[str, nn.Module]) -> bool:
    """Return whether two modules stand in one sequence: else a norm may read something else."""
    parent = one.rpartition(".")[0]
    return parent == other.rpartition(".")[0] and isinstance(modules[parent], nn.Sequential)


def _recurrent(module: nn.RNNBase, path: str) -> Iterator[Layer]:
    """Yield each level and direction of a recurrent layer."""
    names = [name for name, _ in module.named_parameters()]
    for name in names:
        if name.startswith("weight_ih_"):
            ending = name.removeprefix("weight_ih_")
            own = [f"{path}{each}" for each in names if each.endswith(f"h_{ending}")]
            weights = tuple(each for each in own if "weight_" in each)
            biases = tuple(each for each in own if "bias_" in each)
            yield Layer(weights, biases, gates=GATES.get(module.mode, 1))


def _attention(module: nn.MultiheadAttention, path: str) -> Iterator[Layer]:
    """Yield the projections of an attention; the last one is a linear layer within it."""
    if module.in_proj_weight is not None:
        bias = () if module.in_proj_bias is None else (f"{path}in_proj_bias",)
        yield Layer((f"{path}in_proj_weight",), bias)
    else:  # their biases are one tensor, which stays
        yield from (Layer((f"{path}{name}_proj_weight",)) for name in "qkv")
