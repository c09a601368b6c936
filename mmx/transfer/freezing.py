"""Freezing: by pattern, by depth, or until the epoch in which a depth thaws."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import nn

from mmx.errors import TransferError, closest
from mmx.transfer.base import Start
from mmx.transfer.depths import Depths, count_depths
from mmx.transfer.interpolated_tensors import shorten_line
from mmx.transfer.norms import find_frozen_buffers

PATTERNS = "patterns look like encoders.image.* or fusion.*"


def match_patterns(
    patterns: Sequence[str], names: Sequence[str], from_source: Collection[str]
) -> set[str]:
    """Return the names of the tensors from the source that match a pattern.

    Args:
        patterns: Shell-style patterns, such as ``encoders.image.*``.
        names: Names of the model's tensors.
        from_source: Names of those that came from the source.

    Raises:
        TransferError: A pattern matches no tensor, or only fresh ones.
    """
    frozen: set[str] = set()
    for pattern in patterns:
        # Not fnmatch, which ignores case on some systems.
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            near = closest(pattern, names)
            raise TransferError(
                f"transfer.freeze={pattern} matches no tensor of the model"
                + (f"; the closest is {near}" if near else ""),
                tip=PATTERNS,
            )
        if not found & set(from_source):
            raise TransferError(
                f"transfer.freeze={pattern} would freeze fresh weights only",
                tip="freeze what the source gave: " + ", ".join(sorted(from_source)[:3]) + ", …",
            )
        frozen |= found & set(from_source)
    return frozen


def plan_thawing(depths: Depths, waiting: Collection[str], every: int) -> dict[str, int]:
    """Return the epoch, counted from 0, from which each waiting parameter trains.

    In each encoder, the topmost depth with waiting parameters thaws in epoch ``every``, the
    next one in epoch ``2 · every``, and so on (Howard and Ruder 2018, arXiv 1801.06146).

    Args:
        depths: Modality to the tensors of its encoder at each depth, from the input on.
        waiting: Names of the parameters that thaw.
        every: Epochs between two depths.
    """
    found: dict[str, int] = {}
    for layers in depths.values():
        due = 0
        # The topmost depth thaws first, as in ULMFiT.
        for names in reversed(layers):
            own = [name for name in names if name in waiting]
            if own:  # a depth with nothing to thaw costs no epochs
                due += every
                found.update(dict.fromkeys(own, due))
    return found


def limit_epochs(start: Start, model: nn.Module, epochs: int) -> Start:
    """Return the start for a training of ``epochs`` epochs: what never thaws in it is frozen.

    Args:
        start: Start of a target.
        model: The target model.
        epochs: Epochs of its training.
    """
    never = {name for name, first in start.thaw.items() if first >= epochs}
    if not never:
        return start
    frozen, report = start.frozen | never, start.report
    # A module that never trains stays in evaluation mode, statistics included.
    stopped = never | find_frozen_buffers(model, frozen)
    # The report lists as frozen only what came from the source.
    kept = {*report.frozen, *(stopped & start.shared)}
    notes = (*report.notes, _describe_never_thawing(start, epochs))
    phases, notes = shorten_line(start.phases, notes, kept)
    return replace(
        start,
        report=replace(
            report,
            copied=tuple(name for name in report.copied if name not in kept),
            adapted=tuple(name for name in report.adapted if name not in kept),
            frozen=tuple(sorted(kept)),
            notes=notes,
        ),
        frozen=frozen,
        frozen_encoders=find_frozen_encoders(list(model.state_dict()), kept),
        rates={name: rate for name, rate in start.rates.items() if name not in never},
        thaw={name: first for name, first in start.thaw.items() if name not in never},
        phases=phases,
    )


def _describe_never_thawing(start: Start, epochs: int) -> str:
    """Return a note on the depths that never thaw, and what to type to thaw them."""
    due = sorted(set(start.thaw.values()))
    late = sum(first >= epochs for first in due)
    # The last of n depths thaws in epoch n · every, counted from 0, which has to be at most
    # epochs − 1; with fewer epochs than depths, more epochs are the only way.
    fits = (epochs - 1) // len(due)
    thaws = f"transfer.unfreeze_every={fits}" if fits else f"trainer.epochs={due[-1] + 1}"
    return (
        f"gradual unfreezing: {late} of {count_depths(len(due))} never thaw in {epochs} "
        f"epoch{'' if epochs == 1 else 's'}; {thaws} thaws all"
    )


def find_frozen_encoders(names: Collection[str], frozen: Collection[str]) -> frozenset[str]:
    """Return the modalities with an encoder in which every tensor is frozen."""
    tensors: dict[str, list[str]] = {}
    for name in names:
        if name.startswith("encoders."):
            tensors.setdefault(name.split(".")[1], []).append(name)
    return frozenset(key for key, own in tensors.items() if all(name in frozen for name in own))
