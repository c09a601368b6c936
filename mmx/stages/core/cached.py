"""What the stages keep in the artifact cache, and all that it depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmx.experiment.fingerprint import PLACES, essence
from mmx.experiment.identify import package_digests
from mmx.experiment.weights import weight_digests
from mmx.modalities import Features, spec_to_json
from mmx.model import MultimodalModel
from mmx.stage_id import Role, StageId
from mmx.stages.core import cached_checks, event_log
from mmx.stages.core.context import Context, Opened
from mmx.stages.core.data import with_features
from mmx.training.data import Data, Rows
from mmx.training.events import Event, Listener
from mmx.transfer import Source, Transfer

Facts = dict[str, Any]
NAMES_OF_FILES = (*PLACES, "weights")
"""Options of tasks and encoders that name files, whose content counts."""


def source_inputs(context: Context, opened: Opened) -> dict[str, Any]:
    """Return all that a trained source depends on, and nothing that it does not.

    The target is not among it, nor is the transfer, nor the fusion where the source is
    trained without one or with its own: one source then serves a whole sweep over these.
    """
    experiment = context.experiment
    config, objective = experiment.config, experiment.role(Role.SOURCE).objective
    parts = ["sharing"] if objective.label_free else ["sharing", "mapping", "missing"]
    nodes = {name: config["encoder"][name] for name in opened.specs}
    if not objective.label_free and experiment.role(Role.SOURCE).own_fusion:
        parts += ["fusion", "match", "match_params"]
    chosen = {
        **{part: config.get(part) for part in parts},
        "source": _placeless(config["source"]),
        "encoder": {name: _placeless(node) for name, node in nodes.items()},
        "objective": config.get("source_objective") or config["objective"],
        **{name: config[name] for name in ("optimizer", "seed")},
        "trainer": asdict(experiment.trainer.of(Role.SOURCE)),
    }
    return {
        "config": essence(chosen),
        "fusion": getattr(experiment.role(Role.SOURCE).fusion.func, "__qualname__", ""),
        "data": opened.task.fingerprint,
        "rows": [_digest_of_rows(opened.data.rows(split)) for split in ("train", "val")],
        "weights": weight_digests(nodes, experiment.encoders),
        **_numerics(context),
    }


def features_inputs(
    context: Context, opened: Opened, model: MultimodalModel, name: str
) -> dict[str, Any]:
    """Return all that a frozen encoder's features of the target depend on."""
    return {
        "task": essence(_placeless(context.experiment.config["target"])),
        "data": opened.task.fingerprint,
        # A search has no test rows, so that it keeps the features of fewer rows than a run.
        "rows": {split: _digest_of_rows(rows) for split, rows in opened.task.splits.items()},
        "modality": name,
        "spec": spec_to_json(opened.specs[name]),
        "encoder": essence(_placeless(context.experiment.config["encoder"][name])),
        "weights": digest_of(model.encoders[name].state_dict()),
        "reads": model.fusion.reads,
        **_numerics(context),
    }


def digest_of(tensors: dict[str, Tensor]) -> str:
    """Return the digest of tensors by name, type, shape and bits."""
    whole = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def control_inputs(
    context: Context, opened: Opened, transfer: Transfer, source: Source | None
) -> dict[str, Any]:
    """Return all that a control depends on: the target and how it is trained, not the transfer.

    One control then serves all transfers of a sweep. A control that itself takes something
    from a source depends on that source's weights.
    """
    experiment = context.experiment
    config, fusion = experiment.config, experiment.role(Role.CONTROL).fusion
    parts = ("sharing", "mapping", "missing", "match", "match_params", "balance")
    nodes = {name: config["encoder"][name] for name in opened.specs}
    chosen = {
        **{part: config.get(part) for part in parts},
        "fusion": {"_target_": _qualified(fusion.func), **fusion.keywords},
        "target": _placeless(config["target"]),
        "encoder": {name: _placeless(node) for name, node in nodes.items()},
        **{name: config[name] for name in ("objective", "optimizer", "seed")},
        "trainer": asdict(experiment.trainer.of(Role.CONTROL)),
    }
    return {
        "config": essence(chosen),
        "transfer": [_qualified(type(transfer)), repr(sorted(vars(transfer).items()))],
        "source": None if source is None else [digest_of(source.state), list(source.classes)],
        "specs": {name: spec_to_json(spec) for name, spec in opened.specs.items()},
        "data": opened.task.fingerprint,
        "rows": [_digest_of_rows(opened.data.rows(split)) for split in ("train", "val")],
        "weights": weight_digests(nodes, experiment.encoders),
        **_numerics(context),
    }


def mapping_inputs(
    context: Context, stage: StageId, opened: Opened, model: MultimodalModel, held: Collection[str]
) -> dict[str, Any]:
    """Return all that a fitted mapping depends on; see :func:`kept_mapping`."""
    experiment = context.experiment
    config, trunk = experiment.config, model.trunk is not None
    adds = stage.role is not Role.SOURCE and type(experiment.transfer).equip is not Transfer.equip
    read = {k: v for k, v in model.state_dict().items() if k.startswith(("encoders.", "trunk."))}
    return {
        "mapping": essence(config["mapping"]),
        "task": essence(_placeless(config[stage.task])),
        "data": opened.task.fingerprint,
        "rows": _digest_of_rows(opened.data.rows("train")),
        "held": sorted(held),
        "specs": {name: spec_to_json(spec) for name, spec in opened.specs.items()},
        "encoder": essence({name: _placeless(config["encoder"][name]) for name in opened.specs}),
        "sharing": [essence(config["sharing"]), model.fusion.reads] if trunk else None,
        "transfer": essence(config["transfer"]) if adds else None,
        "weights": digest_of(read),
        "seed": experiment.settings.seed,
        **_numerics(context),
    }


def kept_stage(
    context: Context,
    stage: StageId,
    opened: Opened,
    inputs: Callable[[], dict[str, Any]],
    make: Callable[[Listener], tuple[dict[str, Tensor], Facts]],
    check: Callable[[dict[str, Tensor], Facts], object] = lambda tensors, facts: None,
) -> tuple[dict[str, Tensor], Facts, bool]:
    """Return the tensors and facts of a trained stage, and whether the cache had them.

    What training says epoch by epoch is kept too, so that a run's ``metrics.jsonl`` is the
    same whether the stage was trained for it or taken from the cache. A stage that an
    interrupted run had begun is taken from the cache where others have finished it meanwhile,
    else it is ended, and kept if it was begun under the same key.

    Args:
        context: Of the run.
        stage: Which one.
        opened: Its task.
        inputs: Returns all that it depends on; asked for only where there is a cache.
        make: Trains it; takes who listens.
        check: Raises where tensors and facts of the cache are none of such a stage.
    """
    state = context.directory.state_file(stage)
    found = None if context.cache is None else _with_code(context, inputs())
    if context.cache is None or found is None:
        event_log.drop(state)
        return *make(context.listen), False
    log = event_log.EventLog(state, context.cache.key("stage", found))
    trained, what = False, f"{stage} {opened.task.name}"

    def made() -> tuple[dict[str, Tensor], Facts]:
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

    def check_both(tensors: dict[str, Tensor], facts: Facts) -> None:
        cached_checks.check_events(facts)
        check(tensors, facts)

    tensors, facts = context.cache.get_or_make(
        "stage",
        found,
        made,
        say=lambda text: context.note(stage, text),
        what=what,
        stop=context.stop,
        keep=log.whole,
        check=check_both,
    )
    log.remove()
    events = facts.pop("events", [])
    if not trained:
        for event in events:
            context.listen(replace(Event.from_json(event), stage=stage))
    return tensors, facts, not trained


def kept_features(context: Context, opened: Opened, model: MultimodalModel, name: str) -> Data:
    """Return the data with a frozen encoder's features, from the cache where it has them."""
    if context.cache is None:  # then nothing asks for the digest of the weights
        return with_features(opened.data, model, name, context.precision)
    inputs = _with_code(context, features_inputs(context, opened, model, name))
    if inputs is None:
        return with_features(opened.data, model, name, context.precision)
    computed: list[Data] = []

    def made() -> tuple[dict[str, Tensor], Facts]:
        computed.append(with_features(opened.data, model, name, context.precision))
        return _tensors(computed[0].features(name)), {}

    tensors, _ = context.cache.get_or_make(
        "features",
        inputs,
        made,
        say=lambda text: context.note(StageId.TARGET, text),
        what=f"{name} features of {opened.task.name}",
        stop=context.stop,
        check=lambda tensors, _: cached_checks.check_features(tensors, opened.data.rows_in_use),
    )
    if computed:
        return computed[0]
    return opened.data.holding(name, _features(tensors))


def kept_channel_weights(
    context: Context,
    opened: Opened,
    name: str,
    encoder: nn.Module,
    rows: int,
    make: Callable[[], list[Tensor]],
) -> list[Tensor]:
    """Return how much the target needs each channel of an encoder, from the cache if it is there.

    Args:
        context: Of the run.
        opened: The target.
        name: The modality.
        encoder: That the channels are of, with the weights that it is measured at.
        rows: Training rows that it is measured on, drawn by the run's seed.
        make: Measures it: ``(C,)`` of each feature map.
    """
    if context.cache is None:  # then nothing asks for the digest of the weights
        return make()
    inputs = {
        "task": essence(_placeless(context.experiment.config["target"])),
        "data": opened.task.fingerprint,
        "rows": _digest_of_rows(opened.data.rows("train")),
        "modality": name,
        "spec": spec_to_json(opened.specs[name]),
        "encoder": essence(_placeless(context.experiment.config["encoder"][name])),
        "weights": digest_of(encoder.state_dict()),
        "probe_rows": rows,
        "seed": context.experiment.settings.seed,
        **_numerics(context),
    }
    known = _with_code(context, inputs)
    if known is None:
        return make()
    tensors, _ = context.cache.get_or_make(
        "channel_weights",
        known,
        lambda: ({f"{depth:03}": each for depth, each in enumerate(make())}, {}),
        say=lambda text: context.note(StageId.TARGET, text),
        what=f"channel weights of the {name} encoder for {opened.task.name}",
        stop=context.stop,
        check=lambda tensors, _: cached_checks.check_channel_weights(tensors),
    )
    return [tensors[key].to(context.precision.device) for key in sorted(tensors)]


def kept_mapping(
    context: Context,
    stage: StageId,
    opened: Opened,
    model: MultimodalModel,
    held: Collection[str],
    fit: Callable[[], tuple[str, ...]],
) -> tuple[str, ...]:
    """Let a model have its mapping fitted, or as the cache has it; return the notes of the fit.

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
    if context.cache is None or mapping is None:  # then nothing asks for the digest of the weights
        return fit()
    inputs = _with_code(context, mapping_inputs(context, stage, opened, model, held))
    if inputs is None:
        return fit()

    def made() -> tuple[dict[str, Tensor], Facts]:
        notes = fit()
        return mapping.state_dict(), {"notes": notes}

    tensors, facts = context.cache.get_or_make(
        "mapping",
        inputs,
        made,
        say=lambda text: context.note(stage, text),
        what=f"mapping of {opened.task.name}",
        stop=context.stop,
        check=lambda tensors, facts: cached_checks.check_mapping(mapping, tensors, facts),
    )
    mapping.load_state_dict(tensors)
    return tuple(facts["notes"])


def _placeless(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node of a task or an encoder with no word on where the files that it names lie.

    Their content is in the key beside it: what was moved is found again.
    """
    named = {key for key in NAMES_OF_FILES if isinstance(node.get(key), str)}
    return {key: "" if key in named else value for key, value in node.items()}


def _qualified(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _digest_of_rows(rows: Rows) -> str:
    return hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()


def _with_code(context: Context, inputs: Facts) -> Facts | None:
    """Return inputs with the digests of the allowed packages that they name classes of.

    The version of mmx's own code is in every key. None where a package has no files: what it
    makes is then not kept.
    """
    code = package_digests(inputs, context.experiment.allowed)
    if not code:
        return inputs
    return None if None in code.values() else {**inputs, "code": code}


def _tensors(features: Features) -> dict[str, Tensor]:
    levels = {f"levels.{k}": level for k, level in enumerate(features.levels)}
    return {
        "tokens": features.tokens,
        "mask": features.mask,
        "pooled": features.pooled,
        **levels,
    }


def _features(tensors: dict[str, Tensor]) -> Features:
    count = sum(name.startswith("levels.") for name in tensors)
    levels = tuple(tensors[f"levels.{k}"] for k in range(count))
    return Features(tensors["tokens"], tensors["mask"], tensors["pooled"], levels)


def _numerics(context: Context) -> dict[str, Any]:
    """Return what decides about the last bits of every number."""
    device = context.precision.device
    return {
        "precision": context.precision.name,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "compile": context.experiment.settings.compile,
    }
