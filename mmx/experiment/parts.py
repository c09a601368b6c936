"""The nodes besides tasks, transfer and encoders: around the fusion, and around the model."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from mmx.balance import Balance
from mmx.calibration import Calibration
from mmx.callbacks import Callback
from mmx.config.build import Builder
from mmx.config.nodes import ConfigNode
from mmx.errors import Problem, closest
from mmx.experiment.settings import Settings
from mmx.fusion import Fusion
from mmx.fusion.concat import Concat
from mmx.fusion.match import width_option
from mmx.mapping import Mapping
from mmx.metrics import Metric
from mmx.missing import Missing
from mmx.missing.mask import Mask
from mmx.modalities import Modality
from mmx.model import Parts
from mmx.objectives import Objective
from mmx.quoting import format_value
from mmx.sharing import Sharing
from mmx.stage_id import Role
from mmx.tasks import Task
from mmx.trackers import Tracker
from mmx.transfer.regularizers import Regularizer

PartT = TypeVar("PartT")


@dataclass(frozen=True)
class RoleParts:
    """Fusion and objective of a role: source and target may differ in them.

    Attributes:
        fusion: ``make(widths, outputs=C)``.
        objective: What is minimised.
        own_fusion: Whether the fusion is the one that the config chooses.
    """

    fusion: partial[Fusion]
    objective: Objective
    own_fusion: bool = True


def build_optional(
    builder: Builder, config: ConfigNode, expected: type[PartT], name: str
) -> PartT | None:
    """Return the object of a node, or None where the node is empty."""
    return builder.build(config[name], expected, name) if config.get(name) else None


def build_callbacks(builder: Builder, config: ConfigNode) -> tuple[Callback, ...]:
    """Build the callbacks that a config lists; the builder collects problems."""
    nodes = config.get("callbacks") or []
    if not isinstance(nodes, list):
        example = "callbacks=[{_target_: my_pkg.hooks.MyCallback}]"
        given = f"callbacks={format_value(nodes)}"
        builder.problems.append(Problem(given, "is not a list", type_this=f"'{example}'"))
        return ()
    made = [
        builder.build(node, Callback, f"callbacks[{place}]") for place, node in enumerate(nodes)
    ]
    return tuple(each for each in made if each is not None)


class Around(NamedTuple):
    """Parts that a run measures, calibrates and tells by; none needs to be there."""

    metric: Metric | None
    calibration: Calibration | None
    tracker: Tracker | None
    callbacks: tuple[Callback, ...]


def build_around(builder: Builder, config: ConfigNode) -> Around:
    """Build the parts that no model consists of; old configs lack the keys of some."""
    chosen = {"metric": {}, "calibration": {}, "tracker": {}, **config}
    return Around(
        build_optional(builder, chosen, Metric, "metric"),
        build_optional(builder, chosen, Calibration, "calibration"),
        build_optional(builder, chosen, Tracker, "tracker"),
        build_callbacks(builder, config),
    )


def build_parts(builder: Builder, config: ConfigNode) -> Parts:
    """Build the optional parts around the fusion; the builder collects problems."""
    mapping = None
    if config.get("mapping"):
        mapping = builder.bind(config["mapping"], Mapping, "mapping")
    missing: Callable[..., Missing] | None = Mask
    if config.get("missing"):
        missing = builder.bind(config["missing"], Missing, "missing")
    return Parts(build_optional(builder, config, Sharing, "sharing"), mapping, missing or Mask)


def choose_modalities(
    builder: Builder, settings: Settings | None, tasks: abc.Mapping[Role, Task | None]
) -> dict[Role, dict[str, Modality[Any, Any] | None]]:
    """Return the modalities in use of each task, with their readers."""
    given = {role: dict(task.modalities) for role, task in tasks.items() if task is not None}
    wanted = settings.modalities if settings is not None else None
    if wanted is None:
        return given
    builder.problems.extend(_refuse_unusable_choice(wanted, given))
    # A task that would be left with none keeps all: what else is wrong is then found too.
    return {
        role: {name: own[name] for name in own if name in wanted} or own
        for role, own in given.items()
    }


def _refuse_unusable_choice(
    wanted: Sequence[str], given: abc.Mapping[Role, Collection[str]]
) -> Iterator[Problem]:
    """Yield modalities that no task has, and tasks that would have none left."""
    every = sorted({name for own in given.values() for name in own})
    text = f"modalities=[{','.join(wanted)}]"
    unknown = [name for name in wanted if name not in every]
    for name in unknown:
        near = closest(name, every)
        yield Problem(
            text,
            f"no task of this run has {name}",
            accepted=", ".join(every),
            closest=near,
            type_this=f"modalities=[{near or ','.join(every)}]",
        )
    for role, own in given.items():
        if not {*own} & {*wanted} and not unknown:
            yield Problem(text, f"the {role} has {', '.join(sorted(own))} alone")


def needs_model(regularizer: Regularizer | None) -> bool:
    """Return whether a regulariser needs the trained source while the target trains."""
    return regularizer is not None and bool(regularizer.needs & {"model", "source_rows"})


def build_roles(
    builder: Builder,
    config: ConfigNode,
    settings: Settings | None,
    source: Task | None,
    balance: Balance | None,
    dropped: dict[str, str],
    *,
    takes_fusion: bool,
) -> tuple[ConfigNode, dict[Role, RoleParts]]:
    """Build fusion and objective of source and target, as far as possible.

    Returns:
        The config without what is not read, and the roles; empty where a node is wrong.
    """
    fusion = builder.bind(config.get("fusion"), Fusion, "fusion", supplied=("outputs",))
    objective = builder.build(config.get("objective"), Objective, "objective")
    others = build_optional(builder, config, Objective, "source_objective")
    if config.get("source_objective") and source is None:
        dropped["source_objective"] = "there is no source to train"
        config, others = {**config, "source_objective": {}}, None
    if fusion is not None and settings is not None and settings.match == "params":
        config, fusion = _drop_width(config, fusion, dropped)
    if fusion is None or objective is None:
        return config, {}
    objective_of_source = others or objective
    if balance is not None:
        try:
            objective = balance.objective(objective)
        except ValueError as error:
            builder.problems.append(Problem("balance", str(error), type_this="balance=none"))
    # A source whose fusion is not transferred is trained with the simplest one.
    of_source = fusion if takes_fusion else cast("partial[Fusion]", partial(Concat))
    return config, {
        Role.SOURCE: RoleParts(of_source, objective_of_source, takes_fusion),
        Role.TARGET: RoleParts(fusion, objective),
    }


def _drop_width(
    config: ConfigNode, fusion: partial[Fusion], dropped: dict[str, str]
) -> tuple[ConfigNode, partial[Fusion]]:
    """Drop the fusion's width, which ``match=params`` chooses."""
    option = width_option(fusion)
    dropped[f"fusion.{option}"] = "match=params chooses it"
    node = {key: value for key, value in config["fusion"].items() if key != option}
    kept = {key: value for key, value in fusion.keywords.items() if key != option}
    return {**config, "fusion": node}, partial(fusion.func, **kept)
