"""From a composed config to an Experiment: the only caller of build.

Everything that is wrong with a config is found here and reported at once, before any
data is opened. Code below this file sees no config, only typed arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mmx.balance import Balance
from mmx.config.build import Builder
from mmx.config.chosen import find_target
from mmx.config.nodes import ConfigNode
from mmx.controls import CONTROLS
from mmx.encoders import Encoder
from mmx.encoders.published import PublishedWeights
from mmx.errors import Problem
from mmx.experiment.balance_misfits import find_balance_misfits
from mmx.experiment.config_fingerprint import fingerprint
from mmx.experiment.control_choice import choose_controls, read_control_names
from mmx.experiment.fitting import Built, find_misfits
from mmx.experiment.head_misfits import find_head_misfits
from mmx.experiment.inputs import (
    choose_nodes,
    complete_map,
    find_unlike_nodes,
    group_encoders,
    list_modalities,
)
from mmx.experiment.kept_facts import open_fact_keeper
from mmx.experiment.opener import find_special_files, refuse_unusable_paths
from mmx.experiment.parts import (
    RoleParts,
    build_around,
    build_optional,
    build_parts,
    build_roles,
    choose_modalities,
)
from mmx.experiment.paths import find_misplaced_paths, make_paths_absolute
from mmx.experiment.process_misfits import find_process_misfits
from mmx.experiment.publishing import (
    PublishedStart,
    digest_weights,
    drop_unread_weights,
    find_start,
    list_weight_files,
)
from mmx.experiment.settings import Modalities, Settings, reduce_to_one_run
from mmx.experiment.transferring import find_transfer_misfits
from mmx.experiment.unset import drop_unset
from mmx.library_facts import keep_library_facts
from mmx.metrics import Metric
from mmx.modalities import Modality
from mmx.stage_id import Role
from mmx.tasks import Task
from mmx.training.optimizer import Optimizer
from mmx.training.trainer import Trainer
from mmx.transfer import Transfer
from mmx.transfer.regularizers import Regularizer
from mmx.transfer.scratch import Scratch
from mmx.variants import variant, variant_name

PART_KEYS = (
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
    "metric",
    "calibration",
    "tracker",
    "callbacks",
    "trainer",
)
PART_ROOT_KEYS = ("callbacks",)
"""Those of the keys above that a command line sets as a value, as it does the settings."""
PUBLISHED = f"{PublishedWeights.__module__}.{PublishedWeights.__qualname__}"
SCRATCH_NODE = {"_target_": "mmx.transfer.scratch.Scratch"}


@dataclass(frozen=True, kw_only=True)
class Experiment(Built):
    """All parts of a run, built and checked; no data has been opened.

    It is a complete :class:`Built`: no attribute is missing, and each modality has its reader.
    They are two types, since checks read what could be built of a wrong config, to report all of
    its problems at once, and what follows them asks of no part whether it is there.

    Attributes:
        config: The config in canonical form: only what this run reads.
        dropped: Config path to the reason why this run does not read it.
        allowed: Packages other than mmx whose classes the config may name.
        names: Config group, such as ``fusion`` or ``encoder/image``, to the option that chose it.
        start: Which encoders start from published weights.
    """

    settings: Settings
    trainer: Trainer
    optimizer: Optimizer
    transfer: Transfer
    modalities: dict[Role, Modalities]
    config: ConfigNode
    dropped: dict[str, str]
    allowed: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    start: PublishedStart = field(default_factory=PublishedStart)

    @property
    def source(self) -> Task | None:
        """The source task; None where nothing is transferred."""
        return self.tasks[Role.SOURCE]

    @property
    def target(self) -> Task:
        """The task whose metric counts.

        Raises:
            RuntimeError: There is none, which cannot happen after :func:`assemble`.
        """
        task = self.tasks[Role.TARGET]
        if task is None:
            raise RuntimeError("an experiment has a target")
        return task

    def replace_nodes(self, nodes: ConfigNode) -> Experiment:
        """Return the experiment with some nodes of its config replaced, checked like any other.

        Raises:
            ConfigError: They do not fit it.
        """
        names = {group: name for group, name in self.names.items() if group not in nodes}
        return assemble({**self.config, **nodes}, self.allowed, names)

    def find_name(self, group: str) -> str:
        """Return a part's name: its option, else the name of its class; ``none`` without one."""
        for name, key in self.encoder_keys.items():  # of a modality: that of an input that has it
            if group == f"encoder/{key}" and key not in self.config["encoder"]:
                group = f"encoder/{name}"
                break
        target = find_target(self.config, group)
        return self.names.get(group) or ("none" if target is None else variant_name(target))

    @property
    def fingerprint(self) -> str:
        """Hex digest of what decides the numbers; not of where or how fast the run is computed."""
        return fingerprint(self.config, self.weight_digests)

    @property
    def weight_digests(self) -> dict[str, str]:
        """Digests of the published files that a run reads, by modality of the encoder.

        Those that only a control reads count: its answer is an answer of the run.
        """
        return digest_weights(self.encoders, self.start, self._also_read())

    @property
    def weight_files(self) -> dict[str, list[Path]]:
        """The files of :attr:`weight_digests`."""
        return list_weight_files(self.encoders, self.start, self._also_read())

    def _also_read(self) -> tuple[str, ...]:
        """Return the modalities whose published weights a control reads."""
        read = any(CONTROLS[name].needs_text_tower for name in self.controls)
        return ("image",) if read else ()

    @property
    def encoder_digests(self) -> dict[str, str]:
        """Digests of the published files that its encoders are made from, by modality."""
        return digest_weights(self.encoders, self.start)

    @property
    def joint(self) -> bool:
        """Whether source and target train together."""
        return self.transfer.needs == "rows"

    @property
    def drops_rows(self) -> bool:
        """Whether training leaves out the rows that lack a modality."""
        kind = self.parts.missing
        kind = kind.func if isinstance(kind, partial) else kind  # its options are bound
        return bool(getattr(kind, "drops_rows", False))

    def find_metric(self, role: Role) -> Metric | None:
        """Return the metric that is chosen for a role; None where the usual one of its kind counts.

        A source is selected by the usual one, so that one source serves all metrics.
        """
        return None if role is Role.SOURCE else self.metric

    def role(self, role: Role) -> RoleParts:
        """Return the fusion and objective of a role; a control has the target's."""
        return self.roles[Role.SOURCE if role is Role.SOURCE else Role.TARGET]

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that the target is compared with, in the order given."""
        return read_control_names(self.config["control"])


def assemble(
    config: ConfigNode, allowed: Collection[str] = (), names: Mapping[str, str] | None = None
) -> Experiment:
    """Build an experiment from a resolved config.

    Args:
        config: Plain data, as composed or as read from a run's ``config.yaml``.
        allowed: Packages other than mmx whose classes the config may name.
        names: Config group to the option that chose it, where known.

    Raises:
        ConfigError: Everything that is wrong with it.
    """
    refuse_unusable_paths(config)  # raises at once: constructors below look for files
    builder, dropped = Builder(allowed), dict[str, str]()
    builder.problems.extend([*find_misplaced_paths(config), *find_special_files(config)])
    canonical, built = _build(builder, make_paths_absolute(config), dropped)
    builder.problems += find_misfits(built)
    builder.problems += find_transfer_misfits(built)
    builder.problems += find_balance_misfits(built)
    builder.problems += find_head_misfits(built, built.trainer)
    builder.problems += find_process_misfits(built)
    start = find_start(built, builder.problems)
    canonical = drop_unread_weights(canonical, built, start, dropped)
    trained_before = built.transfer is not None and built.transfer.needs != "rows"
    weights = built.has_source and built.reads_source_weights and trained_before
    canonical = choose_controls(builder, canonical, built, dropped, source_weights=weights)
    canonical = reduce_to_one_run(builder, canonical, built.settings)
    canonical = drop_unset(canonical, built)
    builder.finish()
    if not (built.settings and built.trainer and built.optimizer and built.transfer):
        raise RuntimeError("finish raises wherever one of these was not built")
    return Experiment(
        **{
            **vars(built),
            "settings": built.settings,
            "encoders": {name: built.encoders[name] for name in sorted(built.used_modalities)},
            "modalities": {
                role: {name: built.find_reader(role, name) for name in own}
                for role, own in built.modalities.items()
            },
        },
        config=canonical,
        dropped=dropped,
        allowed=tuple(allowed),
        names=_keep_true_names(names or {}, config, canonical, built.encoder_keys),
        start=start,
    )


def _build(
    builder: Builder, config: ConfigNode, dropped: dict[str, str]
) -> tuple[ConfigNode, Built]:
    """Build every node that can be built, and reduce the config to what the run reads.

    Args:
        builder: Collects what is wrong with single nodes.
        config: With absolute paths.
        dropped: Receives the config paths that the run does not read, with the reason.
    """
    root = {key: value for key, value in config.items() if key not in PART_KEYS}
    settings = builder.call(Settings, root, "", also=PART_ROOT_KEYS)
    if settings is not None:
        keep_library_facts(open_fact_keeper(settings))
    trainer = builder.call(Trainer, config.get("trainer", {}), "trainer")
    target = builder.build(config.get(Role.TARGET), Task, Role.TARGET.value)
    source, published = _build_source(builder, config)
    transfer = builder.build(config.get("transfer"), Transfer, "transfer")
    optimizer = builder.build(config.get("optimizer"), Optimizer, "optimizer")
    parts = build_parts(builder, config)
    if transfer is not None:
        config, source, published, transfer = _drop_idle_source(
            config, source, published, transfer, dropped
        )
    regularizer = build_optional(builder, config, Regularizer, "regularizer")
    balance = build_optional(builder, config, Balance, "balance")
    around = build_around(builder, config)
    tasks = {Role.SOURCE: source, Role.TARGET: target}
    modalities = choose_modalities(builder, settings, tasks)
    config, transfer = complete_map(builder, config, transfer, modalities)
    takes_fusion = transfer is not None and transfer.takes_fusion(modalities.get(Role.SOURCE, {}))
    config, roles = build_roles(
        builder, config, settings, source, balance, dropped, takes_fusion=takes_fusion
    )
    config, groups = group_encoders(builder, config, settings, modalities)
    parts = replace(parts, encoder_groups=groups)
    # From here on only modalities of the tasks count: other encoders are not read.
    inputs = list_modalities(modalities.values())
    nodes, encoder_keys = _select_encoder_nodes(builder, config, inputs, dropped)
    encoders, vectorizers = _build_encoders(builder, nodes, encoder_keys)
    origins = transfer.modality_map if transfer is not None else {}
    builder.problems.extend(find_unlike_nodes(nodes, groups, origins))
    built = Built(
        settings=settings,
        trainer=trainer,
        optimizer=optimizer,
        tasks=tasks,
        modalities=modalities,
        roles=roles,
        transfer=transfer,
        regularizer=regularizer,
        parts=parts,
        balance=balance,
        metric=around.metric,
        calibration=around.calibration,
        tracker=around.tracker,
        callbacks=around.callbacks,
        published=published,
        encoders=encoders,
        vectorizers=vectorizers,
        failed=frozenset(nodes) - encoders.keys(),
        encoder_keys=encoder_keys,
    )
    return _drop_source_epochs({**config, "encoder": nodes}, built, dropped)


def _keep_true_names(
    names: Mapping[str, str], given: ConfigNode, config: ConfigNode, keys: Mapping[str, str]
) -> dict[str, str]:
    """Return the names of parts that still have the class of their option.

    An input's encoder has the name of its modality's, where it has that node.
    """
    groups = {group: group for group in names}
    groups |= {f"encoder/{name}": f"encoder/{key}" for name, key in keys.items()}
    return {
        group: names[typed]
        for group, typed in groups.items()
        if typed in names and find_target(config, group) == find_target(given, typed) is not None
    }


def _build_source(
    builder: Builder, config: ConfigNode
) -> tuple[Task | None, PublishedWeights | None]:
    """Return the source task, or the published weights that are the source; else None."""
    if find_target(config, "source") == PUBLISHED:
        return None, build_optional(builder, config, PublishedWeights, "source")
    return build_optional(builder, config, Task, "source"), None


def _drop_idle_source(
    config: ConfigNode,
    source: Task | None,
    published: PublishedWeights | None,
    transfer: Transfer,
    dropped: dict[str, str],
) -> tuple[ConfigNode, Task | None, PublishedWeights | None, Transfer]:
    """Drop a source that the transfer does not use, and a transfer that has no source to use."""
    there = source is not None or published is not None
    if there and transfer.needs != "nothing":
        return config, source, published, transfer
    if there:
        dropped["source"] = "this transfer mode takes nothing from a source"
    elif transfer.needs != "nothing":
        dropped["transfer"] = "there is no source to transfer from"
    if config.get("regularizer"):
        name = variant(type(transfer))
        mode = "there is no" if not there else f"transfer={name} takes nothing from a"
        dropped["regularizer"] = f"{mode} source for it to hold the target near"
        config = {**config, "regularizer": {}}
    if transfer.needs == "nothing":
        return {**config, "source": None}, None, None, transfer
    return {**config, "source": None, "transfer": SCRATCH_NODE}, None, None, Scratch()


def _drop_source_epochs(
    config: ConfigNode, built: Built, dropped: dict[str, str]
) -> tuple[ConfigNode, Built]:
    """Drop the source's number of epochs, where no source is trained before the target."""
    trainer = built.trainer
    if built.trains_source or trainer is None or trainer.source_epochs is None:
        return config, built
    dropped["trainer.source_epochs"] = "no source is trained before the target"
    config = {**config, "trainer": {**config["trainer"], "source_epochs": None}}
    return config, replace(built, trainer=replace(trainer, source_epochs=None))


def _select_encoder_nodes(
    builder: Builder, config: ConfigNode, inputs: Mapping[str, str], dropped: dict[str, str]
) -> tuple[ConfigNode, dict[str, str]]:
    """Return a node for the encoder of each input, and the key of that node in the config.

    Args:
        builder: Collects problems.
        config: With a node for each modality, and for inputs with an encoder of their own.
        inputs: Input to modality; empty where no task could be built.
        dropped: Receives the nodes that no input has, with the reason.
    """
    nodes = config.get("encoder")
    if not isinstance(nodes, dict):
        given = f"encoder={nodes}"
        builder.problems.append(Problem(given, "expected a node for each modality"))
        return {}, {}
    if not inputs:
        return nodes, {name: name for name in nodes}
    keys = choose_nodes(nodes, inputs)
    for key in nodes.keys() - set(keys.values()):
        own = key in inputs.values()
        why = f"each {key} input has an encoder of its own"
        dropped[f"encoder.{key}"] = why if own else f"no task of this run has {key}"
    # A copy for each input: a run's config.yaml would have one node, and references to it.
    found = {name: deepcopy(nodes[key]) for key in nodes for name in keys if keys[name] == key}
    return found, keys


def _build_encoders(
    builder: Builder, nodes: ConfigNode, keys: Mapping[str, str]
) -> tuple[dict[str, Callable[..., Encoder]], Modalities]:
    """Return ``make(spec)`` of each encoder and, where its node has one, the vectoriser."""
    encoders: dict[str, Callable[..., Encoder]] = {}
    vectorizers: Modalities = {}
    for name, node in nodes.items():
        path = f"encoder.{keys[name]}"
        if isinstance(node, dict) and "vectorizer" in node:
            node = dict(node)
            vectorizer = builder.build(node.pop("vectorizer"), Modality, f"{path}.vectorizer")
            if vectorizer is not None:
                vectorizers[name] = vectorizer
        made = builder.bind(node, Encoder, path)
        if made is not None:
            encoders[name] = made
    return encoders, vectorizers
