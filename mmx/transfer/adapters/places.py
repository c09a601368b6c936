"""Where in an encoder bottlenecks are placed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mmx.transfer.norms import NORMS


@dataclass(frozen=True)
class AdapterPlace:
    """Shape of a layer's output: how many ``features`` it has, and their ``axis``, 1 or -1."""

    features: int
    axis: int


def find_places(encoder: nn.Module) -> dict[str, AdapterPlace]:
    """Return the layers that a bottleneck follows, by name, in order of the encoder's depths.

    A bottleneck follows the last layer of each depth: its norm, if it ends in one, and within a
    residual block the layer before the sum. Parallel parts (the two directions of a recurrent
    network, convolutions of several lengths) have a last layer each. One follows every attention
    too, so that a transformer layer has two, as in Houlsby et al. A depth of norms alone has none.

    Args:
        encoder: May have ``depths()``, which returns the prefixes of its tensors by depth.
    """
    depths = getattr(encoder, "depths", lambda: (("",),))()
    found: dict[str, AdapterPlace] = {}
    for prefixes in depths:
        for part in _join_norms(_parts(encoder, prefixes)):
            chosen = [each for each in part if isinstance(each[1], nn.MultiheadAttention)]
            if not all(isinstance(module, NORMS) for _, module in part):
                chosen.append(part[-1])
            found.update((name, _place(module)) for name, module in chosen)
    return found


NamedLayer = tuple[str, nn.Module]


def _parts(encoder: nn.Module, prefixes: Iterable[str]) -> Iterator[list[NamedLayer]]:
    """Yield the layers of each part of a depth; a single tensor is not a part."""
    for prefix in prefixes:
        if prefix == "" or prefix.endswith("."):
            for name, module in _open_containers(
                prefix[:-1], encoder.get_submodule(prefix[:-1]), prefix
            ):
                if layers := list(_layers(name, module)):
                    yield layers


def _open_containers(name: str, module: nn.Module, prefix: str) -> Iterator[NamedLayer]:
    """Yield a module, or the children of a mere container: a list, or the encoder itself."""
    if prefix == "" or isinstance(module, nn.ModuleList | nn.ModuleDict):
        for key, child in module.named_children():
            inner = f"{name}.{key}" if name else key
            yield from _open_containers(inner, child, f"{inner}.")
    else:
        yield name, module


def _layers(name: str, module: nn.Module) -> Iterator[NamedLayer]:
    """Yield the layers of a module in order, by name."""
    if _width(module) is not None:
        yield name, module
        return  # an attention does not call its inner linear layer, so no hook would run
    for key, child in module.named_children():
        yield from _layers(f"{name}.{key}" if name else key, child)


def _join_norms(parts: Iterable[list[NamedLayer]]) -> list[list[NamedLayer]]:
    """Return the parts, each with the separate norms that follow it."""
    joined: list[list[NamedLayer]] = []
    for layers in parts:
        norms = all(isinstance(module, NORMS) for _, module in layers)
        # A norm listed as its own part belongs to the layer before it if the widths agree.
        if norms and joined and _width(joined[-1][-1][1]) == _width(layers[0][1]):
            joined[-1] += layers
        else:
            joined.append(layers)
    return joined


def _place(module: nn.Module) -> AdapterPlace:
    channels = isinstance(module, (_ConvNd, _BatchNorm, nn.GroupNorm))
    # channels are axis 1 of (B, C, …), features the last axis
    return AdapterPlace(_width(module) or 0, 1 if channels else -1)


def _width(module: nn.Module) -> int | None:
    """Return how many features a layer returns; None for a module that cannot be adapted."""
    match module:
        case nn.Linear():
            return module.out_features
        case _ConvNd():
            return module.out_channels
        case nn.Embedding():
            return int(module.embedding_dim)
        case nn.RNNBase():
            width = int(module.proj_size or module.hidden_size)
            return width * (2 if module.bidirectional else 1)  # both directions, concatenated
        case nn.MultiheadAttention():
            return int(module.embed_dim)
        case _BatchNorm():
            return module.num_features
        case nn.GroupNorm():
            return module.num_channels
        case nn.LayerNorm() | nn.RMSNorm():
            return int(module.normalized_shape[-1])
        case _:
            return None
