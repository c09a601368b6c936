"""A composed config to an Experiment: the only caller of build.

Everything that is wrong with a config is found here and reported at once, before any
data is opened. Below this file there is no config, only typed arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mmx.balance import Balance
from mmx.config.build import Builder
from mmx.config.chosen import target_of
from mmx.encoders import Encoder
from mmx.errors import Problem
from mmx.experiment.control_choice import names_of, with_controls
from mmx.experiment.fingerprint import fingerprint
from mmx.experiment.fitting import Built, misfits
from mmx.experiment.head_misfits import head_misfits
from mmx.experiment.opener import refuse_unusable_paths, special_files
from mmx.experiment.parts import (
    RoleParts,
    build_roles,
    chosen_modalities,
    model_parts,
    needs_model,
    optional,
)
from mmx.experiment.settings import Modalities, Settings, of_one_run
from mmx.experiment.transferring import transfer_misfits
from mmx.experiment.weights import given_weights
from mmx.modalities import Modality
from mmx.model import Parts as ModelParts
from mmx.stage_id import Role
from mmx.tasks import Task
from mmx.training.optimizer import Optimizer
from mmx.training.trainer import Trainer
from mmx.transfer import Transfer
from mmx.transfer.regularizers import Regularizer
from mmx.transfer.scratch import Scratch
from mmx.variants import variant_name

NODES = (
    "source",
    "target",
    "encoder",
    "sharing",
    "mapping",
    "missing",
    "fusion",
    "balance",
    "transfer",
    "regularizer",
    "objective",
    "source_objective",
    "optimizer",
    "trainer",
)
SCRATCH = {"_target_": "mmx.transfer.scratch.Scratch"}


@dataclass(frozen=True)
class Experiment:
    """Everything of a run, built and checked; no data has been opened.

    Attributes:
        config: The config in canonical form: only what this run reads.
        dropped: Config path to why this run does not read it.
        settings, trainer, optimizer, transfer, balance: As configured.
        regularizer: What holds the target near its source; None for nothing.
        roles: ``source`` and ``target`` to the fusion and objective of their stages.
        parts: What stands between encoders and fusion.
        source: None where nothing is transferred.
        target: The task whose metric counts.
        encoders: Modality to ``make(spec)``.
        modalities: ``source`` and ``target`` to how each of its modalities is read.
        allowed: Packages beside mmx whose classes the config may name.
        names: Config group, such as ``fusion`` or ``encoder/image``, to the option that chose it.
    """

    config: dict[str, Any]
    dropped: dict[str, str]
    settings: Settings
    trainer: Trainer
    optimizer: Optimizer
    transfer: Transfer
    regularizer: Regularizer | None
    balance: Balance | None
    roles: dict[Role, RoleParts]
    parts: ModelParts
    source: Task | None
    target: Task
    encoders: dict[str, Callable[..., Encoder]]
    modalities: dict[Role, Modalities]
    allowed: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)

    def otherwise(self, nodes: dict[str, Any]) -> Experiment:
        """Return the experiment with other nodes of its config, checked like any other.

        Raises:
            ConfigError: They do not fit it.
        """
        names = {group: name for group, name in self.names.items() if group not in nodes}
        return assemble({**self.config, **nodes}, self.allowed, names)

    def name_of(self, group: str) -> str:
        """Return what a part is called: as it was chosen, else by its class; ``none`` for none."""
        target = target_of(self.config, group)
        return self.names.get(group) or ("none" if target is None else variant_name(target))

    @property
    def fingerprint(self) -> str:
        """Hex digest of what the experiment is, not of where or how fast it runs."""
        return fingerprint(self.config, given_weights(self.config))

    @property
    def joint(self) -> bool:
        """Whether source and target train together."""
        return self.transfer.needs == "rows"

    @property
    def trains_source(self) -> bool:
        """Whether the source is trained before the target."""
        return _trains_source(self.transfer, self.regularizer)

    @property
    def drops_rows(self) -> bool:
        """Whether training leaves out the rows that lack a modality."""
        kind = self.parts.missing
        kind = kind.func if isinstance(kind, partial) else kind
        return bool(getattr(kind, "drops_rows", False))

    def role(self, role: Role) -> RoleParts:
        """Return the fusion and objective of a role; a control has the target's."""
        return self.roles[Role.SOURCE if role is Role.SOURCE else Role.TARGET]

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that the target is compared with, in the order given."""
        return names_of(self.config["control"])


def _trains_source(transfer: Transfer | None, regularizer: Regularizer | None) -> bool:
    """Return whether a source is trained before the target."""
    wants = transfer is not None and transfer.needs == "weights"
    return wants or needs_model(regularizer)


def assemble(
    config: dict[str, Any], allowed: Collection[str] = (), names: Mapping[str, str] | None = None
) -> Experiment:
    """Build an experiment from a resolved config.

    Args:
        config: Plain data, as composed or as read from a run's ``config.yaml``.
        allowed: Packages beside mmx whose classes the config may name.
        names: Config group to the option that chose it, as far as that is known.

    Raises:
        ConfigError: Everything that is wrong with it.
    """
    refuse_unusable_paths(config)  # below, files are looked for
    given, builder = config, Builder(allowed)
    builder.problems.extend([*_in_data_dir_only(config), *special_files(config)])
    config = _absolute_paths(config)
    root = {key: value for key, value in config.items() if key not in NODES}
    settings = builder.values(Settings, root, "")
    trainer = builder.values(Trainer, config.get("trainer", {}), "trainer")
    target = builder.build(config.get("target"), Task, "target")
    source = optional(builder, config, Task, "source")
    transfer = builder.build(config.get("transfer"), Transfer, "transfer")
    optimizer = builder.build(config.get("optimizer"), Optimizer, "optimizer")
    parts = model_parts(builder, config)
    dropped: dict[str, str] = {}
    if transfer is not None:
        config, source, transfer = _without_idle_source(config, source, transfer, dropped)
    regularizer = optional(builder, config, Regularizer, "regularizer")
    balance = optional(builder, config, Balance, "balance")
    tasks = {Role.SOURCE: source, Role.TARGET: target}
    modalities = chosen_modalities(builder, settings, tasks)
    takes_fusion = transfer is not None and transfer.takes_fusion(modalities.get(Role.SOURCE, {}))
    config, roles = build_roles(
        builder, config, settings, source, balance, dropped, takes_fusion=takes_fusion
    )
    used = sorted({name for own in modalities.values() for name in own})
    nodes = _encoder_nodes(builder, config, used, dropped)
    encoders: dict[str, Callable[..., Encoder]] = {}
    vectorizers: Modalities = {}
    for name, node in nodes.items():
        _build_encoder(builder, name, node, encoders, vectorizers)
    failed = frozenset(nodes) - encoders.keys()
    trains_source = source is not None and _trains_source(transfer, regularizer)
    config, trainer = _without_source_epochs(config, trainer, dropped, trained=trains_source)
    chosen = (tasks, modalities, roles, transfer, regularizer, parts, balance, settings)
    built = Built(*chosen, encoders, vectorizers, failed)
    found = [*misfits(built), *transfer_misfits(built), *head_misfits(built, trainer)]
    builder.problems.extend(found)
    weights = trains_source and transfer is not None and transfer.needs != "rows"
    config = with_controls(builder, config, built, dropped, source_weights=weights)
    config = of_one_run(builder, config, settings)
    builder.finish()
    if not (settings and trainer and target and transfer and optimizer):
        raise RuntimeError("finish raises wherever one of these was not built")
    return Experiment(
        config=_without(config, dropped),
        dropped=dropped,
        settings=settings,
        trainer=trainer,
        optimizer=optimizer,
        transfer=transfer,
        regularizer=regularizer,
        balance=balance,
        roles=roles,
        parts=parts,
        source=source,
        target=target,
        encoders={name: encoders[name] for name in used},
        modalities={role: _read_by(own, vectorizers) for role, own in modalities.items()},
        allowed=tuple(allowed),
        names=_names_that_hold(names or {}, given, config),
    )


def _names_that_hold(
    names: Mapping[str, str], given: dict[str, Any], config: dict[str, Any]
) -> dict[str, str]:
    """Return the names of those parts whose class is still the one that was chosen."""
    return {
        group: name
        for group, name in names.items()
        if target_of(config, group) == target_of(given, group) is not None
    }


def _read_by(own: dict[str, Modality[Any, Any] | None], vectorizers: Modalities) -> Modalities:
    """Return how each modality is read: as its task says, or as its encoder brings."""
    return {name: given if given is not None else vectorizers[name] for name, given in own.items()}


def _without_idle_source(
    config: dict[str, Any],
    source: Task | None,
    transfer: Transfer,
    dropped: dict[str, str],
) -> tuple[dict[str, Any], Task | None, Transfer]:
    """Reduce the config to scratch where there is no source, or none is asked for."""
    if source is not None and transfer.needs != "nothing":
        return config, source, transfer
    if source is not None:
        dropped["source"] = "this transfer mode takes nothing from a source"
    elif not isinstance(transfer, Scratch):
        dropped["transfer"] = "there is no source to transfer from"
    if config.get("regularizer"):
        mode = "there is no" if source is None else "transfer=scratch takes nothing from a"
        dropped["regularizer"] = f"{mode} source for it to hold the target near"
        config = {**config, "regularizer": {}}
    return {**config, "source": None, "transfer": SCRATCH}, None, Scratch()


def _without_source_epochs(
    config: dict[str, Any], trainer: Trainer | None, dropped: dict[str, str], *, trained: bool
) -> tuple[dict[str, Any], Trainer | None]:
    """Leave out how long the source is trained, where it is not trained before the target."""
    if trained or trainer is None or trainer.source_epochs is None:
        return config, trainer
    dropped["trainer.source_epochs"] = "no source is trained before the target"
    config = {**config, "trainer": {**config["trainer"], "source_epochs": None}}
    return config, replace(trainer, source_epochs=None)


def _encoder_nodes(
    builder: Builder, config: dict[str, Any], used: list[str], dropped: dict[str, str]
) -> dict[str, Any]:
    """Return the nodes of the modalities in use; note why the others are not read."""
    nodes = config.get("encoder")
    if not isinstance(nodes, dict):
        given = f"encoder={nodes}"
        builder.problems.append(Problem(given, "expected a node for each modality"))
        return {}
    if used:
        unused = nodes.keys() - set(used)
        dropped.update({f"encoder.{name}": f"no task of this run has {name}" for name in unused})
    return {name: node for name, node in nodes.items() if f"encoder.{name}" not in dropped}


def _build_encoder(
    builder: Builder,
    name: str,
    node: Any,
    encoders: dict[str, Callable[..., Encoder]],
    vectorizers: Modalities,
) -> None:
    """Build an encoder's recipe and, where it brings one, the vectoriser of its input."""
    path = f"encoder.{name}"
    if isinstance(node, dict) and "vectorizer" in node:
        node = dict(node)
        vectorizer = builder.build(node.pop("vectorizer"), Modality, f"{path}.vectorizer")
        if vectorizer is not None:
            vectorizers[name] = vectorizer
    made = builder.partial(node, Encoder, path)
    if made is not None:
        encoders[name] = made


def _in_data_dir_only(config: dict[str, Any]) -> Iterator[Problem]:
    """Yield relative paths that lead nowhere from the working directory, but from ``data_dir``."""
    for role in (Role.SOURCE, Role.TARGET):
        node = config.get(role)
        given = node if isinstance(node, dict) else {}
        for key in ("path", "root"):
            path = given.get(key)
            if not isinstance(path, str) or Path(_absolute(path)).exists():
                continue
            data = _absolute(str(config.get("data_dir")))
            if (Path(data) / path).exists():
                yield Problem(
                    f"{role}.{key}={path}",
                    f"is looked for in the working directory, {Path.cwd()}, and is in {data}",
                    type_this=f"'{role}.{key}=${{data_dir}}/{path}'",
                )


def _absolute_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with its data paths made absolute, so that it reads the same anywhere."""
    config = dict(config)
    if isinstance(config.get("data_dir"), str):
        config["data_dir"] = _absolute(config["data_dir"])
    for role in (Role.SOURCE, Role.TARGET):
        node = config.get(role)
        if isinstance(node, dict):
            config[role] = {
                key: _absolute(value)
                if key in ("path", "root", "data_dir") and isinstance(value, str) and value != "???"
                else value
                for key, value in node.items()
            }
    if isinstance(nodes := config.get("encoder"), dict):
        config["encoder"] = {
            name: {**node, "weights": _absolute(node["weights"])}
            if isinstance(node, dict) and isinstance(node.get("weights"), str)
            else node
            for name, node in nodes.items()
        }
    return config


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _without(config: dict[str, Any], dropped: dict[str, str]) -> dict[str, Any]:
    """Return the config without the encoders that nothing reads."""
    encoder = {
        name: node for name, node in config["encoder"].items() if f"encoder.{name}" not in dropped
    }
    return {**config, "encoder": encoder}
