"""WiSE-FT: which tensors lie on the line from the starting weights to the trained ones."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from mmx.errors import TransferError
from mmx.transfer.copying import Copied
from mmx.transfer.phases import Phase, Snapshot

LINEAR_HEAD = ("head.weight", "head.bias")


def find_interpolated(
    model: nn.Module, done: Copied, frozen: Collection[str], classes: int, *, probed: bool
) -> tuple[set[str], tuple[str, ...]]:
    """Return the names of the tensors that are interpolated, and notes on those that are not.

    On the line are tensors from the source that train, and a head that was fitted before
    training. Tensors that are fresh, even in part, are not: their starting point is noise.
    Integers are not interpolated either.

    Args:
        model: At its starting point.
        done: Where its tensors come from.
        frozen: Names of tensors that do not change.
        classes: How many classes the target has.
        probed: Whether the linear head is fitted before training.

    Raises:
        TransferError: No tensor is on the line.
    """
    state = model.state_dict()
    # Heads that take the rows of some classes only; those of the other classes are noise.
    parts: set[str] = set()
    if len(done.classes) < classes:
        parts = {*done.adapted} & {*getattr(model, "label_tensors", ())}
    line = {*done.copied, *done.adapted}.difference(frozen, parts)
    line |= {*LINEAR_HEAD} if probed else set()
    # Counters of batch norms are integers: half a batch has no meaning.
    line = {name for name in line if state[name].is_floating_point()}
    if not line:
        raise TransferError(
            "transfer.wise_ft: nothing that trains came from the source",
            tip="transfer.wise_ft=none",
        )
    # A criterion's parameters serve training alone, and are no part of the predictions.
    own = {name for name, _ in model.named_parameters() if not name.startswith("criterion.")}
    off_line = sorted(({*done.fresh} | parts) & own - line)
    if not off_line:
        return line, ()
    return line, (
        f"wise_ft: {len(off_line)} tensor{'' if len(off_line) == 1 else 's'} ({off_line[0]}, …) "
        "stay as trained all along the line: they started as noise"
        + ("" if probed else "; with transfer.lp_ft=true the head lies on it too"),
    )


def shorten_line(
    phases: tuple[Phase, ...], notes: tuple[str, ...], frozen: Collection[str]
) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """Return the phases and notes of a start after more of its tensors turned out to be frozen.

    Args:
        phases: The start's phases; a snapshot among them names the tensors on the line.
        notes: The notes of the start's report.
        frozen: Names of tensors that do not change.
    """
    before = {name for phase in phases if isinstance(phase, Snapshot) for name in phase.names}
    if before and before <= set(frozen):
        # Notes on tensors off the line are obsolete: there is no line any more.
        notes = tuple(note for note in notes if not note.startswith("wise_ft: "))
        notes += ("wise_ft: nothing that trains came from the source: there is no line",)
    return tuple(
        Snapshot(phase.names.difference(frozen)) if isinstance(phase, Snapshot) else phase
        for phase in phases
    ), notes
