"""The artifacts that stages keep in the cache: trained stages, features, mappings, channel weights.

Each is one call of :func:`load_or_make`; :mod:`mmx.stages.core.cache_keys` says what each depends
on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from mmx.encoders.meta_encoder import MetaEncoder
from mmx.json_object import Json
from mmx.modalities import Features
from mmx.model import MultimodalModel
from mmx.processes import current_group
from mmx.stage_id import Role, StageId
from mmx.stages.core import cached_checks, event_log
from mmx.stages.core.cache_keys import (
    Inputs,
    add_code,
    describe_channel_weights,
    describe_features,
    describe_mapping,
)
from mmx.stages.core.context import Context, Opened
from mmx.stages.core.opened_data import extract_features
from mmx.training import checkpoint
from mmx.training.data import Data
from mmx.training.events import Event, EventKind, Listener
from mmx.training.frozen_features import is_pooled_token

T = TypeVar("T")
Facts = Json
Content = tuple[dict[str, Tensor], Facts]
"""Tensors and facts of an artifact."""
Load = Callable[[dict[str, Tensor], Facts], T]


def load_or_make(
    context: Context,
    kind: str,
    inputs: Inputs | None,
    make: Callable[[], Content],
    load: Load[T],
    *,
    stage: StageId,
    what: str,
    keep: bool = True,
    check: Callable[[dict[str, Tensor], Facts], object] = lambda tensors, facts: None,
) -> T:
    """Return an artifact, loaded from the cache if it is there, otherwise made and kept there.

    Args:
        context: The run's context.
        kind: The kind of artifact, which names its folder.
        inputs: All that it depends on, from :func:`complete_inputs`; None if it cannot be kept.
        make: Computes its content.
        load: Turns content, from the cache or made now, into the result. If it raises, it must
            not have changed anything.
        stage: The stage in whose name messages are sent.
        what: What it is, for people.
        keep: Whether to keep it if it is made now.
        check: Raises if content of the cache is not what ``make`` would return. An artifact that
            fails the check, or cannot be loaded, is made again.
    """
    cache = context.cache
    if cache is None or inputs is None:
        return load(*make())
    # Filled by the check, which loads the content to see whether it can be loaded.
    loaded: list[T] = []

    def make_anew() -> Content:
        loaded.clear()
        return make()

    def check_and_load(tensors: dict[str, Tensor], facts: Facts) -> None:
        check(tensors, facts)
        loaded[:] = [load(tensors, facts)]

    def find(make: Callable[[], Content]) -> Content:
        return cache.get_or_make(
            kind,
            inputs,
            make,
            say=lambda text: context.note(stage, text),
            what=what,
            stop=context.stop,
            keep=keep,
            check=check_and_load,
        )

    # Of several processes the first alone asks the cache; what is not there, all make together.
    content = current_group().make_once(find, make_anew)
    return loaded[0] if loaded else load(*content)


def complete_inputs(context: Context, describe: Callable[[], Inputs]) -> Inputs | None:
    """Return all that an artifact depends on, including code; None if it cannot be kept.

    Without a cache nothing is computed, since digests of large weights take time.
    """
    return None if context.cache is None else add_code(context, describe())


def cache_stage(
    context: Context,
    stage: StageId,
    opened: Opened,
    describe: Callable[[], Inputs],
    make: Callable[[Listener], Content],
    load: Load[T],
) -> tuple[T, bool]:
    """Return a trained stage, and whether the cache had it.

    The events of each epoch are kept too, so that a run's ``metrics.jsonl`` is the same whether
    the stage was trained or taken from the cache. If an interrupted run had begun the stage and
    another run has finished it meanwhile, it is taken from the cache. Otherwise it is trained to
    the end, and kept if it was begun under the same key.

    Args:
        context: The run's context.
        stage: The stage.
        opened: Its task.
        describe: Returns all that it depends on.
        make: Trains it, with a listener.
        load: As in :func:`load_or_make`.
    """
    state = context.directory.state_file(stage)
    inputs = complete_inputs(context, describe)
    if context.cache is None or inputs is None:
        event_log.remove_log(state)
        return load(*make(context.listen)), False
    log = event_log.EventLog(state, context.cache.key("stage", inputs))
    # Tells apart what was trained now: of what was loaded, the events are still to be sent.
    trained, what = False, f"{stage} {opened.task.name}"
    events: list[Facts] = []

    def train() -> Content:
        nonlocal trained
        trained = True
        return _make_with_events(context, stage, log, make, what)

    def load_with_events(tensors: dict[str, Tensor], facts: Facts) -> T:
        events[:] = facts.get("events", [])
        return load(tensors, {key: value for key, value in facts.items() if key != "events"})

    result = load_or_make(
        context,
        "stage",
        inputs,
        train,
        load_with_events,
        stage=stage,
        what=what,
        keep=log.whole,
        check=lambda _, facts: cached_checks.check_events(facts),
    )
    log.remove()
    if not trained:  # send the events of the run that trained it, in the name of this stage
        for event in events:
            context.listen(replace(Event.from_json(event), stage=stage))
    return result, not trained


def _make_with_events(
    context: Context,
    stage: StageId,
    log: event_log.EventLog,
    make: Callable[[Listener], Content],
    what: str,
) -> Content:
    """Train a stage, and return it with the events of its epochs."""
    log.begin()
    if not log.whole:
        text = "not kept in the cache: code or data may have changed since it was begun"
        context.note(stage, f"{what}: {text}")

    def listen(event: Event) -> None:
        log.add(event)
        context.listen(event)

    tensors, facts = make(listen)
    return tensors, {**facts, "events": [event.to_json() for event in log.events]}


def cache_features(context: Context, opened: Opened, model: MultimodalModel, name: str) -> Data:
    """Return the data with a frozen encoder's features, from the cache if they are there."""
    computed: list[Data] = []
    if note := opened.data.views[name].modality.note_unaugmented(Role.TARGET):
        context.listen(Event(EventKind.NOTE, StageId.TARGET, text=note))

    def make() -> Content:
        encoder = model.encoders[name]
        if isinstance(encoder, MetaEncoder):
            encoder.become_real().to(context.precision.device)
        computed.append(extract_features(opened.data, model, name, context.precision))
        return _to_tensors(computed[0].features(name)), {}

    def load(tensors: dict[str, Tensor], _: Facts) -> Data:
        if computed:  # these are on the device already
            return computed[0]
        return opened.data.with_features(name, _to_features(tensors))

    return load_or_make(
        context,
        "features",
        complete_inputs(context, lambda: describe_features(context, opened, model, name)),
        make,
        load,
        stage=StageId.TARGET,
        what=f"{name} features of {opened.task.name}",
        check=lambda tensors, _: cached_checks.check_features(tensors, opened.data.rows_in_use),
    )


def cache_channel_weights(
    context: Context,
    opened: Opened,
    name: str,
    encoder: nn.Module,
    rows: int,
    measure: Callable[[], list[Tensor]],
) -> list[Tensor]:
    """Return how much the target needs each channel of an encoder, from the cache if it is there.

    Args:
        context: The run's context.
        opened: The target.
        name: The modality.
        encoder: The encoder with the channels, at the weights at which they are measured.
        rows: How many training rows, drawn with the run's seed, they are measured on.
        measure: Measures them; returns ``(C,)`` for each feature map.
    """

    def make() -> Content:
        return {f"{depth:03}": each for depth, each in enumerate(measure())}, {}

    def load(tensors: dict[str, Tensor], _: Facts) -> list[Tensor]:
        return [tensors[key].to(context.precision.device) for key in sorted(tensors)]

    return load_or_make(
        context,
        "channel_weights",
        complete_inputs(
            context, lambda: describe_channel_weights(context, opened, name, encoder, rows)
        ),
        make,
        load,
        stage=StageId.TARGET,
        what=f"channel weights of the {name} encoder for {opened.task.name}",
        check=lambda tensors, _: cached_checks.check_channel_weights(tensors),
    )


def cache_mapping(
    context: Context,
    stage: StageId,
    opened: Opened,
    model: MultimodalModel,
    held: Collection[str],
    fit: Callable[[], tuple[str, ...]],
) -> tuple[str, ...]:
    """Fit a model's mapping, or load it from the cache; return the notes of the fit.

    It does not depend on fusion, objective and optimiser: one mapping serves a sweep over them,
    if the encoders are the same.

    Args:
        context: The run's context.
        stage: The stage with the mapping.
        opened: The task, with the features of frozen encoders.
        model: The model, with a fitted mapping and the encoders before it.
        held: Modalities with frozen encoders, whose features are computed once.
        fit: Fits the model's mapping in place.
    """
    mapping = model.mapping
    if mapping is None:
        return fit()

    def make() -> Content:
        notes = fit()
        return mapping.state_dict(), {"notes": notes}

    def load(tensors: dict[str, Tensor], facts: Facts) -> tuple[str, ...]:
        with cached_checks.restore_on_error(mapping), torch.no_grad():
            checkpoint.restore(mapping, tensors, Path("mapping"))
        return tuple(facts["notes"])

    return load_or_make(
        context,
        "mapping",
        complete_inputs(context, lambda: describe_mapping(context, stage, opened, model, held)),
        make,
        load,
        stage=stage,
        what=f"mapping of {opened.task.name}",
        check=lambda _, facts: cached_checks.check_notes(facts),
    )


def _to_tensors(features: Features) -> dict[str, Tensor]:
    levels = {f"levels.{k}": level for k, level in enumerate(features.levels)}
    found = {"mask": features.mask, "pooled": features.pooled, **levels}
    return found if is_pooled_token(features) else {**found, "tokens": features.tokens}


def _to_features(tensors: dict[str, Tensor]) -> Features:
    count = sum(name.startswith("levels.") for name in tensors)
    levels = tuple(tensors[f"levels.{k}"] for k in range(count))
    pooled = tensors["pooled"]
    return Features(tensors.get("tokens", pooled[:, None]), tensors["mask"], pooled, levels)
