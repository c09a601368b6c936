"""Published weights in the place of a trained source: nothing is trained, 0 seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.errors import MmxError, TransferError
from mmx.experiment.meta_encoders import make_meta_encoder
from mmx.experiment.publishing import class_and_options
from mmx.modalities import Spec
from mmx.model import MultimodalModel, NoFusion, Parts
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context, Opened, Specs
from mmx.stages.core.kept_encoders import EncoderRecipe, find_kept
from mmx.stages.core.published_values import PublishedValues, UnreadValues
from mmx.stages.core.stage import GivenSource
from mmx.transfer import EncoderRate, Source
from mmx.transfer.copying import copy_fitting
from mmx.transfer.parameter import Parameter

MakeEncoder = Callable[..., Encoder]
START = Parameter(fusion="encoders_alone", min_copied=0.0)
"""How a source task starts from published weights: as a target does, encoders alone."""

FAST, USUAL = 1e-3, 1e-4
"""Learning rate of an adaptive optimiser from which transformers are noted, and a usual one."""


def load_published(
    context: Context, opened: Opened, role: Role, *, may_wait: bool = False
) -> GivenSource | None:
    """Return what published weights give to the encoders of a role; None where they give nothing.

    Args:
        context: Of the run.
        opened: The task whose encoders start from them.
        role: Of the task.
        may_wait: Whether tensors may be read when an encoder runs, if it does.

    Raises:
        TransferError: A file is absent or unreadable, or of another architecture.
    """
    weights = context.experiment.start.of(role)
    if not weights:
        return None
    encoders = {name: context.experiment.encoders[name] for name in sorted(weights)}
    specs = {name: opened.specs[name] for name in encoders}
    values: dict[str, PublishedValues] = {}
    for name, published in weights.items():
        try:
            recipe = EncoderRecipe(name, encoders[name], specs[name], published)
            kept = find_kept(context, recipe) if may_wait else None
            values[name] = recipe.read() if kept is None else kept
        except MmxError as error:
            raise TransferError(f"encoder.{name}: {error.message}", tip=error.tip) from error
        if said := values[name].said:
            context.note(StageId(role), f"{name}: {said}")
        context.note(StageId(role), f"{name} starts from {published.describe()}")
    source = Source(
        {
            f"encoders.{name}.{key}": value
            for name, each in values.items()
            for key, value in each.tensors.items()
        },
        (),
    )
    for name, each in values.items():
        if isinstance(each, UnreadValues):
            each.when_read.append(partial(_fill, source.state, name))
    return GivenSource(
        source,
        partial(_make_model, specs, encoders, source),
        published=dict(weights),
        values=values,
    )


def _fill(state: dict[str, Tensor], name: str, tensors: dict[str, Tensor]) -> None:
    state.update({f"encoders.{name}.{key}": value for key, value in tensors.items()})


def _make_model(specs: Specs, encoders: dict[str, MakeEncoder], source: Source) -> MultimodalModel:
    """Return a model of the encoders that hold published values alone, for regularisers."""
    with torch.random.fork_rng(devices=[]):  # what a stage draws does not depend on who reads it
        model = MultimodalModel(specs, encoders, NoFusion, 0, Parts())
    fresh = copy_fitting(source, model, (), {}).fresh
    partly = {name.split(".")[1] for name in fresh if name.startswith("encoders.")}
    whole = {name: part for name, part in model.encoders.items() if name not in partly}
    model.encoders = nn.ModuleDict(whole)
    return model


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
        found.extend(_note_rate(context, name, given, start.role))
    return found


def _note_rate(context: Context, name: str, spec: Spec, role: Role) -> Iterator[str]:
    """Yield a note if a transformer is trained so fast that it may forget what it has learned."""
    experiment = context.experiment
    optimizer = experiment.optimizer
    own = experiment.transfer.encoder_rate if role is Role.TARGET else EncoderRate(1.0)
    if own is None or not optimizer.is_adaptive:
        return
    rate = optimizer.lr * own.factor
    encoder = make_meta_encoder(experiment.encoders[name], spec)
    if rate < FAST or not any(isinstance(part, nn.LayerNorm) for part in encoder.modules()):
        return
    slower = f", or {own.key}={USUAL / optimizer.lr:.2g}" if own.key else ""
    yield (
        f"{name}: published transformers are fine-tuned at a learning rate of about {USUAL:g}, and "
        f"this one trains at {rate:g}, at which it may forget: optimizer.lr={USUAL:g}{slower}"
    )
