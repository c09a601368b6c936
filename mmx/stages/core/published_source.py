"""Published weights in the place of a trained source: nothing is trained, 0 seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.encoders.peft_adapter import merge_adapter
from mmx.errors import MmxError, TransferError
from mmx.experiment.publishing import class_and_options
from mmx.model import MultimodalModel, NoFusion, Parts
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context, Opened, Specs
from mmx.stages.core.stage import GivenSource
from mmx.transfer import Source
from mmx.transfer.copying import copy_fitting
from mmx.transfer.parameter import Parameter

START = Parameter(fusion="encoders_alone", min_copied=0.0)
"""How a source task starts from published weights: as a target does, encoders alone."""


def load_published(context: Context, opened: Opened, role: Role) -> GivenSource | None:
    """Return what published weights give to the encoders of a role; None where they give nothing.

    Args:
        context: Of the run.
        opened: The task whose encoders start from them.
        role: Of the task.

    Raises:
        TransferError: A file is absent or unreadable, or of another architecture.
    """
    weights = context.experiment.start.of(role)
    if not weights:
        return None
    encoders = {name: context.experiment.encoders[name] for name in sorted(weights)}
    specs = {name: opened.specs[name] for name in encoders}
    model = MultimodalModel(specs, encoders, NoFusion, 0, Parts())
    state: dict[str, Tensor] = {}
    for name, published in weights.items():
        try:
            encoder = cast(Encoder, model.encoders[name])
            tensors = encoder.read_published(published)
            if published.adapter:
                tensors, said = merge_adapter(encoder, tensors, published)
                context.note(StageId(role), f"{name}: {said}")
        except MmxError as error:
            raise TransferError(f"encoder.{name}: {error.message}", tip=error.tip) from error
        state |= {f"encoders.{name}.{key}": value for key, value in tensors.items()}
        context.note(StageId(role), f"{name} starts from {published.describe()}")
    source = Source(state, ())
    copied = copy_fitting(source, model, (), {})
    _keep_whole_encoders(model, copied.fresh)
    return GivenSource(source, model, published=dict(weights))


def _keep_whole_encoders(model: MultimodalModel, fresh: tuple[str, ...]) -> None:
    """Leave only those encoders that hold published values alone, to compare a target with."""
    partly = {name.split(".")[1] for name in fresh if name.startswith("encoders.")}
    whole = {name: part for name, part in model.encoders.items() if name not in partly}
    model.encoders = nn.ModuleDict(whole)


def describe_published(context: Context, specs: Mapping[Role, Specs]) -> list[str]:
    """Return what a reader should know of the published weights that a run starts from.

    Args:
        context: Of the run.
        specs: How the inputs of each role are read.
    """
    start = context.experiment.start
    if start.role is None:
        return []
    found = [
        f"{name}: the {start.role}'s encoder starts from {each.describe()}, {each.origin}; what "
        "their pre-training has cost is not counted"
        for name, each in start.weights.items()
    ]
    for name in start.weights:
        kind, options = class_and_options(context.experiment.encoders[name])
        given = specs[start.role][name]
        found.extend(f"{name}: {each}" for each in kind.describe_deviations(given, **options))
    return found
