"""What stays as it was copied: by pattern, by depth, or until its epoch comes."""

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
    """Return the tensors that patterns name, as far as they came from the source.

    Args:
        patterns: Shell-style, such as ``encoders.image.*``.
        names: Of the model's tensors.
        from_source: Of those that came from the source.

    Raises:
        TransferError: A pattern names no tensor, or fresh ones alone.
    """
    frozen: set[str] = set()
    for pattern in patterns:
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
    """Return the epoch, counted from 0, in which each waiting parameter begins to train.

    The topmost depth of each encoder that has one to thaw does so in epoch ``every``, the
    next in epoch ``2 · every``, and so on (Howard and Ruder 2018, arXiv 1801.06146).

    Args:
        depths: Modality to the tensors of its encoder at each depth, input first.
        waiting: Names of the parameters that thaw.
        every: Epochs between two depths.
    """
    found: dict[str, int] = {}
    for layers in depths.values():
        due = 0
        for names in reversed(layers):
            own = [name for name in names if name in waiting]
            if own:
                due += every
                found.update(dict.fromkeys(own, due))
    return found


def limit_epochs(start: Start, model: nn.Module, epochs: int) -> Start:
    """Return the start of a training of so many epochs: what never thaws in it is frozen.

    Args:
        start: Of a target.
        model: The target's.
        epochs: Of its training.
    """
    never = {name for name, first in start.thaw.items() if first >= epochs}
    if not never:
        return start
    frozen, report = start.frozen | never, start.report
    stopped = never | find_frozen_buffers(model, frozen)
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
    """Return which depths never thaw, and what would thaw them."""
    due = sorted(set(start.thaw.values()))
    late = sum(first >= epochs for first in due)
    fits = (epochs - 1) // len(due)
    thaws = f"transfer.unfreeze_every={fits}" if fits else f"trainer.epochs={due[-1] + 1}"
    return (
        f"gradual unfreezing: {late} of {count_depths(len(due))} never thaw in {epochs} "
        f"epoch{'' if epochs == 1 else 's'}; {thaws} thaws all"
    )


def find_frozen_encoders(names: Collection[str], frozen: Collection[str]) -> frozenset[str]:
    """Return the modalities all of whose encoder tensors are frozen."""
    tensors: dict[str, list[str]] = {}
    for name in names:
        if name.startswith("encoders."):
            tensors.setdefault(name.split(".")[1], []).append(name)
    return frozenset(key for key, own in tensors.items() if all(name in frozen for name in own))
