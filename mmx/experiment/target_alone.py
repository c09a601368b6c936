"""The target of a config by itself: its task and what reads it, without anything that trains."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mmx.config.build import Builder
from mmx.config.nodes import ConfigNode
from mmx.experiment.assemble import PART_KEYS, PART_ROOT_KEYS
from mmx.experiment.fitting import check_name
from mmx.experiment.opener import find_special_files, refuse_unusable_paths
from mmx.experiment.parts import choose_modalities
from mmx.experiment.paths import find_misplaced_paths, make_paths_absolute
from mmx.experiment.settings import Modalities, Settings, reduce_to_one_run
from mmx.modalities import Modality
from mmx.runs.task_names import find_task_name
from mmx.stage_id import Role
from mmx.tasks import Task


@dataclass(frozen=True)
class TargetAlone:
    """A target task that is built and checked; no data has been opened.

    Attributes:
        task: The task.
        name: What it is called for people: a table without a name of its own as its file.
        modalities: Names of its modalities that are in use.
        readers: Modality to what reads it; without those that published weights read.
        settings: The root keys of the config.
    """

    task: Task
    name: str
    modalities: tuple[str, ...]
    readers: Modalities
    settings: Settings


def build_target(config: ConfigNode, allowed: Collection[str] = ()) -> TargetAlone:
    """Build the target task of a resolved config.

    Encoders are not made, so no weights are read. Of their nodes, the vectoriser of a text says
    how it is read.

    Args:
        config: Plain data, as composed.
        allowed: Packages other than mmx whose classes the config may name.

    Raises:
        ConfigError: Everything that is wrong with the task and the root keys.
    """
    refuse_unusable_paths(config)
    builder = Builder(allowed)
    builder.problems.extend([*find_misplaced_paths(config), *find_special_files(config)])
    config = make_paths_absolute(config)
    root = {key: value for key, value in config.items() if key not in PART_KEYS}
    settings = builder.call(Settings, root, "", also=PART_ROOT_KEYS)
    task = builder.build(config.get(Role.TARGET), Task, Role.TARGET.value)
    reduce_to_one_run(builder, root, settings)
    if task is not None:
        builder.problems.extend(check_name(Role.TARGET, task))
    tasks: dict[Role, Task | None] = {Role.TARGET: task}
    given = choose_modalities(builder, settings, tasks).get(Role.TARGET, {})
    readers = {
        name: found
        for name, reader in given.items()
        if (found := reader or _build_vectorizer(builder, config, name)) is not None
    }
    builder.finish()
    if task is None or settings is None:
        raise RuntimeError("finish raises wherever one of these was not built")
    name = find_task_name(config[Role.TARGET]) or task.name
    return TargetAlone(task, name, tuple(given), readers, settings)


def _build_vectorizer(builder: Builder, config: ConfigNode, name: str) -> Modality[Any, Any] | None:
    """Return the vectoriser of a modality's encoder, or None if its node has none."""
    nodes = config.get("encoder")
    node = nodes.get(name) if isinstance(nodes, dict) else None
    if not isinstance(node, dict) or "vectorizer" not in node:
        return None
    return builder.build(node["vectorizer"], Modality, f"encoder.{name}.vectorizer")
