"""The training state of a stage under way: the last one saved, and the one before it.

    last.safetensors      the newest
    previous.safetensors  the one before: used if the newest is damaged

A new state is written completely before the others are renamed, so that at any moment at least
one of them is complete, even if the process is killed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mmx.errors import DamagedFileError
from mmx.json_object import Json
from mmx.training import checkpoint


@dataclass(frozen=True)
class State:
    """A state that was read.

    Attributes:
        path: The file.
        tensors: By name, on the CPU.
        facts: Everything else; ``progress`` counts ``epochs`` and ``step``.
    """

    path: Path
    tensors: dict[str, Tensor]
    facts: Json


def previous(path: Path) -> Path:
    """Return where the state before the last is kept."""
    return path.with_name(f"previous{path.suffix}")


def has_state(path: Path) -> bool:
    """Return whether a state was saved, damaged or not."""
    return path.exists() or previous(path).exists()


def save(path: Path, tensors: dict[str, Tensor], facts: Json) -> None:
    """Write a state; the last one becomes the one before."""
    checkpoint.write_checkpoint(path, tensors, facts, before=previous(path))


def resume(path: Path, load: Callable[[State], None]) -> list[str]:
    """Load the newest undamaged state, remove damaged ones, and return warnings about them.

    Args:
        path: Where the last state is.
        load: Loads a state, or raises DamagedFileError and changes nothing.
    """
    taken: State | None = None
    damaged: dict[Path, str] = {}
    for each in _find_saved(path):
        try:
            if taken is None:
                found = State(each, *checkpoint.read_checkpoint(each))
                _progress(found.facts, each)
                load(found)
                taken = found
            else:
                # The next save replaces the older state; until then, damage of it is reported.
                checkpoint.read_facts(each)
        except DamagedFileError as error:
            damaged[each] = error.message
    return [_remove_damaged(each, why, taken) for each, why in damaged.items()]


def _remove_damaged(path: Path, why: str, taken: State | None) -> str:
    """Remove a damaged state, so that the next save does not keep it, and return a warning."""
    path.unlink()
    then = "the stage starts over"
    if taken is not None:
        progress = taken.facts["progress"]
        then = f"going on from {taken.path.name}, epoch {progress['epochs'] + 1}"
        then += f", step {progress['step']}"
    return f"WARNING: the checkpoint {path.name} is damaged: {then} ({why})"


def count_epochs(path: Path) -> int:
    """Return how many epochs were validated in the state from which training would resume."""
    for each in _find_saved(path):
        with contextlib.suppress(DamagedFileError):
            return int(_progress(checkpoint.read_facts(each), each)["epochs"])
    return 0


def remove_states(path: Path) -> None:
    """Remove all states of a stage."""
    previous(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _find_saved(path: Path) -> list[Path]:
    return [each for each in (path, previous(path)) if each.exists()]


def _progress(facts: Json, path: Path) -> Json:
    progress = facts.get("progress")
    if not isinstance(progress, dict) or not all(
        isinstance(progress.get(name), int) for name in ("epochs", "step")
    ):
        raise DamagedFileError(f"{path} is no training state")
    return progress
