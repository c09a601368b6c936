"""What the stages keep in the artifact cache: trained stages, features, mappings, channel weights.

Each is one call of :func:`load_or_make`. What each depends on is in
:mod:`mmx.stages.core.cache_keys`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from mmx.json_object import Json
from mmx.modalities import Features
from mmx.model import MultimodalModel
from mmx.stage_id import StageId
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
from mmx.training.events import Event, Listener

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
    """Return an artifact: loaded from the cache where it has it, else made and kept there.

    Args:
        context: Of the run.
        kind: Of artifact; names its folder.
        inputs: All that it depends on, from :func:`complete_inputs`; None where it is not kept.
        make: Computes its content.
        load: Turns content into what is returned, be it from the cache or made now. Where it
            raises, it leaves everything as it was.
        stage: Whose listeners hear of it.
        what: What it is, for people.
        keep: Whether it is kept if it is made now.
        check: Raises where content of the cache is not what ``make`` gives. What cannot be
            checked or loaded is made again.
    """
    if context.cache is None or inputs is None:
        return load(*make())
    loaded: list[T] = []

    def make_anew() -> Content:
        loaded.clear()
        return make()

    def check_and_load(tensors: dict[str, Tensor], facts: Facts) -> None:
        check(tensors, facts)
        loaded[:] = [load(tensors, facts)]

    content = context.cache.get_or_make(
        kind,
        inputs,
        make_anew,
        say=lambda text: context.note(stage, text),
        what=what,
        stop=context.stop,
        keep=keep,
        check=check_and_load,
    )
    return loaded[0] if loaded else load(*content)


def complete_inputs(context: Context, describe: Callable[[], Inputs]) -> Inputs | None:
    """Return all that an artifact depends on, code included; None where it is not kept.

    Without a cache nothing is described: digests of large weights take their time.
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

    What training says epoch by epoch is kept too, so that a run's ``metrics.jsonl`` is the
    same whether the stage was trained for it or taken from the cache. A stage that an
    interrupted run had begun is taken from the cache where others have finished it meanwhile,
    else it is ended, and kept if it was begun under the same key.

    Args:
        context: Of the run.
        stage: Which one.
        opened: Its task.
        describe: Returns all that it depends on.
        make: Trains it; takes who listens.
        load: As of :func:`load_or_make`.
    """
    state = context.directory.state_file(stage)
    inputs = complete_inputs(context, describe)
    if context.cache is None or inputs is None:
        event_log.remove_log(state)
        return load(*make(context.listen)), False
    log = event_log.EventLog(state, context.cache.key("stage", inputs))
    trained, what = False, f"{stage} {opened.task.name}"
    events: list[Facts] = []

    def train() -> Content:
        nonlocal trained
        trained = True
        log.begin()
        if not log.whole:
            text = "not kept in the cache: code or data may have changed since it was begun"
            context.note(stage, f"{what}: {text}")

        def listen(event: Event) -> None:
            log.add(event)
            context.listen(event)

        tensors, facts = make(listen)
        return tensors, {**facts, "events": [event.to_json() for event in log.events]}

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
    if not trained:
        for event in events:
            context.listen(replace(Event.from_json(event), stage=stage))
    return result, not trained


def cache_features(context: Context, opened: Opened, model: MultimodalModel, name: str) -> Data:
    """Return the data with a frozen encoder's features, from the cache where it has them."""
    computed: list[Data] = []

    def make() -> Content:
        computed.append(extract_features(opened.data, model, name, context.precision))
        return _to_tensors(computed[0].features(name)), {}

    def load(tensors: dict[str, Tensor], _: Facts) -> Data:
        if computed:
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
        context: Of the run.
        opened: The target.
        name: The modality.
        encoder: That the channels are of, with the weights that they are measured at.
        rows: Training rows that they are measured on, drawn by the run's seed.
        measure: Measures them: ``(C,)`` of each feature map.
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
    """Fit a model's mapping, or load it as the cache has it; return the notes of the fit.

    Fusion, objective and optimiser are not what it depends on: one mapping serves a sweep
    over them, as long as the encoders are the same.

    Args:
        context: Of the run.
        stage: Whose mapping it is.
        opened: The task, with the features that are held.
        model: With a mapping that is fitted, not trained, and the encoders that it follows.
        held: Modalities whose features are held, since their encoders are frozen.
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
    return {
        "tokens": features.tokens,
        "mask": features.mask,
        "pooled": features.pooled,
        **levels,
    }


def _to_features(tensors: dict[str, Tensor]) -> Features:
    count = sum(name.startswith("levels.") for name in tensors)
    levels = tuple(tensors[f"levels.{k}"] for k in range(count))
    return Features(tensors["tokens"], tensors["mask"], tensors["pooled"], levels)
