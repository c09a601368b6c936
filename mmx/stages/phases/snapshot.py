"""Copy some tensors just before training, for a phase after it."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from mmx.model import MultimodalModel
from mmx.stages.phases.base import Notes, StageState
from mmx.transfer.phases import Snapshot


def snapshot(phase: Snapshot, state: StageState) -> Notes:
    """Put copies of the tensors that the phase names into the state."""
    state.snapshot = copy_tensors(state.model, phase.names)
    return ()


def copy_tensors(model: MultimodalModel, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Return copies of a model's tensors, of all by default."""
    state = model.state_dict()
    wanted = state if names is None else sorted(names)
    return {name: state[name].detach().clone() for name in wanted}
