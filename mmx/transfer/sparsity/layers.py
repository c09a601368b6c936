"""The layers of an encoder that a sparsity pattern can prune."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mmx.transfer.norms import NORMS

GATES = {"LSTM": 4, "GRU": 3}


@dataclass(frozen=True)
class Layer:
    """Names of the tensors of a layer.

    Attributes:
        weights: Matrices and kernels, ``(gates · C, …)`` each. Recurrent layers have two, all
            others one.
        per_output: Other tensors of the same C outputs: bias, and scale and shift of the norm.
        gates: How many rows of a weight belong to each output; 1 except for recurrent layers.
    """

    weights: tuple[str, ...]
    per_output: tuple[str, ...] = ()
    gates: int = 1


def find_layers(encoder: nn.Module, prefix: str) -> list[Layer]:
    """Return the layers of an encoder that may be pruned, from input to output.

    These are linear layers, convolutions, recurrent layers (each direction and level separately)
    and the projections of attention. Word vectors, positions, norms and biases stay dense: they
    are few, or each is used on its own. The first of several depths stays dense too: it has few
    weights, and everything after it depends on them.

    Args:
        encoder: May have ``depths()``, which returns the prefixes of its tensors by depth.
        prefix: Put before each name: ``encoders.image.``.
    """
    depths: tuple[tuple[str, ...], ...] = getattr(encoder, "depths", lambda: (("",),))()
    modules = dict(encoder.named_modules())
    found: list[Layer] = []
    # The first depth reads the input and stays whole, unless it is the only one.
    for starts in depths[1:] if len(depths) > 1 else depths:
        names = [name for start in starts for name in modules if f"{name}.".startswith(start)]
        found.extend(
            _find_layers_of_depth({name: modules[name] for name in names}, modules, prefix)
        )
    return found


def _find_layers_of_depth(
    depth: dict[str, nn.Module], modules: dict[str, nn.Module], prefix: str
) -> list[Layer]:
    """Return the layers of one depth, each with the norm that its outputs pass through."""
    found: list[Layer] = []
    last: tuple[str, int] | None = None  # name and width of a layer that has no norm yet
    for name, module in depth.items():
        path = f"{prefix}{name}." if name else prefix
        if isinstance(module, nn.Linear | _ConvNd):
            bias = (f"{path}bias",) if module.bias is not None else ()
            found.append(Layer((f"{path}weight",), bias))
            last = name, len(module.weight)
        elif isinstance(module, nn.RNNBase):
            found.extend(_list_recurrent(module, path))
        elif isinstance(module, nn.MultiheadAttention):
            found.extend(_list_projections(module, path))
        elif isinstance(module, NORMS) and last is not None and module.weight is not None:
            # A batch norm normalises each output by itself, so it follows the layer of its width. A
            # layer norm mixes outputs: it counts only if it directly follows in one sequence.
            own = module.weight.shape == (last[1],)
            if own and (isinstance(module, _BatchNorm) or _share_sequence(last[0], name, modules)):
                affine = tuple(f"{path}{part}" for part, _ in module.named_parameters())
                found[-1] = replace(found[-1], per_output=(*found[-1].per_output, *affine))
                last = None
    return found


def _share_sequence(one: str, other: str, modules: dict[str, nn.Module]) -> bool:
    """Return whether two modules are in one Sequential: else a norm may read something else."""
    parent = one.rpartition(".")[0]
    return parent == other.rpartition(".")[0] and isinstance(modules[parent], nn.Sequential)


def _list_recurrent(module: nn.RNNBase, path: str) -> Iterator[Layer]:
    """Yield each level and direction of a recurrent layer."""
    names = [name for name, _ in module.named_parameters()]
    for name in names:
        if name.startswith("weight_ih_"):
            ending = name.removeprefix("weight_ih_")
            # weight_ih_…, weight_hh_…, bias_ih_… and bias_hh_… of this level and direction
            own = [f"{path}{each}" for each in names if each.endswith(f"h_{ending}")]
            weights = tuple(each for each in own if "weight_" in each)
            biases = tuple(each for each in own if "bias_" in each)
            yield Layer(weights, biases, gates=GATES.get(module.mode, 1))


def _list_projections(module: nn.MultiheadAttention, path: str) -> Iterator[Layer]:
    """Yield the input projections of an attention; its output projection is a linear layer."""
    if module.in_proj_weight is not None:
        bias = () if module.in_proj_bias is None else (f"{path}in_proj_bias",)
        yield Layer((f"{path}in_proj_weight",), bias)
    else:  # the three biases are one tensor, which is not pruned
        yield from (Layer((f"{path}{name}_proj_weight",)) for name in "qkv")
