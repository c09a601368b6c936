"""Feature maps of an encoder: finding and recording them, and setting channels to zero.

Shape legend: ``n`` rows, ``C`` channels, ``P`` positions of a map, ``G`` groups of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.modalities import Features

MapOutput = Tensor | Features
"""What a stage returns: ``(n, C, …)``, or tokens ``(n, T, C)``, or an encoder's features."""

STAGES = ("stages", "layers", "norms")
"""Names of the attribute in which an encoder lists the modules that output its maps."""


@dataclass(frozen=True)
class Map:
    """A stage's output as channels and positions.

    Attributes:
        values: ``(n, C, P)``.
        valid: ``(n, P)`` bool, False at padding; None if there is no padding.
    """

    values: Tensor
    valid: Tensor | None

    def mean(self, each: Tensor) -> Tensor:
        """Return the ``(n, C)`` mean of ``each`` ``(n, C, P)`` over the valid positions."""
        if self.valid is None:
            return each.mean(2)
        where = self.valid[:, None]  # (n, 1, P)
        # Filled, not multiplied: padding may hold values that are not finite.
        # where.sum(2) is (n, 1): valid positions of each row, alike for all channels.
        return each.masked_fill(~where, 0.0).sum(2) / where.sum(2)


def find_stages(encoder: nn.Module) -> tuple[nn.Module, ...]:
    """Return the modules that output an encoder's feature maps, from early to late.

    They are those of its list ``stages``, ``layers`` or ``norms``; for a vision transformer, the
    layers after which it exposes a level. An encoder with none of these stands for itself: its
    pooled features are a map of one position.
    """
    exposed = getattr(encoder, "exposed", None)
    if exposed is not None:
        layers = encoder.get_submodule("net.encoder.layers")
        every = list(layers.children())
        return tuple(every[number - 1] for number in exposed)  # layers are counted from 1
    for name in STAGES:
        found = getattr(encoder, name, None)
        if isinstance(found, nn.ModuleList):
            return tuple(found)
    return (encoder,)


def to_map(output: MapOutput, given: tuple[object, ...]) -> Map:
    """Return a stage's output as a map.

    Args:
        output: The output.
        given: The arguments of the stage. A second tensor ``(n, T)`` of bool says which time
            steps are not padding; each stands for k steps of an output ``(n, C, k·T, F)``.
    """
    if isinstance(output, Features):
        # one position: the pooled vector as a map of size 1
        return Map(output.pooled[:, :, None], None)
    mask = given[1] if len(given) > 1 else None
    valid = None
    if isinstance(mask, Tensor):
        # The map may have k positions for each time step of the mask.
        steps = mask.repeat_interleave(output.shape[2] // mask.shape[1], dim=1)
        # Every frequency of a time step: (n, k·T) → (n, k·T, F) → (n, P), P = k·T·F.
        valid = steps[:, :, None].expand(-1, -1, output.shape[3]).flatten(1)
    # (n, T, C) or (n, C, …) → (n, C, …) → (n, C, P), positions flattened.
    values = output.movedim(find_channel_axis(output), 1)
    return Map(values.reshape(*values.shape[:2], -1), valid)


class MapRecorder:
    """Records the maps of the last forward pass of an encoder that was run with gradients.

    Args:
        encoder: Its passes are recorded from now on.
        always: Whether passes without gradients count as well.
    """

    def __init__(self, encoder: nn.Module, *, always: bool = False) -> None:
        self.always = always
        self._maps: dict[int, Map] = {}
        self._handles = [
            stage.register_forward_hook(partial(self._record, index))
            for index, stage in enumerate(find_stages(encoder))
        ]

    def take(self) -> list[Map]:
        """Return the maps, from early to late, and forget them; none if no pass was recorded."""
        # Taken and replaced at once: maps of an earlier pass are never returned again.
        maps, self._maps = self._maps, {}
        return [maps[index] for index in sorted(maps)]

    def close(self) -> None:
        """Stop recording."""
        for handle in self._handles:
            handle.remove()

    def _record(
        self, index: int, _: nn.Module, given: tuple[object, ...], output: MapOutput
    ) -> None:
        # Passes without gradients are those of validation between two steps: not the step's maps.
        if self.always or torch.is_grad_enabled():
            self._maps[index] = to_map(output, given)


def compute_maps(encoder: nn.Module, x: Tensor, lengths: Tensor | None) -> list[Map]:
    """Return the maps of an encoder for its input ``(n, …)``, without gradient."""
    recorder = MapRecorder(encoder, always=True)
    try:
        with torch.no_grad():
            encoder(x, lengths)
    finally:
        recorder.close()
    return recorder.take()


@contextmanager
def record_outputs(encoder: nn.Module) -> Iterator[list[MapOutput]]:
    """Yield a list to which each stage appends its output when it runs."""
    kept: list[MapOutput] = []
    handles = [
        stage.register_forward_hook(lambda module, given, output: kept.append(output))
        for stage in find_stages(encoder)
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replay_outputs(modules: Sequence[nn.Module], outputs: Sequence[MapOutput]) -> Iterator[None]:
    """Let modules return given outputs whatever their input is, and compute nothing."""
    for module, output in zip(modules, outputs, strict=True):
        # On the instance, where it takes precedence over the class's method. The default argument
        # binds each module's own output.
        vars(module)["forward"] = lambda *given, output=output: output
    try:
        yield
    finally:
        for module in modules:
            del vars(module)["forward"]  # the class's own method again


def repeat_rows(output: MapOutput, groups: int) -> MapOutput:
    """Return an output of ``n`` rows repeated ``groups`` times, group by group, ``(G·n, …)``."""
    if isinstance(output, Features):
        return output.map(lambda x: _repeat(x, groups))
    return _repeat(output, groups)


def zero_channels(output: MapOutput, channels: Tensor) -> MapOutput:
    """Return an output once for each of ``channels``, with that channel set to zero.

    Args:
        output: Of ``n`` rows.
        channels: ``(G,)`` channel numbers.

    Returns:
        ``(G·n, …)``, group by group.
    """
    if isinstance(output, Features):
        every = output.map(lambda x: _repeat(x, len(channels)))
        pooled = _without_channels(output.pooled, channels)
        return Features(every.tokens, every.mask, pooled, every.levels)
    return _without_channels(output, channels)


def find_channel_axis(output: Tensor) -> int:
    """Return the axis of an output's channels: the last one for tokens, else the second."""
    return 2 if output.ndim == 3 else 1


def _repeat(x: Tensor, groups: int) -> Tensor:
    return x.repeat(groups, *[1] * (x.ndim - 1))


def _without_channels(x: Tensor, channels: Tensor) -> Tensor:
    axis, groups = find_channel_axis(x), len(channels)
    gone = F.one_hot(channels, x.shape[axis]).bool().repeat_interleave(len(x), 0)  # (G·n, C)
    shape = [groups * len(x)] + [1] * (x.ndim - 1)
    shape[axis] = x.shape[axis]  # (G·n, 1, …, C, …, 1), broadcast over the positions
    return _repeat(x, groups).masked_fill(gone.view(shape), 0.0)
