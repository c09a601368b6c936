"""Checks that the parts of an experiment fit each other, which no single node can know."""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from mmx.balance import Balance
from mmx.calibration import Calibration
from mmx.callbacks import Callback
from mmx.config.locate import find_default_option
from mmx.encoders import Encoder
from mmx.encoders.published import PublishedWeights
from mmx.errors import DataError, Problem, closest
from mmx.experiment.inputs import MOST_INPUTS, name_modality
from mmx.experiment.meta_encoders import make_meta_encoder, recall_meta_encoder
from mmx.experiment.own_parts import find_encoder_problems, find_fusion_problems
from mmx.experiment.parts import RoleParts, needs_model
from mmx.experiment.settings import Modalities, Settings
from mmx.fusion import Fusion
from mmx.fusion.match import make_matched
from mmx.mapping import Mapping
from mmx.meta_model import make_without_memory
from mmx.metrics import USUAL_NAMES, Metric, find_built_in
from mmx.modalities import Modality, Spec
from mmx.model import MultimodalModel, Parts
from mmx.stage_id import Role
from mmx.tasks import Task
from mmx.trackers import Tracker
from mmx.training.optimizer import Optimizer
from mmx.training.trainer import Trainer
from mmx.transfer import Transfer
from mmx.transfer.regularizers import Regularizer
from mmx.variants import variant

OWN_OPTION = re.compile(r"(?<![\w.])(model|adapter)=")
"""Options of an encoder in what it says to type."""
FITTING_OBJECTIVE = {
    "classes": "cross_entropy",
    "multilabel": "binary_cross_entropy",
    "regression": "mean_squared_error",
}


@dataclass(frozen=True, kw_only=True)
class Built:
    """The parts that have been built so far; None or absent where a node is wrong by itself.

    Attributes:
        settings, trainer, optimizer, transfer, balance: As configured.
        metric: The metric that ``metric=`` chooses; None for the usual one of the kind of target.
        calibration: How probabilities are calibrated after training; None for not.
        regularizer: Keeps the target close to its source; None for none.
        tasks: ``source`` and ``target``; None where there is none.
        modalities: ``source`` and ``target`` to the readers of the task's modalities in use;
            None where the encoder has a vectoriser for it.
        published: The published weights that are the source; None where they are not.
        roles: ``source`` and ``target`` to fusion and objective.
        parts: The optional parts around the fusion.
        encoders: Modality to ``make(spec)``.
        vectorizers: Modality to the vectoriser of its encoder.
        failed: Modalities whose encoder node is wrong by itself.
        encoder_keys: Input to the key of its encoder's node, that of its modality where it has
            none of its own.
        tracker: Follows the run while it trains; None for none.
        callbacks: Own code that is told of the run, in order.
    """

    settings: Settings | None
    trainer: Trainer | None
    optimizer: Optimizer | None
    tasks: dict[Role, Task | None]
    modalities: abc.Mapping[Role, abc.Mapping[str, Modality[Any, Any] | None]]
    roles: dict[Role, RoleParts]
    transfer: Transfer | None
    regularizer: Regularizer | None
    parts: Parts
    balance: Balance | None
    metric: Metric | None
    calibration: Calibration | None
    published: PublishedWeights | None
    encoders: dict[str, Callable[..., Encoder]]
    vectorizers: Modalities
    failed: frozenset[str]
    encoder_keys: dict[str, str] = field(default_factory=dict)
    tracker: Tracker | None = None
    callbacks: tuple[Callback, ...] = ()

    def find_encoder_path(self, name: str) -> str:
        """Return the config path of an input's encoder, as it was typed."""
        return f"encoder.{self.encoder_keys.get(name, name)}"

    @property
    def trains_source(self) -> bool:
        """Whether the source is trained before the target."""
        if self.tasks[Role.SOURCE] is None:
            return False
        return self.reads_source_weights

    @property
    def has_source(self) -> bool:
        """Whether there is anything to transfer from: a task, or published weights."""
        return self.tasks[Role.SOURCE] is not None or self.published is not None

    @property
    def reads_source_weights(self) -> bool:
        """Whether transfer or regulariser asks for weights of the source, wherever from."""
        wants = self.transfer is not None and self.transfer.needs == "weights"
        return wants or needs_model(self.regularizer)

    def find_reader(self, role: Role, name: str) -> Modality[Any, Any] | None:
        """Return what reads a modality of a role's task; None where nothing does.

        It is the task's own, or the vectoriser of the encoder's node. An encoder whose weights
        expect their input otherwise has the last word.

        Raises:
            DataError, ValueError: The encoder's options do not lead to one.
        """
        given = self.modalities[role][name]
        given = given if given is not None else self.vectorizers.get(name)
        make = self.encoders.get(name)
        if not isinstance(make, partial):
            return given
        return cast(type[Encoder], make.func).read_with(given, **make.keywords)

    @property
    def used_modalities(self) -> frozenset[str]:
        """The modalities that any task of the run uses."""
        return frozenset(name for own in self.modalities.values() for name in own)


def find_misfits(built: Built) -> Iterator[Problem]:
    """Yield the problems of parts that do not fit together."""
    for role, task in built.tasks.items():
        if task is not None:
            yield from check_name(role, task)
            yield from _check_count(built, role, task)
            yield from _check_kinds(built, role, task)
            yield from _check_shapes(built, role, task)
    yield from _check_label_free_target(built)
    yield from _check_metric(built)
    yield from _check_calibration(built)


def check_name(role: Role, task: Task) -> Iterator[Problem]:
    """Check that a task's name can be part of a run directory's name."""
    if not re.fullmatch(r"\w[\w.+-]*", task.name, re.ASCII):
        usable = re.sub(r"[^\w.+-]+", "_", task.name, flags=re.ASCII).lstrip(".+-") or "task"
        yield Problem(
            f"{role}.name={task.name}",
            "is part of a directory's name",
            accepted="letters without accents, digits and _, then also . + -",
            type_this=f"{role}.name={usable}",
        )


def _check_count(built: Built, role: Role, task: Task) -> Iterator[Problem]:
    """Check that a task has no more inputs than reports and fusions are made for."""
    names = list(built.modalities[role])
    if len(names) > MOST_INPUTS:
        yield Problem(
            f"{role}={task.name}",
            f"has {len(names)} inputs: {', '.join(names)}",
            accepted=f"at most {MOST_INPUTS}",
            type_this=f"modalities=[{','.join(names[:MOST_INPUTS])}]",
        )


def _check_kinds(built: Built, role: Role, task: Task) -> Iterator[Problem]:
    """Check that objective, fusion, mapping and balance can handle the task's kind of target."""
    if role not in built.roles:
        return
    objective, fusion = built.roles[role].objective, built.roles[role].fusion
    has = f"{role}={task.name} has a target of kind {task.kind}"
    if task.kind not in objective.kinds:
        key = "objective" if objective is built.roles[Role.TARGET].objective else "source_objective"
        served = ", ".join(sorted(objective.kinds))
        yield Problem(
            f"{key}={variant(type(objective))}",
            f"{has}; this objective is for {served}",
            type_this=f"{key}={FITTING_OBJECTIVE[task.kind]}",
        )
    yield from _check_objective(built, role, task)
    if not objective.label_free:
        method = cast(type[Fusion], fusion.func)
        kinds = method.kinds(**fusion.keywords)
        if task.kind not in kinds:
            yield Problem(
                f"fusion={variant(method)}",
                f"{has}; with these options the fusion is for {', '.join(sorted(kinds))}",
            )
    mapping = built.parts.mapping
    method_of_mapping = cast(type[Mapping], mapping.func) if isinstance(mapping, partial) else None
    if method_of_mapping is not None and task.kind not in method_of_mapping.kinds:
        served = ", ".join(sorted(method_of_mapping.kinds))
        yield Problem(
            f"mapping={variant(method_of_mapping)}",
            f"{has}; this mapping is for {served}",
            type_this="mapping=pca",
        )
    if role is Role.TARGET and built.balance is not None and task.kind not in built.balance.kinds:
        yield Problem(
            f"balance={variant(type(built.balance))}",
            f"{has}; this balance is for {', '.join(sorted(built.balance.kinds))}",
            type_this="balance=none",
        )


def _check_metric(built: Built) -> Iterator[Problem]:
    """Check that the chosen metric measures the target's kind of answers."""
    metric, task = built.metric, built.tasks[Role.TARGET]
    if metric is None or task is None:
        return
    given = f"metric={variant(type(metric))}"
    names = {"loss", *USUAL_NAMES, *find_built_in()}
    if not type(metric).__module__.startswith("mmx.") and metric.name in names:
        yield Problem(
            given,
            f"is named {metric.name}, as a metric of mmx is",
            type_this="another name of the class, or of its property `name`",
        )
    if task.kind not in metric.kinds:
        served = ", ".join(sorted(metric.kinds))
        others = [name for name, kind in find_built_in().items() if task.kind in kind.kinds]
        yield Problem(
            given,
            f"target={task.name} has a target of kind {task.kind}; this metric is for {served}",
            accepted=", ".join(["auto", *others]),
            type_this="metric=auto",
        )
    elif Role.TARGET in built.roles and built.roles[Role.TARGET].objective.label_free:
        yield Problem(
            given,
            "an objective without labels is measured by what rows retrieve, not by answers",
            type_this="metric=auto",
        )


def _check_calibration(built: Built) -> Iterator[Problem]:
    """Check that the target's answers are probabilities, which can be calibrated."""
    task, chosen = built.tasks[Role.TARGET], built.calibration
    if chosen is None or task is None:
        return
    given, why = f"calibration={variant(type(chosen))}", ""
    if task.kind not in chosen.kinds:
        served = ", ".join(sorted(chosen.kinds))
        why = (
            f"target={task.name} has a target of kind {task.kind}; this calibration is for {served}"
        )
    elif Role.TARGET in built.roles and built.roles[Role.TARGET].objective.label_free:
        why = "an objective without labels gives no probabilities"
    if why:
        yield Problem(given, why, type_this="calibration=none")


def _check_objective(built: Built, role: Role, task: Task) -> Iterator[Problem]:
    """Check that an objective trains the head, and has the modalities that it compares."""
    objective = built.roles[role].objective
    key = "objective" if objective is built.roles[Role.TARGET].objective else "source_objective"
    given = f"{key}={variant(type(objective))}"
    if not objective.reads_outputs and not objective.label_free:
        name, main = variant(type(objective)), FITTING_OBJECTIVE[task.kind]
        yield Problem(
            given,
            "reads no outputs: alone it would leave the head untrained",
            type_this=f"{key}=combined '{key}.terms={{{main}: 1, {name}: 0.1}}'",
        )
    own = built.modalities[role]
    if objective.cross_modal and len(own) < 2:
        yield Problem(
            given,
            f"compares modalities, and {role}={task.name} has {', '.join(own)} alone",
            type_this=f"{key}={FITTING_OBJECTIVE[task.kind]}",
        )


def _check_shapes(built: Built, role: Role, task: Task) -> Iterator[Problem]:
    """Check that each modality has an encoder, and try to make the model from example specs."""
    encoders: dict[str, Encoder] = {}
    own = built.modalities[role]
    for name in [name for name in own if name not in built.failed]:
        encoder, problems = _try_encoder(built, role, task, name)
        yield from problems
        if encoder is not None:
            encoders[name] = encoder
    if role in built.roles and encoders.keys() == own.keys():
        yield from _try_model(built, role, task, encoders)


def _try_encoder(
    built: Built, role: Role, task: Task, name: str
) -> tuple[Encoder | None, list[Problem]]:
    """Return a modality's encoder on the meta device, and what is wrong with it.

    None where it cannot be made.
    """
    given, problems = built.modalities[role][name], []
    path = built.find_encoder_path(name)
    if given is not None and name in built.vectorizers:
        problems.append(
            Problem(
                f"{path}.vectorizer",
                f"no code reads this key: a task says how its {name} is read",
                type_this=f"leave out {path}.vectorizer",
            )
        )
    make = built.encoders.get(name)
    try:
        modality = built.find_reader(role, name)
    except (DataError, ValueError) as error:
        return None, [*problems, describe_encoder_error(path, error)]
    if make is None or modality is None:
        kind = name_modality(name, given)
        option = find_default_option(f"encoder/{kind}") or "<option>"
        without = f"has {name}, and no encoder for it is chosen"
        type_this = f"encoder/{name}={option}"
        return None, [*problems, Problem(f"{role}={task.name}", without, type_this=type_this)]
    try:
        broken = list(find_encoder_problems(make, modality.example(), path))
        # Modules of a known type are asked for where their encoder is changed, trained or read.
        unchanged = built.transfer is not None and built.transfer.keeps_encoders
        known = unchanged and built.regularizer is None
        look = recall_meta_encoder if known else make_meta_encoder
        encoder = None if broken else look(make, modality.example())
    except (DataError, ValueError) as error:
        return None, [*problems, describe_encoder_error(path, error)]
    return encoder, [*problems, *broken]


def describe_encoder_error(path: str, error: DataError | ValueError) -> Problem:
    """Return the problem of an encoder that cannot be made, from the config path of its node."""
    if isinstance(error, DataError):
        # An encoder does not know for which input it is chosen.
        tip = error.tip and OWN_OPTION.sub(rf"{path}.\1=", error.tip)
        return Problem(path, error.message, type_this=tip)
    return Problem(path, str(error))


def _try_model(
    built: Built, role: Role, task: Task, encoders: dict[str, Encoder]
) -> Iterator[Problem]:
    """Try to make the rest of the model, and check the tensor names that options refer to."""
    role_of = built.roles[role]
    if role_of.objective.label_free:
        return
    matching = _find_matched_fusion(built, role_of, task)
    fusion: Callable[..., Fusion] = matching or role_of.fusion
    specs = {name: Spec() for name in encoders}
    given = {name: partial(_return_encoder, encoder) for name, encoder in encoders.items()}
    # Before data is read, the number of classes may be unknown: two stand for it.
    outputs = 1 if task.kind == "regression" else len(task.classes or ()) or 2
    try:
        broken = list(find_fusion_problems(role_of.fusion, fusion, encoders, outputs, built.parts))
        yield from broken
        if broken:
            return
        model = make_without_memory(MultimodalModel, specs, given, fusion, outputs, built.parts)
    except ValueError as error:
        yield Problem("match_params" if matching else "fusion", str(error))
        return
    if role is Role.TARGET and built.transfer is not None:
        yield from _check_tensor_names(built.transfer, list(model.state_dict()))
        yield from built.transfer.misfits(model)


def _find_matched_fusion(built: Built, role_of: RoleParts, task: Task) -> partial[Fusion] | None:
    """Return ``make`` of the fusion with ``match_params`` parameters; None where not asked for.

    Also None while the number of classes is unknown: the size of the head depends on it.
    """
    settings, sharing = built.settings, built.parts.sharing
    known = task.kind == "regression" or bool(task.classes)
    if settings is None or settings.match != "params" or not (known and role_of.own_fusion):
        return None
    return partial(
        make_matched,
        method=role_of.fusion,
        budget=settings.match_params,
        share_heads=sharing is not None and sharing.classifier,
    )


def _return_encoder(encoder: Encoder, spec: Spec) -> Encoder:
    return encoder


def _check_tensor_names(transfer: Transfer, tensors: list[str]) -> Iterator[Problem]:
    """Check that the patterns of a transfer's options match tensors of the model."""
    for option, pattern in transfer.unmatched_patterns(tensors):
        near = closest(pattern, [*tensors, *(f"{part}.*" for part in _list_prefixes(tensors))])
        yield Problem(
            f"transfer.{option}={pattern}",
            "matches no tensor of the model",
            accepted=", ".join(f"{part}.*" for part in _list_prefixes(tensors)),
            closest=near,
            type_this=f"transfer.{option}=[{near or f'{_list_prefixes(tensors)[0]}.*'}]",
        )


def _list_prefixes(tensors: list[str]) -> list[str]:
    """Return the parts of a model: each encoder, the fusion, the head."""
    parts = (name.split(".")[: 2 if name.startswith("encoders.") else 1] for name in tensors)
    return list(dict.fromkeys(".".join(part) for part in parts))


def _check_label_free_target(built: Built) -> Iterator[Problem]:
    """Check that a target with a source learns from labels: otherwise there is no gain."""
    if built.has_source and built.roles:
        objective = built.roles[Role.TARGET].objective
        if objective.label_free:
            name = variant(type(objective))
            yield Problem(
                f"objective={name}",
                "reads no labels: the target would learn no answer that the source could help",
                type_this=f"objective=cross_entropy source_objective={name}   "
                "(pre-trains the source by it; or source=none: trains the target by it alone; "
                "or objective=combined: adds it to what is learned from labels)",
            )
