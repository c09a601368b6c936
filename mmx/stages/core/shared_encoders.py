"""Encoders that stay as they were published: made once a process, and shared by its runs.

The runs of a sweep over heads, fusions and seeds draw the same frozen encoders again and again, and
overwrite what they have drawn by the published values. All that such a draw leaves behind is the
state of torch's generator, from which fusion and head are drawn. So a run gets a copy that shares
the tensors of the first one, and the generator is put where the draw would have left it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import nn

from mmx.encoders import Encoder
from mmx.modalities import Spec
from mmx.stages.core.published_values import PublishedValues, UnreadValues
from mmx.stages.core.stage import Stage
from mmx.training.drawn_words import can_skip_words, skip_words
from mmx.training.memory_format import use_channels_last

_VALUES: WeakKeyDictionary[nn.Module, PublishedValues] = WeakKeyDictionary()
"""Encoders whose tensors are shared, to what their values are."""


def share_frozen_encoders(
    stage: Stage, encoders: dict[str, Callable[..., Encoder]]
) -> dict[str, Callable[..., Encoder]]:
    """Return the recipes of a stage's encoders, such that those that never change are shared.

    Args:
        stage: About to be trained.
        encoders: Modality to ``make(spec)``.
    """
    values = stage.source.values if stage.source is not None else {}
    if not stage.transfer.keeps_encoders or stage.joint is not None:
        return encoders
    origins = stage.transfer.modality_map
    return {
        name: partial(_share, make, values[name])
        if name in values and origins.get(name, name) == name
        else make
        for name, make in encoders.items()
    }


def find_shared_values(encoder: nn.Module) -> PublishedValues | None:
    """Return the published values that an encoder shares with others; None where it shares none."""
    return _VALUES.get(encoder)


def _share(make: Callable[..., Encoder], values: PublishedValues, spec: Spec) -> Encoder:
    """Return an encoder with published values, and leave the generator as drawing one does.

    One that the values do not fill is drawn as ever, and one whose values are not read yet is made
    when they are needed.
    """
    if isinstance(values, UnreadValues):
        return _wait(make, values, spec)
    before = torch.get_rng_state()
    key, kept = before.numpy().tobytes(), values.drawn
    # Where a draw leaves the generator depends on where it found it: drawn once for each.
    if values.encoder is None or key not in kept:
        drawn = make(spec)
        kept[key] = torch.get_rng_state()
        if values.encoder is None:
            own = drawn.state_dict()
            if not all(n in values.tensors and _fits(own[n], values.tensors[n]) for n in own):
                return drawn
            # assign: it holds the published tensors themselves, and no copy of them.
            drawn.load_state_dict({name: values.tensors[name] for name in own}, assign=True)
            values.encoder = use_channels_last(drawn)
    torch.set_rng_state(kept[key])
    found = _copy(values.encoder)
    _VALUES[found] = values
    return found


def _wait(make: Callable[..., Encoder], values: UnreadValues, spec: Spec) -> Encoder:
    """Return an encoder that is made when it is needed; leave the generator as a draw does."""

    def make_real(read: PublishedValues) -> Encoder:
        with torch.random.fork_rng(devices=[]):
            return _share(make, read, spec)

    if can_skip_words():
        skip_words(values.facts["words"])
    else:
        make(spec)
    found = values.make_encoder(make_real)
    _VALUES[found] = values
    return found


def _fits(own: torch.Tensor, value: torch.Tensor) -> bool:
    return own.shape == value.shape and own.dtype == value.dtype


def _copy(encoder: Encoder) -> Encoder:
    """Return a copy with modules and parameters of its own, whose tensors are those of the first.

    A parameter's gradient and whether it asks for one are thus its own.
    """
    shared: dict[int, object] = {
        id(each): nn.Parameter(each.detach(), requires_grad=each.requires_grad)
        for each in encoder.parameters()
    }
    shared |= {id(each): each for each in encoder.buffers()}
    return copy.deepcopy(encoder, shared)
