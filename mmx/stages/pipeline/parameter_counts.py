"""How many parameters a model has, trains, and shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain

from torch import nn

from mmx.model import MultimodalModel
from mmx.runs.summary import ParameterCounts
from mmx.stages.core.reload import OF_TRAINING


def count_parameters(model: MultimodalModel) -> ParameterCounts:
    """Return how many parameters a model has, trains, and shares.

    ``shared`` counts those used by several modalities or by both tasks.
    """
    # named_parameters lists a shared parameter once, under its first name.
    own = [p for n, p in model.named_parameters() if not n.startswith(OF_TRAINING)]
    several = _find_shared_parameters(model)
    return ParameterCounts(
        total=sum(p.numel() for p in own),
        trainable=sum(p.numel() for p in own if p.requires_grad),
        fusion=sum(p.numel() for p in [*model.fusion.parameters(), *model.head.parameters()]),
        shared=sum(p.numel() for p in own if id(p) in several),
    )


def _find_shared_parameters(model: MultimodalModel) -> set[int]:
    """Return the ids of the parameters used by several modalities or by both tasks."""
    several: set[int] = set()
    if model.companion is not None:
        several |= _ids(model.companion.parameters())
    if model.trunk is not None and model.trunk.one and len(model.encoders) > 1:
        several |= _ids(model.trunk.layers.parameters())
    encoders = [_ids(encoder.parameters()) for encoder in model.encoders.values()]
    several |= {one for one, count in Counter(chain(*encoders)).items() if count > 1}
    if isinstance(heads := getattr(model.fusion, "heads", None), nn.ModuleDict):
        used = [_ids(head.parameters()) for head in heads.values()]
        several |= used[0] if len(used) > 1 and used[0] == used[1] else set()
    return several


def _ids(parameters: Iterable[nn.Parameter]) -> set[int]:
    return {id(parameter) for parameter in parameters}
