"""Depths of networks whose layers stand in one long list, whatever they are called there."""

from __future__ import annotations

from torch import nn

from mmx.errors import DataError


def group_layers(net: nn.Module, prefix: str) -> tuple[tuple[str, ...], ...]:
    """Return by which names the tensors of each depth start: input, each layer, what follows.

    The layers are the longest ``ModuleList``; of several equally long, that with most
    parameters. What is registered before them is the input's depth, what after them the last, as
    is the norm that wav2vec2 and its like register before their layers and run after them.

    Args:
        net: The network.
        prefix: What its tensors' names start with in the encoder, such as ``net.``.

    Raises:
        DataError: The network has no list of layers.
    """
    where = find_layer_list(net)
    late = _find_late_norm(net, where)
    layers: dict[str, None] = {}
    before: list[str] = []
    after: list[str] = []
    for name in net.state_dict():
        if name.startswith(f"{where}."):
            layers[".".join(name.split(".")[: where.count(".") + 2])] = None
        else:
            runs_later = bool(layers) or (late is not None and name.startswith(late))
            (after if runs_later else before).append(f"{prefix}{name}")
    found = [tuple(before), *((f"{prefix}{layer}.",) for layer in layers), tuple(after)]
    return tuple(depth for depth in found if depth)


def _find_late_norm(net: nn.Module, layers: str) -> str | None:
    """Return what the names of a norm start with that is registered too early; None: none is."""
    if not getattr(getattr(net, "config", None), "do_stable_layer_norm", False):
        return None
    return f"{layers.rpartition('.')[0]}.layer_norm."


def find_layer_list(net: nn.Module) -> str:
    """Return the name of a network's list of layers.

    Raises:
        DataError: There is none.
    """
    lists: list[tuple[str, nn.ModuleList]] = [
        (name, part) for name, part in net.named_modules() if isinstance(part, nn.ModuleList)
    ]
    if not lists:
        raise DataError(f"{type(net).__name__} has no list of layers to count depths in")

    def size(item: tuple[str, nn.ModuleList]) -> tuple[int, int]:
        return len(item[1]), sum(each.numel() for each in item[1].parameters())

    name, _ = max(lists, key=size)
    return name
