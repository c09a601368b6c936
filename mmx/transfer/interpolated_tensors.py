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

    On the line is what came from the source and moves, and a head that was fitted before
    training. What was drawn anew is not, in part or whole: its starting point is noise.
    Neither are integers.

    Args:
        model: At its starting point.
        done: Where its tensors come from.
        frozen: Names of tensors that stay as they are.
        classes: How many the target has.
        probed: Whether the linear head is fitted before training.

    Raises:
        TransferError: Nothing is on the line.
    """
    state = model.state_dict()
    parts: set[str] = set()  # of heads that keep some classes; the rows of others are noise
    if len(done.classes) < classes:
        parts = {*done.adapted} & {*getattr(model, "label_tensors", ())}
    line = {*done.copied, *done.adapted}.difference(frozen, parts)
    line |= {*LINEAR_HEAD} if probed else set()
    line = {name for name in line if state[name].is_floating_point()}
    if not line:
        raise TransferError(
            "transfer.wise_ft: nothing that trains came from the source",
            tip="transfer.wise_ft=none",
        )
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
    """Return phases and notes of a start some more of whose tensors turn out to stay frozen.

    Args:
        phases: Of the start; a snapshot among them names the tensors on the line.
        notes: Of the start's report.
        frozen: Names of tensors that stay as they are.
    """
    before = {name for phase in phases if isinstance(phase, Snapshot) for name in phase.names}
    if before and before <= set(frozen):
        notes = tuple(note for note in notes if not note.startswith("wise_ft: "))  # of that line
        notes += ("wise_ft: nothing that trains came from the source: there is no line",)
    return tuple(
        Snapshot(phase.names.difference(frozen)) if isinstance(phase, Snapshot) else phase
        for phase in phases
    ), notes
